//! Servers do not share the runtime of those who call them.

use std::future::Future;

/// Runs on a thread and a multi-thread runtime of its own until the process ends; gives what
/// `start` makes.
pub fn apart<T, F, Fut>(start: F) -> T
where
    T: Send + 'static,
    F: FnOnce() -> Fut + Send + 'static,
    Fut: Future<Output = T> + Send,
{
    let (made, makes) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(async move {
            made.send(start().await).unwrap();
            std::future::pending::<()>().await;
        });
    });
    makes.recv().unwrap()
}
