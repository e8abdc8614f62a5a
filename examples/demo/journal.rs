//! The second process's own journal: it counts the calls that it served.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use connectivity_core::{context, service};
use serde::{Deserialize, Serialize};

use crate::shop::{ORDER_LIMIT, ShopError};

/// Reports what a process has served.
#[service]
pub(crate) trait Journal {
    /// Returns the counts so far.
    #[readonly]
    async fn counts(&self) -> Result<Counts, ShopError>;
}

/// The counts of a journal.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Counts {
    /// Calls of `billing` and `catalog`.
    pub(crate) calls: u64,
    /// Calls among them without the deadline of an order.
    pub(crate) without_deadline: u64,
}

impl Counts {
    fn to_bytes(self) -> [u8; 16] {
        (u128::from(self.calls) << 64 | u128::from(self.without_deadline)).to_be_bytes()
    }

    fn from_bytes(bytes: [u8; 16]) -> Self {
        let both = u128::from_be_bytes(bytes);
        Self { calls: (both >> 64) as u64, without_deadline: both as u64 }
    }
}

/// A journal in a file. It survives a kill of the process, and the next process continues it.
#[derive(Debug)]
pub(crate) struct JournalFile {
    file: File,
    counts: Mutex<Counts>,
}

impl JournalFile {
    /// Opens or creates the journal.
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        let file =
            File::options().read(true).write(true).create(true).truncate(false).open(path)?;
        let mut bytes = [0; 16];
        match file.read_exact_at(&mut bytes, 0) {
            Ok(()) => {}
            Err(cause) if cause.kind() == io::ErrorKind::UnexpectedEof => {}
            Err(cause) => return Err(cause),
        }
        Ok(Self { file, counts: Mutex::new(Counts::from_bytes(bytes)) })
    }

    /// Records a call before it runs, so that the journal contains every call that ran.
    ///
    /// A call over a wire carries the remaining time of its order. A call without a deadline has
    /// the 30 s of a remote route.
    pub(crate) fn note(&self) {
        let without_deadline = context::current().remaining().is_none_or(|left| left > ORDER_LIMIT);
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        counts.calls += 1;
        counts.without_deadline += u64::from(without_deadline);
        // A count that cannot be written shows up when the journal is compared with the replies.
        let _ = self.file.write_all_at(&counts.to_bytes(), 0);
    }
}

impl Journal for Arc<JournalFile> {
    async fn counts(&self) -> Result<Counts, ShopError> {
        Ok(*self.counts.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_journal_goes_on_where_the_last_process_left_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("journal");
        for calls in 1..4 {
            let journal = JournalFile::open(&path).unwrap();
            journal.note();
            let counts = *journal.counts.lock().unwrap();
            assert_eq!((counts.calls, counts.without_deadline), (calls, calls));
        }
    }
}
