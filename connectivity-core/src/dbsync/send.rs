//! Sends one push, and waits for what the receiver says of it.

use std::fs::File;
use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use quinn::{Connection, ConnectionError, RecvStream, SendStream};
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::chunks::{CHUNK, count, read_chunk, set_bits};
use super::pipe::{self, PipeWriter};
use super::protocol::{DONE, GO_ON, REFUSED, speaks_chunks};
use super::published::Published;
use crate::quic::dialer::{Dialer, Traffic, explain};
use crate::routes::printable;

/// How long a dial may take. A receiver that comes back is found by the next one.
const DIAL: Duration = Duration::from_secs(2);

/// How long a receiver may take for an answer, and for its verdict: it verifies the whole file.
const ANSWER: Duration = Duration::from_secs(30);
const VERDICT: Duration = Duration::from_secs(120);

/// The quickest level of zstd: on a fast network, a better one would take longer than it saves.
const ZSTD_LEVEL: i32 = 1;

/// Why a push failed.
#[derive(Debug)]
pub(super) enum PushError {
    /// The receiver was not reached, or the connection ended early.
    Broken(String),
    /// The receiver does not take this snapshot.
    Refused(String),
}

/// A push that was taken.
pub(super) struct Taken {
    /// Whether the receiver speaks our protocol, in which an offer of what it has costs nothing.
    pub(super) in_chunks: bool,
}

/// Pushes a snapshot, and returns once the receiver has it in force. Counts the bytes of the file
/// that have been passed in `sent`.
pub(super) async fn push(
    dialer: &Dialer,
    published: &Arc<Published>,
    sent: &Arc<AtomicU64>,
) -> Result<Taken, PushError> {
    let connected = timeout(DIAL, dialer.connect(Traffic::Small)).await;
    let connected = connected
        .map_err(|_elapsed| PushError::Broken("nobody answers".to_owned()))?
        .map_err(|error| PushError::Broken(error.message))?;
    let connection = connected.connection.clone();
    sent.store(0, Ordering::Relaxed);
    let transferred = transfer(&connection, published, sent).await;
    // A receiver that refuses may close before it has read everything.
    let limit = if transferred.is_ok() { VERDICT } else { Duration::from_secs(1) };
    let verdict = match timeout(limit, connection.closed()).await {
        Ok(closed) => verdict(&closed),
        Err(_elapsed) => {
            let cause = transferred.err().unwrap_or_else(|| "it says nothing".to_owned());
            Err(PushError::Broken(cause))
        }
    };
    let taken = Taken { in_chunks: speaks_chunks(&connection) };
    connection.close(DONE.0.into(), DONE.1);
    verdict.map(|()| taken)
}

/// Returns what a receiver says by closing the connection. One that stops says something else than
/// one that has taken the push.
fn verdict(closed: &ConnectionError) -> Result<(), PushError> {
    match closed {
        ConnectionError::ApplicationClosed(close) => {
            match u32::try_from(close.error_code.into_inner()) {
                Ok(code) if (code, &*close.reason) == DONE => Ok(()),
                Ok(REFUSED) => Err(PushError::Refused(shown(&close.reason))),
                _ => Err(PushError::Broken(shown(&close.reason))),
            }
        }
        other => Err(PushError::Broken(explain(other))),
    }
}

/// Returns the text of a peer, escaped and shortened.
fn shown(text: &[u8]) -> String {
    printable(&String::from_utf8_lossy(text))
}

/// Sends everything. An error is a text for the log; the verdict of the receiver counts more.
async fn transfer(
    connection: &Connection,
    published: &Arc<Published>,
    sent: &Arc<AtomicU64>,
) -> Result<(), String> {
    let in_chunks = speaks_chunks(connection);
    let (mut writer, mut reader) = in_time(connection.open_bi()).await?;
    let head = published.meta.head(!in_chunks).map_err(|cause| cause.to_string())?;
    in_time(writer.write_all(&head)).await?;
    let file = published.open().map_err(|cause| format!("the copy: {cause}"))?;
    let (published, sent) = (Arc::clone(published), Arc::clone(sent));
    let (pipe, pieces) = pipe::from_thread();
    let reading = if in_chunks {
        let missing = negotiate(&published, &mut writer, &mut reader).await?;
        tokio::task::spawn_blocking(move || send_chunks(&file, &published, &missing, &sent, pipe))
    } else {
        tokio::task::spawn_blocking(move || send_gzip(&file, &sent, pipe))
    };
    forward(pieces, &mut writer).await?;
    let read = reading.await.map_err(|_panicked| "the sender has failed".to_owned())?;
    read.map_err(|cause| format!("the copy: {cause}"))?;
    writer.finish().map_err(|cause| cause.to_string())
}

/// Sends the hashes of all chunks, and returns the bitmap of those that the receiver lacks.
async fn negotiate(
    published: &Published,
    writer: &mut SendStream,
    reader: &mut RecvStream,
) -> Result<Vec<u8>, String> {
    let mut answer = [0];
    in_time(reader.read_exact(&mut answer)).await?;
    if answer != [GO_ON] {
        return Err("an answer of an unknown kind".to_owned());
    }
    for hashes in published.chunks.chunks(CHUNK) {
        in_time(writer.write_all(hashes.as_flattened())).await?;
    }
    let mut missing = vec![0; count(published.meta.size).div_ceil(8)];
    in_time(reader.read_exact(&mut missing)).await?;
    Ok(missing)
}

/// Writes the chunks whose bits are set, compressed. Blocks its thread.
fn send_chunks(
    file: &File,
    published: &Published,
    missing: &[u8],
    sent: &AtomicU64,
    pipe: PipeWriter,
) -> io::Result<()> {
    let mut encoder = zstd::stream::write::Encoder::new(pipe, ZSTD_LEVEL)?;
    let mut chunk = [0; CHUNK];
    for number in set_bits(missing) {
        let at = number.saturating_mul(CHUNK as u64);
        let length = published.meta.size.saturating_sub(at).min(CHUNK as u64);
        let length = usize::try_from(length).unwrap_or(CHUNK);
        let bytes = chunk.get_mut(..length).unwrap_or_default();
        read_chunk(file, number, bytes)?;
        encoder.write_all(bytes)?;
        sent.store(at + length as u64, Ordering::Relaxed);
    }
    sent.store(published.meta.size, Ordering::Relaxed);
    encoder.finish()?.flush()
}

/// Writes the whole file as the original does. Blocks its thread.
fn send_gzip(mut file: &File, sent: &AtomicU64, pipe: PipeWriter) -> io::Result<()> {
    let mut encoder = GzEncoder::new(pipe, Compression::fast());
    let mut buffer = vec![0; 16 * CHUNK];
    loop {
        let length = io::Read::read(&mut file, &mut buffer)?;
        if length == 0 {
            break;
        }
        encoder.write_all(buffer.get(..length).unwrap_or_default())?;
        sent.fetch_add(length as u64, Ordering::Relaxed);
    }
    encoder.finish()?.flush()
}

async fn forward(mut pieces: mpsc::Receiver<Bytes>, writer: &mut SendStream) -> Result<(), String> {
    while let Some(piece) = pieces.recv().await {
        in_time(writer.write_chunk(piece)).await?;
    }
    Ok(())
}

/// Waits for a step that needs the receiver.
async fn in_time<T, E: std::fmt::Display>(
    step: impl Future<Output = Result<T, E>>,
) -> Result<T, String> {
    match timeout(ANSWER, step).await {
        Ok(done) => done.map_err(|cause| cause.to_string()),
        Err(_elapsed) => Err("it does not go on".to_owned()),
    }
}
