//! A thread of its own for a listener.
//!
//! Measured beside the user's multi-thread runtime: implementations that compute there leave this thread alone, so small calls of
//! other methods are answered as if nothing ran; and a call that is answered at once costs no wake-up across threads.

use std::future::Future;
use std::io;
use std::thread;

use tokio::sync::oneshot;

/// Runs a future on a thread with a runtime of its own. The returned future ends when that one has.
pub(super) fn io_thread<F>(
    name: &str,
    make: impl FnOnce() -> F + Send + 'static,
) -> io::Result<impl Future<Output = ()> + Send>
where
    F: Future<Output = ()>,
{
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (ended, end) = oneshot::channel::<()>();
    thread::Builder::new().name(name.to_owned()).spawn(move || {
        runtime.block_on(make());
        drop(runtime);
        drop(ended);
    })?;
    Ok(async move {
        let _ = end.await;
    })
}
