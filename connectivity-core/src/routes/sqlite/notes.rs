//! Troubles of the file that are noted when they happen and told on `inspect`.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use super::file::FileId;
use crate::routes::source::SourceError;

const REPLACED: &str = "the file was replaced while it was open";
const OVERWRITTEN: &str = "the file was overwritten while it was open";
const LOST_SIDECARS: &str =
    "-wal or -shm was deleted while the file was open, and commits may be lost";
const RESTORE: &str = "a leftover -wal may still count, so stop all routers, remove -wal and -shm, and start them; \
     next time restore into the file: sqlite3 FILE '.restore COPY'";

/// What is noted; one of a kind.
#[derive(Debug, Default)]
pub(super) struct Notes(Mutex<Noted>);

#[derive(Debug, Default)]
struct Noted {
    replaced: Option<(FileId, Instant)>,
    overwritten: Option<Instant>,
    lost_sidecars: Option<Instant>,
    reading: Option<(SourceError, Instant)>,
    looking: Option<(SourceError, Instant)>,
    no_events: Option<String>,
    refused_words: Vec<String>,
}

impl Notes {
    /// Notes that another file stands where ours stood.
    pub(super) fn replaced(&self, file: FileId) {
        let mut noted = self.lock();
        if noted.replaced.is_none_or(|(known, _)| known != file) {
            noted.replaced = Some((file, Instant::now()));
            tracing::warn!("{REPLACED}; {RESTORE}");
        }
    }

    /// Notes that the content of the file was exchanged past SQLite.
    pub(super) fn overwritten(&self) {
        self.lock().overwritten = Some(Instant::now());
        tracing::warn!("{OVERWRITTEN}; {RESTORE}");
    }

    /// Notes that somebody took the log of the file away, or its index.
    pub(super) fn lost_sidecars(&self) {
        self.lock().lost_sidecars = Some(Instant::now());
        tracing::warn!("{LOST_SIDECARS}");
    }

    /// Notes how reading rows went.
    pub(super) fn reading<T>(&self, result: &Result<T, SourceError>) {
        note(&mut self.lock().reading, result);
    }

    /// Notes how looking for changes went.
    pub(super) fn looking<T>(&self, result: &Result<T, SourceError>) {
        note(&mut self.lock().looking, result);
    }

    /// Notes whether the operating system tells of changes.
    pub(super) fn events(&self, trouble: Option<String>) {
        self.lock().no_events = trouble;
    }

    /// Notes strategy words that the table cannot hold.
    pub(super) fn refused_words(&self, words: &[&str]) {
        let mut noted = self.lock();
        let new =
            words.iter().filter(|word| !noted.refused_words.iter().any(|known| known == *word));
        let new: Vec<_> = new.map(|word| (*word).to_owned()).collect();
        noted.refused_words.extend(new);
    }

    /// Returns the words noted by [`refused_words`](Self::refused_words).
    pub(super) fn refused_words_noted(&self) -> Vec<String> {
        self.lock().refused_words.clone()
    }

    /// Tells all that is noted.
    pub(super) fn tell(&self) -> Vec<String> {
        let noted = self.lock();
        let failing = |what: &str, noted: &Option<(SourceError, Instant)>| {
            noted.as_ref().map(|(e, since)| {
                format!("{what} has failed for {} s: {e}", since.elapsed().as_secs())
            })
        };
        let ago = |what: &str, since: Instant, advice: &str| {
            format!("{what} ({} s ago); {advice}", since.elapsed().as_secs())
        };
        let replaced = noted.replaced.map(|(_, since)| ago(REPLACED, since, RESTORE));
        let overwritten = noted.overwritten.map(|since| ago(OVERWRITTEN, since, RESTORE));
        let lost = noted
            .lost_sidecars
            .map(|since| ago(LOST_SIDECARS, since, "restart whoever else has it open"));
        let reading = failing("reading routes", &noted.reading);
        let looking = failing("looking for changes", &noted.looking);
        [replaced, overwritten, lost, reading, looking, noted.no_events.clone()]
            .into_iter()
            .flatten()
            .collect()
    }

    fn lock(&self) -> MutexGuard<'_, Noted> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Keeps the time of the first failure in a row.
fn note<T>(slot: &mut Option<(SourceError, Instant)>, result: &Result<T, SourceError>) {
    *slot = match (result, slot.take()) {
        (Ok(_), _) => None,
        (Err(e), since) => Some((e.clone(), since.map_or_else(Instant::now, |(_, since)| since))),
    };
}
