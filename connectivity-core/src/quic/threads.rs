//! The IO threads of a QUIC listener, and the mark that assigns a connection to one of them.
//!
//! Connections for small calls are assigned round-robin to all threads but the last. Connections
//! for large bodies go to the last thread, where they delay neither small calls nor the reading of
//! the socket: decrypting a megabyte takes milliseconds.
//!
//! The server must recognize a connection for large bodies before it has decrypted any of its
//! packets. So the client marks the destination connection ID of its first packets. The mark is a
//! scheduling hint and grants no permission.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use quinn::ConnectionId;
use ring::rand::{SecureRandom, SystemRandom};

use crate::mux::StreamCall;
use crate::transport::io::{Ended, IoThread, IoThreads};

/// Threads for small calls; the first also reads the socket.
const SMALL_CALL_THREADS: usize = 2;

/// The first bytes of the connection ID that marks a connection for large bodies.
const BULK_MARK: &[u8; 4] = b"bulk";

/// The IO threads of one listener. They end when this is dropped.
#[derive(Debug)]
pub(super) struct Threads {
    threads: IoThreads<StreamCall>,
    next: AtomicUsize,
}

impl Threads {
    /// Starts the threads. [`Ended`] completes once all of them have ended.
    pub(super) fn start() -> io::Result<(Arc<Self>, Ended)> {
        let (threads, ended) = IoThreads::start("quic", SMALL_CALL_THREADS + 1)?;
        Ok((Arc::new(Self { threads, next: AtomicUsize::new(0) }), ended))
    }

    /// Returns the thread that reads the socket.
    pub(super) fn first(&self) -> &IoThread<StreamCall> {
        self.threads.get(0)
    }

    /// Returns the thread for the next accepted connection and all its streams.
    pub(super) fn assign(&self, is_bulk: bool) -> &IoThread<StreamCall> {
        let index = if is_bulk {
            SMALL_CALL_THREADS
        } else {
            self.next.fetch_add(1, Ordering::Relaxed) % SMALL_CALL_THREADS
        };
        self.threads.get(index)
    }
}

/// Returns a new connection ID for a connection for large bodies: the mark and 16 random bytes.
pub(super) fn bulk_connection_id() -> ConnectionId {
    let mut bytes = [0; BULK_MARK.len() + 16];
    let (mark, random) = bytes.split_at_mut(BULK_MARK.len());
    mark.copy_from_slice(BULK_MARK);
    // A system without randomness has no TLS either, so the handshake reports the error.
    let _ = SystemRandom::new().fill(random);
    ConnectionId::new(&bytes)
}

/// Returns whether a client has marked its connection as one for large bodies.
pub(super) fn is_bulk(id: &ConnectionId) -> bool {
    id.starts_with(BULK_MARK)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marked_numbers_differ_and_are_recognised() {
        let (one, other) = (bulk_connection_id(), bulk_connection_id());
        assert_ne!(one, other);
        assert!(is_bulk(&one) && is_bulk(&other) && !is_bulk(&ConnectionId::new(&[7; 20])));
    }
}
