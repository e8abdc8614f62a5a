//! Receives one push: checks what it says, writes the file, verifies it, and installs it.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, BufWriter, Read, Write};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use flate2::read::GzDecoder;
use quinn::{Connection, RecvStream, SendStream};
use serde::Serialize;
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::chunks::{self, Plan, Scan, parse_hashes};
use super::meta::{MAGIC, MAX_META, SnapshotMeta, since_1970};
use super::pipe;
use super::protocol::GO_ON;
use super::sound;
use super::store::{Installed, Order, Store, Stored};
use crate::tls::hex;
use crate::transport::Origin;

/// How long a sender may be silent.
const SILENCE: Duration = Duration::from_secs(10);

/// How far the clock of a publisher may be ahead of ours.
const CLOCK_AHEAD: Duration = Duration::from_secs(300);

/// The most bytes that one read takes, and the largest window of a compressed transfer as a power
/// of two: it is memory that the sender chooses.
const READ: usize = 64 << 10;
const WINDOW_LOG: u32 = 23;

/// The pushes that are received at once: in total, and of one peer.
const PUSHES: usize = 4;
const PUSHES_OF_PEER: usize = 2;

/// Limits of what is accepted.
#[derive(Clone, Debug)]
pub(super) struct Limits {
    pub(super) size: u64,
    pub(super) age: Option<Duration>,
    pub(super) any_schema: bool,
}

/// How far a transfer has come. Chunks that were there already count too.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Progress {
    /// Bytes of the file so far.
    pub done: u64,
    /// Bytes of the file.
    pub total: u64,
}

/// Why a push was not taken. The pusher is told.
#[derive(Debug)]
pub(super) struct Refusal(pub(super) String);

impl Refusal {
    fn new(text: impl std::fmt::Display) -> Self {
        Self(text.to_string())
    }

    /// The pusher hears the kind of the fault only, not a path of this machine.
    fn storing(cause: &io::Error) -> Self {
        tracing::warn!(%cause, "a snapshot cannot be stored");
        Self::new(format_args!("it cannot be stored here: {}", cause.kind()))
    }
}

/// Receives pushes into a store.
#[derive(Debug)]
pub(super) struct Receiver {
    pub(super) store: Store,
    pub(super) limits: Limits,
    received: AtomicU64,
    expected: AtomicU64,
    pushes: Mutex<HashMap<Origin, usize>>,
}

impl Receiver {
    pub(super) fn new(store: Store, limits: Limits) -> Self {
        let (received, expected) = (AtomicU64::default(), AtomicU64::default());
        Self { store, limits, received, expected, pushes: Mutex::default() }
    }

    /// Returns how far the transfer of the moment has come, if there is one.
    pub(super) fn progress(&self) -> Option<Progress> {
        let total = self.expected.load(Ordering::Relaxed);
        let done = self.received.load(Ordering::Relaxed).min(total);
        (total > 0).then_some(Progress { done, total })
    }

    /// Receives one push, and returns the snapshot if it is in force now.
    pub(super) async fn receive(
        self: &Arc<Self>,
        connection: &Connection,
        origin: Origin,
        in_chunks: bool,
    ) -> Result<Option<Arc<Stored>>, Refusal> {
        let _turn = self.turn(origin)?;
        let (mut writer, mut reader) = in_time(connection.accept_bi()).await?;
        let (meta, compressed) = read_head(&mut reader).await?;
        match self.check(&meta)? {
            Order::Newer => {}
            Order::Same => return Ok(None),
            Order::Older => return Err(Refusal::new("a newer snapshot is in force")),
        }
        if in_chunks {
            self.receive_chunks(meta, &mut writer, reader).await
        } else {
            let decode = if compressed { Encoding::Gzip } else { Encoding::Plain };
            self.receive_body(meta, reader, decode, Plan::default(), None).await
        }
    }

    /// Takes a turn, which ends when the result is dropped.
    fn turn(self: &Arc<Self>, origin: Origin) -> Result<Turn, Refusal> {
        let mut pushes = self.pushes.lock().unwrap_or_else(PoisonError::into_inner);
        let (all, own) = (pushes.values().sum::<usize>(), pushes.get(&origin).copied());
        if all >= PUSHES || own.unwrap_or_default() >= PUSHES_OF_PEER {
            return Err(Refusal::new("other pushes are coming in; push again later"));
        }
        *pushes.entry(origin.clone()).or_default() += 1;
        Ok(Turn { receiver: Arc::clone(self), origin })
    }

    /// Checks what a push says of itself. One that is in force already is not refused for its age.
    fn check(&self, meta: &SnapshotMeta) -> Result<Order, Refusal> {
        let order = self.store.order(meta);
        if order == Order::Same {
            return Ok(order);
        }
        if meta.size > self.limits.size {
            let (size, limit) = (meta.size, self.limits.size);
            return Err(Refusal::new(format_args!("it has {size} bytes, {limit} are allowed")));
        }
        let latest = since_1970(SystemTime::now()) + CLOCK_AHEAD;
        let is_ahead = |time: i64, limit: u128| u128::try_from(time).is_ok_and(|time| time > limit);
        if is_ahead(meta.version, latest.as_millis())
            || is_ahead(meta.timestamp, latest.as_secs().into())
        {
            return Err(Refusal::new("it is of a later time; the clocks differ by over 5 minutes"));
        }
        if let Some(limit) = self.limits.age.filter(|limit| meta.age() > *limit) {
            let (age, limit) = (meta.age().as_secs(), limit.as_secs());
            return Err(Refusal::new(format_args!("it is {age} s old, {limit} s are allowed")));
        }
        Ok(order)
    }

    /// Tells the sender which chunks are missing, and receives those.
    async fn receive_chunks(
        self: &Arc<Self>,
        meta: SnapshotMeta,
        writer: &mut SendStream,
        mut reader: RecvStream,
    ) -> Result<Option<Arc<Stored>>, Refusal> {
        in_time(writer.write_all(&[GO_ON])).await?;
        let hashes = read_hashes(&mut reader, chunks::count(meta.size)).await?;
        let present = self.store.current();
        let (plan, present) = on_thread(move || {
            let file = present.as_ref().and_then(|stored| File::open(&stored.path).ok());
            let known = file.as_ref().and_then(|file| Scan::of(file).ok()).map(|scan| scan.chunks);
            let plan = Plan::new(&parse_hashes(&hashes), &known.unwrap_or_default());
            Ok((plan, present.zip(file)))
        })
        .await?;
        for part in plan.missing().chunks(READ) {
            in_time(writer.write_all(part)).await?;
        }
        self.receive_body(meta, reader, Encoding::Zstd, plan, present).await
    }

    /// Receives the bytes of the file on this task, and writes and verifies it on a thread.
    async fn receive_body(
        self: &Arc<Self>,
        meta: SnapshotMeta,
        reader: RecvStream,
        encoding: Encoding,
        plan: Plan,
        present: Option<(Arc<Stored>, File)>,
    ) -> Result<Option<Arc<Stored>>, Refusal> {
        let (sender, pipe) = pipe::to_thread();
        let receiver = Arc::clone(self);
        let storing = on_thread(move || {
            let mut sent = encoding.decode(pipe).map_err(|_| incomplete())?;
            let present = present.as_ref().map(|(_, file)| file);
            receiver.store(meta, &plan, &mut sent, present)
        });
        let (stored, ()) = tokio::join!(storing, pump(reader, sender));
        stored
    }

    /// Writes, verifies and installs a file. Blocks its thread.
    fn store(
        &self,
        meta: SnapshotMeta,
        plan: &Plan,
        sent: &mut dyn Read,
        present: Option<&File>,
    ) -> Result<Option<Arc<Stored>>, Refusal> {
        let (draft, file) = self.store.draft().map_err(|cause| Refusal::storing(&cause))?;
        self.expected.store(meta.size, Ordering::Relaxed);
        self.received.store(0, Ordering::Relaxed);
        let counted = Counted { file: BufWriter::with_capacity(READ, file), receiver: self };
        let hash =
            plan.assemble(meta.size, &mut *sent, present, counted).map_err(|cause| match cause
                .get_ref()
                .is_some_and(|cause| cause.is::<Storing>())
            {
                true => Refusal::storing(&cause),
                false => incomplete(),
            })?;
        if !matches!(sent.read(&mut [0]), Ok(0)) {
            return Err(Refusal::new("it is longer than it says"));
        }
        if hex(&hash) != meta.hash {
            return Err(Refusal::new("its hash is not that of its bytes"));
        }
        sound::check(draft.path(), self.limits.any_schema).map_err(Refusal)?;
        match self.store.install(meta, draft).map_err(|cause| Refusal::storing(&cause))? {
            Installed::Now(stored) => Ok(Some(stored)),
            Installed::Before => Ok(None),
            Installed::Overtaken => Err(Refusal::new("a newer snapshot is in force")),
        }
    }
}

/// A push in progress.
struct Turn {
    receiver: Arc<Receiver>,
    origin: Origin,
}

impl Drop for Turn {
    fn drop(&mut self) {
        let mut pushes = self.receiver.pushes.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = pushes.get_mut(&self.origin) {
            *count -= 1;
        }
        pushes.retain(|_, count| *count > 0);
        if pushes.is_empty() {
            self.receiver.expected.store(0, Ordering::Relaxed);
        }
    }
}

/// How the bytes of a file are sent.
enum Encoding {
    Plain,
    Gzip,
    Zstd,
}

impl Encoding {
    fn decode(self, sent: pipe::PipeReader) -> io::Result<Box<dyn Read>> {
        Ok(match self {
            Self::Plain => Box::new(sent),
            Self::Gzip => Box::new(GzDecoder::new(sent)),
            Self::Zstd => {
                let mut decoder = zstd::stream::read::Decoder::new(sent)?.single_frame();
                decoder.window_log_max(WINDOW_LOG)?;
                Box::new(decoder)
            }
        })
    }
}

fn incomplete() -> Refusal {
    Refusal::new("it is incomplete or damaged")
}

/// A fault of writing, apart from those of what was sent.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
struct Storing(io::Error);

/// Writes a file, and counts its bytes.
struct Counted<'a> {
    file: BufWriter<File>,
    receiver: &'a Receiver,
}

impl Write for Counted<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written =
            self.file.write(bytes).map_err(|cause| io::Error::new(cause.kind(), Storing(cause)))?;
        self.receiver.received.fetch_add(written as u64, Ordering::Relaxed);
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush().map_err(|cause| io::Error::new(cause.kind(), Storing(cause)))
    }
}

async fn read_head(reader: &mut RecvStream) -> Result<(SnapshotMeta, bool), Refusal> {
    let (mut magic, mut length) = ([0; MAGIC.len()], [0; 4]);
    in_time(reader.read_exact(&mut magic)).await?;
    if magic != MAGIC {
        return Err(Refusal::new("it does not begin with SYN1"));
    }
    in_time(reader.read_exact(&mut length)).await?;
    let length = usize::try_from(u32::from_be_bytes(length)).unwrap_or(usize::MAX);
    if length > MAX_META {
        return Err(Refusal::new("its description is longer than 1 MiB"));
    }
    let mut json = vec![0; length];
    for part in json.chunks_mut(READ) {
        in_time(reader.read_exact(part)).await?;
    }
    SnapshotMeta::parse(&json).map_err(Refusal::new)
}

/// Reads the hashes of a number of chunks. Takes memory for what has come only, not for what a
/// sender says is to come.
async fn read_hashes(reader: &mut RecvStream, count: usize) -> Result<Vec<u8>, Refusal> {
    let (mut hashes, length) = (Vec::new(), count.saturating_mul(chunks::HASH));
    while hashes.len() < length {
        let limit = READ.min(length - hashes.len());
        match in_time(reader.read_chunk(limit, true)).await? {
            Some(chunk) => hashes.extend_from_slice(&chunk.bytes),
            None => return Err(incomplete()),
        }
    }
    Ok(hashes)
}

/// Passes on what is received, until the end or until nobody takes it any more.
async fn pump(mut reader: RecvStream, sender: mpsc::Sender<io::Result<Bytes>>) {
    loop {
        let piece = match timeout(SILENCE, reader.read_chunk(READ, true)).await {
            Ok(Ok(Some(chunk))) => Ok(chunk.bytes),
            Ok(Ok(None)) => return,
            Ok(Err(_)) | Err(_) => Err(io::ErrorKind::UnexpectedEof.into()),
        };
        let is_last = piece.is_err();
        if sender.send(piece).await.is_err() || is_last {
            return;
        }
    }
}

/// Waits for a step of the sender.
async fn in_time<T, E>(step: impl Future<Output = Result<T, E>>) -> Result<T, Refusal> {
    match timeout(SILENCE, step).await {
        Ok(done) => done.map_err(|_| incomplete()),
        Err(_elapsed) => Err(Refusal::new("nothing came for 10 s")),
    }
}

/// Runs blocking work on a thread.
async fn on_thread<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Refusal> + Send + 'static,
) -> Result<T, Refusal> {
    let done = tokio::task::spawn_blocking(work).await;
    done.unwrap_or_else(|_panicked| Err(Refusal::new("the receiver has failed; its log says why")))
}
