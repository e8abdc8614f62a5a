//! What the terminal and the system say to a process.

use std::future::pending;

/// Waits for Ctrl-C, or for a request of the system to end.
pub(crate) async fn asked_to_end() {
    tokio::select! {
        () = interrupt() => {}
        () = terminate() => {}
    }
}

/// Waits for Ctrl-C.
async fn interrupt() {
    if tokio::signal::ctrl_c().await.is_err() {
        pending().await
    }
}

/// Ends the process at once at the next Ctrl-C.
pub(crate) async fn end_at_the_next_interrupt() {
    interrupt().await;
    std::process::exit(130);
}

/// Lets Ctrl-C have no effect; never returns.
pub(crate) async fn ignore_interrupts() {
    loop {
        interrupt().await;
    }
}

/// Waits for SIGTERM.
#[cfg(unix)]
pub(crate) async fn terminate() {
    use tokio::signal::unix::{SignalKind, signal};
    match signal(SignalKind::terminate()) {
        Ok(mut signal) => drop(signal.recv().await),
        Err(_) => pending().await,
    }
}

/// Waits for ever, where there is no SIGTERM.
#[cfg(not(unix))]
pub(crate) async fn terminate() {
    pending().await
}
