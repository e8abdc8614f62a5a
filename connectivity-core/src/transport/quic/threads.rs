//! The threads of a listener. Connections of small calls are dealt to all but the last in turn. Those of large bodies get the last,
//! where they hold up neither small calls nor the reading of the socket: decrypting a megabyte takes milliseconds.

use std::fmt;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use tokio::runtime::Handle;
use tokio::sync::{mpsc, watch};

/// Threads for small calls; the first also reads the socket.
const SMALL: usize = 2;

/// The threads of one listener. They end when this is dropped.
pub(super) struct Threads {
    handles: Vec<Handle>,
    next: AtomicUsize,
    _stop: watch::Sender<()>,
}

/// Tells when the threads of a listener have ended, and with them their sockets.
pub(super) struct Ended(mpsc::Receiver<()>);

impl Ended {
    pub(super) async fn wait(mut self) {
        // Nothing is ever sent: it ends when every thread has dropped its sender.
        let _ = self.0.recv().await;
    }
}

impl Threads {
    pub(super) fn start() -> io::Result<(Arc<Self>, Ended)> {
        let (stop, stopped) = watch::channel(());
        let (alive, ended) = mpsc::channel(1);
        let start = |n| start(n, stopped.clone(), alive.clone());
        let handles = (0..=SMALL).map(start).collect::<io::Result<_>>()?;
        Ok((Arc::new(Self { handles, next: AtomicUsize::new(0), _stop: stop }), Ended(ended)))
    }

    /// The thread that reads the socket.
    pub(super) fn first(&self) -> &Handle {
        &self.handles[0]
    }

    /// The thread of the connection that is accepted next, and of all its streams.
    pub(super) fn deal(&self, is_bulk: bool) -> &Handle {
        let at = if is_bulk { SMALL } else { self.next.fetch_add(1, Ordering::Relaxed) % SMALL };
        &self.handles[at]
    }
}

fn start(n: usize, mut stopped: watch::Receiver<()>, alive: mpsc::Sender<()>) -> io::Result<Handle> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let handle = runtime.handle().clone();
    thread::Builder::new().name(format!("connectivity-quic-{n}")).spawn(move || {
        runtime.block_on(async move {
            // Ends with an error when the sender is gone, which is what is waited for.
            let _ = stopped.changed().await;
        });
        drop(runtime);
        drop(alive);
    })?;
    Ok(handle)
}

impl fmt::Debug for Threads {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Threads").field("handles", &self.handles.len()).finish_non_exhaustive()
    }
}
