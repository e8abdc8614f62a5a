//! Looks again, now and then, at what routes were built from beside their rows: the files that rows
//! name. A secret or a certificate that was renewed is in use soon after, and a row that was bad
//! for want of a file heals by itself. Rows that could not be added are tried again here too.

use std::io;
use std::sync::Weak;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::thread;
use std::time::{Duration, Instant};

use crate::router::core::Core;

/// How often to look. Files are compared by what they hold: links that are turned, as orchestrators
/// do with secrets, make no event that could be relied on.
const EVERY: Duration = Duration::from_secs(2);

/// How often to try to add the rows that wait for another writer to end.
const SOON: Duration = Duration::from_millis(100);

/// Ends the looking when it is dropped; a message says that a row waits to be added.
pub(crate) type Recheck = Sender<()>;

/// Starts a thread that looks, as reading files and building routes may take their time.
pub(crate) fn start(core: Weak<Core>) -> io::Result<Recheck> {
    let (alive, gone) = mpsc::channel();
    thread::Builder::new()
        .name("connectivity-files".to_owned())
        .spawn(move || run(&core, &gone))?;
    Ok(alive)
}

fn run(core: &Weak<Core>, gone: &Receiver<()>) {
    let (mut wait, mut looked) = (EVERY, Instant::now());
    loop {
        match gone.recv_timeout(wait) {
            Ok(()) => wait = SOON,
            Err(RecvTimeoutError::Disconnected) => return,
            Err(RecvTimeoutError::Timeout) => {
                let Some(core) = core.upgrade() else { return };
                core.add_waiting_rows();
                wait = if core.waiting_rows().is_empty() { EVERY } else { SOON };
                if looked.elapsed() >= EVERY {
                    core.recheck();
                    looked = Instant::now();
                }
            }
        }
    }
}
