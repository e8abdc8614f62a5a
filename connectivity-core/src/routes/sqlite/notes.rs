//! Problems of the file, recorded when they occur and reported on `inspect`.

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

/// Recorded problems; the latest of each kind.
#[derive(Debug, Default)]
pub(super) struct Notes(Mutex<Problems>);

#[derive(Debug, Default)]
struct Problems {
    replaced: Option<(FileId, Instant)>,
    overwritten: Option<Instant>,
    lost_sidecars: Option<Instant>,
    read_failure: Option<(SourceError, Instant)>,
    check_failure: Option<(SourceError, Instant)>,
    events_error: Option<String>,
    rejected_strategies: Vec<String>,
}

impl Notes {
    /// Records that another file replaced the open one.
    pub(super) fn record_replaced(&self, file: FileId) {
        let mut problems = self.lock();
        if problems.replaced.is_none_or(|(known, _)| known != file) {
            problems.replaced = Some((file, Instant::now()));
            tracing::warn!("{REPLACED}; {RESTORE}");
        }
    }

    /// Records that the content of the file was overwritten without SQLite.
    pub(super) fn record_overwritten(&self) {
        self.lock().overwritten = Some(Instant::now());
        tracing::warn!("{OVERWRITTEN}; {RESTORE}");
    }

    /// Records that the log of the file or its index was deleted.
    pub(super) fn record_lost_sidecars(&self) {
        self.lock().lost_sidecars = Some(Instant::now());
        tracing::warn!("{LOST_SIDECARS}");
    }

    /// Records the result of reading rows.
    pub(super) fn record_read<T>(&self, result: &Result<T, SourceError>) {
        record(&mut self.lock().read_failure, result);
    }

    /// Records the result of checking for changes.
    pub(super) fn record_check<T>(&self, result: &Result<T, SourceError>) {
        record(&mut self.lock().check_failure, result);
    }

    /// Records why the operating system reports no file events, or that it does.
    pub(super) fn record_events_error(&self, error: Option<String>) {
        self.lock().events_error = error;
    }

    /// Records strategies that the table cannot hold.
    pub(super) fn record_rejected_strategies(&self, words: &[&str]) {
        let mut problems = self.lock();
        let new = words
            .iter()
            .filter(|word| !problems.rejected_strategies.iter().any(|known| known == *word));
        let new: Vec<_> = new.map(|word| (*word).to_owned()).collect();
        problems.rejected_strategies.extend(new);
    }

    /// Returns the strategies recorded by
    /// [`record_rejected_strategies`](Self::record_rejected_strategies).
    pub(super) fn rejected_strategies(&self) -> Vec<String> {
        self.lock().rejected_strategies.clone()
    }

    /// Returns a message for every recorded problem.
    pub(super) fn messages(&self) -> Vec<String> {
        let problems = self.lock();
        let failing = |problem: &str, failure: &Option<(SourceError, Instant)>| {
            failure.as_ref().map(|(e, since)| {
                format!("{problem} has failed for {} s: {e}", since.elapsed().as_secs())
            })
        };
        let ago = |problem: &str, since: Instant, advice: &str| {
            format!("{problem} ({} s ago); {advice}", since.elapsed().as_secs())
        };
        let replaced = problems.replaced.map(|(_, since)| ago(REPLACED, since, RESTORE));
        let overwritten = problems.overwritten.map(|since| ago(OVERWRITTEN, since, RESTORE));
        let lost = problems
            .lost_sidecars
            .map(|since| ago(LOST_SIDECARS, since, "restart whoever else has it open"));
        let reading = failing("reading routes", &problems.read_failure);
        let check = failing("looking for changes", &problems.check_failure);
        [replaced, overwritten, lost, reading, check, problems.events_error.clone()]
            .into_iter()
            .flatten()
            .collect()
    }

    fn lock(&self) -> MutexGuard<'_, Problems> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Records the result and keeps the time of the first failure in a row.
fn record<T>(failure: &mut Option<(SourceError, Instant)>, result: &Result<T, SourceError>) {
    *failure = match (result, failure.take()) {
        (Ok(_), _) => None,
        (Err(e), since) => Some((e.clone(), since.map_or_else(Instant::now, |(_, since)| since))),
    };
}
