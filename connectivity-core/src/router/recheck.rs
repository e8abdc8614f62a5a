//! Polls the files that rows refer to (certificates, secrets) and rebuilds routes whose files
//! changed. A renewed secret or certificate takes effect soon after, and a row that was bad because
//! a file was missing heals by itself. Also retries adding queued rows.

use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::sync::{Arc, Weak};
use std::thread;
use std::time::{Duration, Instant};

use crate::router::core::Core;
use crate::routes::SourceError;

/// The polling interval. Files are compared by content: orchestrators replace secrets by switching
/// symbolic links, which produces no reliable event.
const RECHECK_INTERVAL: Duration = Duration::from_secs(2);

/// The retry interval for queued rows, while another writer holds the source.
const ROW_RETRY_INTERVAL: Duration = Duration::from_millis(100);

/// Starts a thread of its own, because reading files and building routes may block.
pub(crate) fn start(core: &Arc<Core>) -> Result<(), SourceError> {
    let (sender, receiver) = mpsc::channel();
    let weak = Arc::downgrade(core);
    thread::Builder::new()
        .name("connectivity-files".to_owned())
        .spawn(move || run(&weak, &receiver))
        .map_err(|cause| SourceError::new(format_args!("no thread for the router: {cause}")))?;
    core.set_recheck(sender);
    Ok(())
}

fn run(core: &Weak<Core>, receiver: &Receiver<()>) {
    let (mut wait, mut last_recheck) = (RECHECK_INTERVAL, Instant::now());
    loop {
        match receiver.recv_timeout(wait) {
            Ok(()) => wait = ROW_RETRY_INTERVAL,
            Err(RecvTimeoutError::Disconnected) => return,
            Err(RecvTimeoutError::Timeout) => {
                let Some(core) = core.upgrade() else { return };
                core.add_waiting_rows();
                wait = if core.waiting_rows().is_empty() {
                    RECHECK_INTERVAL
                } else {
                    ROW_RETRY_INTERVAL
                };
                if last_recheck.elapsed() >= RECHECK_INTERVAL {
                    core.recheck();
                    last_recheck = Instant::now();
                }
            }
        }
    }
}
