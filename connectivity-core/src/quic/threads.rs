//! The threads of a QUIC listener. Connections of small calls are dealt to all but the last in
//! turn. Those of large bodies get the last, where they hold up neither small calls nor the reading
//! of the socket: decrypting a megabyte takes milliseconds.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::mux::StreamCall;
use crate::transport::io::{Ended, IoThread, IoThreads};

/// Threads for small calls; the first also reads the socket.
const SMALL: usize = 2;

/// The threads of one listener. They end when this is dropped.
#[derive(Debug)]
pub(super) struct Threads {
    threads: IoThreads<StreamCall>,
    next: AtomicUsize,
}

impl Threads {
    pub(super) fn start() -> io::Result<(Arc<Self>, Ended)> {
        let (threads, ended) = IoThreads::start("quic", SMALL + 1)?;
        Ok((Arc::new(Self { threads, next: AtomicUsize::new(0) }), ended))
    }

    /// The thread that reads the socket.
    pub(super) fn first(&self) -> &IoThread<StreamCall> {
        self.threads.get(0)
    }

    /// The thread of the connection that is accepted next, and of all its streams.
    pub(super) fn deal(&self, is_bulk: bool) -> &IoThread<StreamCall> {
        let at = if is_bulk { SMALL } else { self.next.fetch_add(1, Ordering::Relaxed) % SMALL };
        self.threads.get(at)
    }
}
