//! The thread of a publisher or a subscriber, with a runtime of its own: whatever the application
//! does with its own threads, connections stay alive; and unpacking takes no time of theirs.

use std::io;
use std::thread;

use tokio::runtime::{Builder, Handle};
use tokio::sync::oneshot;

/// A thread that runs tasks until this is dropped.
#[derive(Debug)]
pub(super) struct Worker {
    handle: Handle,
    // Dropped with the worker, which ends the thread.
    _stop: oneshot::Sender<()>,
}

impl Worker {
    pub(super) fn start(name: &str) -> io::Result<Self> {
        let runtime = Builder::new_current_thread().enable_all().thread_name(name).build()?;
        let handle = runtime.handle().clone();
        let (stop, stopped) = oneshot::channel::<()>();
        thread::Builder::new().name(name.to_owned()).spawn(move || {
            // No value is ever sent: this completes when the worker is dropped.
            let _ = runtime.block_on(stopped);
            runtime.shutdown_background();
        })?;
        Ok(Self { handle, _stop: stop })
    }

    pub(super) fn handle(&self) -> &Handle {
        &self.handle
    }
}
