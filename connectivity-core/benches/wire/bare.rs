//! The reference for the framework: the same traffic without it. A frame is a length, a call number
//! and a body. The client has one task that writes and one that reads; the server replies in the
//! task that reads.

use std::collections::HashMap;
use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};

use bytes::{Buf, BufMut, Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{mpsc, oneshot};

use crate::load::Echo;

const HEAD: usize = 8;

/// Whether the writer yields before it writes, as our own does above a number of calls in flight.
/// It then writes many frames at once, which makes most of the difference on a multi-thread
/// runtime.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Batches {
    AsTheyCome,
    From(usize),
}

fn put(out: &mut BytesMut, call: u32, body: &[u8]) {
    out.put_u32_le(u32::try_from(body.len()).unwrap());
    out.put_u32_le(call);
    out.put_slice(body);
}

fn take(buffer: &mut BytesMut) -> Option<(u32, Bytes)> {
    let length = u32::from_le_bytes(*buffer.first_chunk::<4>()?) as usize;
    if buffer.len() < HEAD + length {
        return None;
    }
    buffer.advance(4);
    let call = buffer.get_u32_le();
    Some((call, buffer.split_to(length).freeze()))
}

/// Echoes frames. Replies to all buffered frames with a single write.
pub async fn serve(
    mut reader: impl AsyncRead + Unpin,
    mut writer: impl AsyncWrite + Unpin,
) -> io::Result<()> {
    let (mut buffer, mut out) =
        (BytesMut::with_capacity(64 << 10), BytesMut::with_capacity(64 << 10));
    loop {
        while let Some((call, body)) = take(&mut buffer) {
            put(&mut out, call, &body);
        }
        if !out.is_empty() {
            writer.write_all(&out).await?;
            writer.flush().await?;
            out.clear();
        }
        buffer.reserve(64 << 10);
        if reader.read_buf(&mut buffer).await? == 0 {
            return Ok(());
        }
    }
}

#[derive(Clone)]
pub struct Mux(Arc<Shared>);

struct Shared {
    work: mpsc::UnboundedSender<(u32, Bytes)>,
    waiting: Waiting,
    next: AtomicU32,
}

type Waiting = Arc<Mutex<HashMap<u32, oneshot::Sender<Bytes>>>>;

impl Mux {
    fn new<R, W>(reader: R, writer: W, batches: Batches) -> Self
    where
        R: AsyncRead + Unpin + Send + 'static,
        W: AsyncWrite + Unpin + Send + 'static,
    {
        let (work, queue) = mpsc::unbounded_channel();
        let waiting = Waiting::default();
        tokio::spawn(write(queue, writer, Arc::clone(&waiting), batches));
        tokio::spawn(read(reader, Arc::clone(&waiting)));
        Self(Arc::new(Shared { work, waiting, next: AtomicU32::new(0) }))
    }

    /// Starts a bare server on its own thread and connects to it.
    pub async fn unix(dir: &Path, batches: Batches) -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let path = dir.join(format!("bare-{}.sock", NUMBER.fetch_add(1, Ordering::Relaxed)));
        let socket = std::os::unix::net::UnixListener::bind(&path).unwrap();
        socket.set_nonblocking(true).unwrap();
        std::thread::spawn(move || {
            let runtime =
                tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let (stream, _) = UnixListener::from_std(socket).unwrap().accept().await.unwrap();
                let (reader, writer) = stream.into_split();
                let _ = serve(reader, writer).await;
            });
        });
        let (reader, writer) = UnixStream::connect(path).await.unwrap().into_split();
        Self::new(reader, writer, batches)
    }
}

impl Echo for Mux {
    async fn echo(&self) {
        let call = self.0.next.fetch_add(1, Ordering::Relaxed);
        let (sender, reply) = oneshot::channel();
        self.0.waiting.lock().unwrap().insert(call, sender);
        self.0.work.send((call, Bytes::from(vec![7; 32]))).unwrap();
        let body = reply.await.unwrap();
        assert_eq!(Vec::from(body).len(), 32);
    }
}

async fn write(
    mut queue: mpsc::UnboundedReceiver<(u32, Bytes)>,
    mut writer: impl AsyncWrite + Unpin,
    waiting: Waiting,
    batches: Batches,
) -> io::Result<()> {
    let mut out = BytesMut::with_capacity(64 << 10);
    while let Some((call, body)) = queue.recv().await {
        if matches!(batches, Batches::From(calls) if waiting.lock().unwrap().len() > calls) {
            tokio::task::yield_now().await;
        }
        put(&mut out, call, &body);
        while let Ok((call, body)) = queue.try_recv() {
            put(&mut out, call, &body);
        }
        writer.write_all(&out).await?;
        writer.flush().await?;
        out.clear();
    }
    Ok(())
}

async fn read(mut reader: impl AsyncRead + Unpin, waiting: Waiting) -> io::Result<()> {
    let mut buffer = BytesMut::with_capacity(64 << 10);
    loop {
        while let Some((call, body)) = take(&mut buffer) {
            let sender = waiting.lock().unwrap().remove(&call).unwrap();
            let _ = sender.send(body);
        }
        buffer.reserve(64 << 10);
        if reader.read_buf(&mut buffer).await? == 0 {
            return Ok(());
        }
    }
}
