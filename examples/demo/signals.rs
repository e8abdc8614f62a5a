//! What the terminal and the system say to a process.

use std::future::pending;

/// Waits for Ctrl-C, for the terminal to be closed, or for a request of the system to end.
pub(crate) async fn asked_to_end() {
    tokio::select! {
        () = terminal() => {}
        () = terminate() => {}
    }
}

/// Ends the process at once at the next Ctrl-C.
pub(crate) async fn end_at_the_next_interrupt() {
    interrupt().await;
    std::process::exit(130);
}

/// Lets the terminal have no say; never returns.
pub(crate) async fn ignore_the_terminal() {
    loop {
        terminal().await;
    }
}

/// Waits for what a terminal tells all its processes.
async fn terminal() {
    tokio::select! {
        () = interrupt() => {}
        () = hangup() => {}
    }
}

/// Waits for Ctrl-C.
async fn interrupt() {
    if tokio::signal::ctrl_c().await.is_err() {
        pending().await
    }
}

/// Waits for SIGTERM.
#[cfg(unix)]
pub(crate) async fn terminate() {
    unix::wait(unix::SignalKind::terminate()).await;
}

/// Waits until the terminal is closed.
#[cfg(unix)]
async fn hangup() {
    unix::wait(unix::SignalKind::hangup()).await;
}

#[cfg(unix)]
mod unix {
    pub(super) use tokio::signal::unix::SignalKind;

    pub(super) async fn wait(kind: SignalKind) {
        match tokio::signal::unix::signal(kind) {
            Ok(mut signal) => drop(signal.recv().await),
            Err(_) => std::future::pending().await,
        }
    }
}

/// Waits for ever, where there is no such signal.
#[cfg(not(unix))]
pub(crate) async fn terminate() {
    pending().await
}

/// Waits for ever, where there is no such signal.
#[cfg(not(unix))]
async fn hangup() {
    pending().await
}
