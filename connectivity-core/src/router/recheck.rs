//! Looks again, now and then, at what routes were built from beside their rows: the files that rows name. A secret or a certificate
//! that was renewed is in use soon after, and a row that was bad for want of a file heals by itself.

use std::io;
use std::sync::Weak;
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::thread;
use std::time::Duration;

use crate::router::core::Core;

/// How often to look. Files are compared by what they hold: links that are turned, as orchestrators do with secrets, make no event
/// that could be relied on.
const EVERY: Duration = Duration::from_secs(2);

/// Ends the looking when it is dropped.
pub(crate) type Recheck = Sender<()>;

/// Starts a thread that looks, as reading files and building routes may take their time.
pub(crate) fn start(core: Weak<Core>) -> io::Result<Recheck> {
    let (alive, gone) = mpsc::channel();
    thread::Builder::new().name("connectivity-files".to_owned()).spawn(move || {
        while gone.recv_timeout(EVERY) == Err(RecvTimeoutError::Timeout) {
            match core.upgrade() {
                Some(core) => core.recheck(),
                None => return,
            }
        }
    })?;
    Ok(alive)
}
