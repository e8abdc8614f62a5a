//! Which methods are slow, so that they do not run where frames are read.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// A first poll that takes longer has held up every other call of its thread. After two in a row the method is started elsewhere:
/// once, the system may have given the processor to somebody else in the middle.
const SLOW: Duration = Duration::from_micros(100);

/// So many starts elsewhere, and the method gets another chance in place.
const ANOTHER_CHANCE: u32 = 1000;

/// A first poll that takes longer has blocked the thread, and everybody on it: the method never starts there again. The system does
/// not take the processor away for so long.
const BLOCKS: Duration = Duration::from_millis(100);

/// How one method behaves.
#[derive(Debug, Default)]
pub(super) struct Pace {
    /// Starts elsewhere that are left; 0 while the method is quick.
    elsewhere: AtomicU32,
    /// The last first poll took long.
    late: AtomicBool,
}

impl Pace {
    /// Says whether the next call is to start elsewhere.
    pub(super) fn is_slow(&self) -> bool {
        self.elsewhere
            .try_update(Ordering::Relaxed, Ordering::Relaxed, |left| match left {
                u32::MAX => Some(left),
                _ => left.checked_sub(1),
            })
            .is_ok()
    }

    /// Takes note of how long a first poll in place took.
    pub(super) fn note(&self, took: Duration) {
        let (late, was_late) = (took > SLOW, self.late.load(Ordering::Relaxed));
        if late != was_late {
            self.late.store(late, Ordering::Relaxed);
        }
        if took > BLOCKS {
            self.elsewhere.store(u32::MAX, Ordering::Relaxed);
        } else if late && was_late {
            self.elsewhere.fetch_max(ANOTHER_CHANCE, Ordering::Relaxed);
        }
    }
}

/// The paces of a listener's methods, shared by its connections.
#[derive(Clone, Debug, Default)]
pub(super) struct Paces(Arc<Mutex<HashMap<String, Arc<Pace>>>>);

impl Paces {
    /// The pace of a method, by its full name. Only names that are served here are kept, so a peer cannot fill the map.
    pub(super) fn of(&self, name: &str) -> Arc<Pace> {
        let mut paces = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match paces.get(name) {
            Some(pace) => Arc::clone(pace),
            None => Arc::clone(paces.entry(name.to_owned()).or_default()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slow_method_starts_elsewhere_and_gets_another_chance() {
        let pace = Paces::default().of("billing.charge");
        for took in [99, 1000, 99, 1000] {
            pace.note(Duration::from_micros(took));
            assert!(!pace.is_slow());
        }
        for _ in 0..2 {
            pace.note(Duration::from_millis(1));
            assert_eq!((0..2000).filter(|_| pace.is_slow()).count(), ANOTHER_CHANCE as usize);
        }
        pace.note(Duration::from_secs(5));
        assert!((0..2000).all(|_| pace.is_slow()));
    }
}
