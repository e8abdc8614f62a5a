//! Signals of the terminal and the system.

use std::future::pending;

/// Waits for Ctrl-C, SIGHUP or SIGTERM.
pub(crate) async fn asked_to_end() {
    tokio::select! {
        () = terminal() => {}
        () = terminate() => {}
    }
}

/// Exits the process at the next Ctrl-C.
pub(crate) async fn end_at_the_next_interrupt() {
    interrupt().await;
    std::process::exit(130);
}

/// Ignores signals of the terminal. Never returns.
pub(crate) async fn ignore_the_terminal() {
    loop {
        terminal().await;
    }
}

/// Waits for a signal that a terminal sends to all its processes.
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

/// Waits for SIGHUP.
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

/// Never resolves: there is no such signal.
#[cfg(not(unix))]
pub(crate) async fn terminate() {
    pending().await
}

/// Never resolves: there is no such signal.
#[cfg(not(unix))]
async fn hangup() {
    pending().await
}
