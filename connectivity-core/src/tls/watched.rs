//! A value built from files and rebuilt when they change.

use std::fmt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError, TryLockError};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;

use super::{TlsError, pem, sha256};

/// Minimum interval between checks of the files. A handshake triggers the check, so an idle process
/// does nothing.
const CHECK_INTERVAL: Duration = Duration::from_secs(1);

type Build<T> = Box<dyn Fn(&[Vec<u8>]) -> Result<T, TlsError> + Send + Sync>;

/// A value and the files it is built from. Changes are detected by content, not by modification
/// time or size: those can stay the same with a new certificate, and reading a few kilobytes once a
/// second costs nothing.
pub(super) struct Watched<T> {
    current: ArcSwap<T>,
    files: Vec<PathBuf>,
    build: Build<T>,
    check_interval: Duration,
    last: Mutex<LastCheck>,
}

/// The result of the last check of the files.
struct LastCheck {
    at: Instant,
    /// Digest of the contents; `None` if a file could not be read.
    digest: Option<[u8; 32]>,
    fault: Option<TlsError>,
}

impl<T> Watched<T> {
    /// Reads the files and builds the first value.
    pub(super) fn new(
        files: Vec<PathBuf>,
        build: impl Fn(&[Vec<u8>]) -> Result<T, TlsError> + Send + Sync + 'static,
    ) -> Result<Self, TlsError> {
        let contents = read(&files)?;
        let current = ArcSwap::from_pointee(build(&contents)?);
        let last = Mutex::new(LastCheck {
            at: Instant::now(),
            digest: Some(digest(&contents)),
            fault: None,
        });
        Ok(Self { current, files, build: Box::new(build), check_interval: CHECK_INTERVAL, last })
    }

    /// Wraps a constant value without files.
    pub(super) fn fixed(value: T) -> Self {
        Self {
            current: ArcSwap::from_pointee(value),
            files: Vec::new(),
            build: Box::new(|_| Err(TlsError::new("it stands in no file"))),
            check_interval: CHECK_INTERVAL,
            last: Mutex::new(LastCheck { at: Instant::now(), digest: None, fault: None }),
        }
    }

    #[cfg(test)]
    pub(super) fn checked_always(mut self) -> Self {
        self.check_interval = Duration::ZERO;
        self
    }

    /// Returns the value of the last good files. Checks the files first if a check is due.
    pub(super) fn current(&self) -> Arc<T> {
        // While another thread checks the files, use the present value.
        let last = match self.last.try_lock() {
            Ok(last) => Some(last),
            Err(TryLockError::Poisoned(poisoned)) => Some(poisoned.into_inner()),
            Err(TryLockError::WouldBlock) => None,
        };
        if let Some(mut last) =
            last.filter(|last| !self.files.is_empty() && last.at.elapsed() >= self.check_interval)
        {
            self.check(&mut last);
        }
        self.current.load_full()
    }

    /// Returns what is wrong with the files now, if the last good value is still in use because of
    /// it.
    pub(super) fn fault(&self) -> Option<TlsError> {
        self.current();
        self.last.lock().unwrap_or_else(PoisonError::into_inner).fault.clone()
    }

    fn check(&self, last: &mut LastCheck) {
        let read = read(&self.files);
        let digest = read.as_deref().ok().map(digest);
        last.at = Instant::now();
        if digest.is_some() && digest == last.digest {
            return;
        }
        last.digest = digest;
        match read.and_then(|contents| (self.build)(&contents)) {
            Ok(value) => {
                self.current.store(Arc::new(value));
                last.fault = None;
                tracing::info!(files = ?self.files, "certificates were read anew");
            }
            Err(cause) if last.fault.as_ref() == Some(&cause) => {}
            Err(cause) => {
                tracing::warn!(%cause, "the files of a certificate are not good; the last good one stays in use");
                last.fault = Some(cause);
            }
        }
    }
}

impl<T> fmt::Debug for Watched<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watched").field("files", &self.files).finish_non_exhaustive()
    }
}

fn read(files: &[PathBuf]) -> Result<Vec<Vec<u8>>, TlsError> {
    files.iter().map(|file| pem::read(file)).collect()
}

fn digest(contents: &[Vec<u8>]) -> [u8; 32] {
    let each: Vec<u8> = contents.iter().flat_map(|bytes| sha256(bytes)).collect();
    sha256(&each)
}
