//! Something made of files that is made anew when they change.

use std::fmt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError, TryLockError};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;

use super::{TlsError, pem, sha256};

/// How often the files are looked at, at most. They are looked at when a handshake comes, so an
/// idle process does nothing.
const CHECK_EVERY: Duration = Duration::from_secs(1);

type Make<T> = Box<dyn Fn(&[Vec<u8>]) -> Result<T, TlsError> + Send + Sync>;

/// A value and the files it was made of. What a file holds decides, not its time or size: those can
/// stay the same under a new certificate, and reading a few kilobytes once a second costs nothing.
pub(super) struct Watched<T> {
    current: ArcSwap<T>,
    files: Vec<PathBuf>,
    make: Make<T>,
    check_every: Duration,
    last: Mutex<Look>,
}

/// The last look at the files.
struct Look {
    at: Instant,
    /// What they held; `None` if they could not be read.
    digest: Option<[u8; 32]>,
    trouble: Option<TlsError>,
}

impl<T> Watched<T> {
    /// Reads the files and makes the first value.
    pub(super) fn new(
        files: Vec<PathBuf>,
        make: impl Fn(&[Vec<u8>]) -> Result<T, TlsError> + Send + Sync + 'static,
    ) -> Result<Self, TlsError> {
        let contents = read(&files)?;
        let current = ArcSwap::from_pointee(make(&contents)?);
        let last =
            Mutex::new(Look { at: Instant::now(), digest: Some(digest(&contents)), trouble: None });
        Ok(Self { current, files, make: Box::new(make), check_every: CHECK_EVERY, last })
    }

    /// Keeps a value that stands in no file.
    pub(super) fn fixed(value: T) -> Self {
        Self {
            current: ArcSwap::from_pointee(value),
            files: Vec::new(),
            make: Box::new(|_| Err(TlsError::new("it stands in no file"))),
            check_every: CHECK_EVERY,
            last: Mutex::new(Look { at: Instant::now(), digest: None, trouble: None }),
        }
    }

    #[cfg(test)]
    pub(super) fn checked_always(mut self) -> Self {
        self.check_every = Duration::ZERO;
        self
    }

    /// The value of the last good files.
    pub(super) fn current(&self) -> Arc<T> {
        // Whoever comes while another one looks takes what is there.
        let look = match self.last.try_lock() {
            Ok(look) => Some(look),
            Err(TryLockError::Poisoned(poisoned)) => Some(poisoned.into_inner()),
            Err(TryLockError::WouldBlock) => None,
        };
        if let Some(mut look) =
            look.filter(|look| !self.files.is_empty() && look.at.elapsed() >= self.check_every)
        {
            self.look(&mut look);
        }
        self.current.load_full()
    }

    /// What is wrong with the files now, while the last good value stays in use.
    pub(super) fn trouble(&self) -> Option<TlsError> {
        self.current();
        self.last.lock().unwrap_or_else(PoisonError::into_inner).trouble.clone()
    }

    fn look(&self, last: &mut Look) {
        let read = read(&self.files);
        let digest = read.as_deref().ok().map(digest);
        last.at = Instant::now();
        if digest.is_some() && digest == last.digest {
            return;
        }
        last.digest = digest;
        match read.and_then(|contents| (self.make)(&contents)) {
            Ok(value) => {
                self.current.store(Arc::new(value));
                last.trouble = None;
                tracing::info!(files = ?self.files, "certificates were read anew");
            }
            Err(cause) if last.trouble.as_ref() == Some(&cause) => {}
            Err(cause) => {
                tracing::warn!(%cause, "the files of a certificate are not good; the last good one stays in use");
                last.trouble = Some(cause);
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
