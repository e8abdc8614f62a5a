//! Decides which methods are polled inline, on the thread that reads their requests.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// A first poll that takes longer is slow: it delays every other call of its thread.
const SLOW: Duration = Duration::from_micros(100);

/// Number of consecutive quick first polls on the user's runtime before a method is polled inline.
const PROOF: u32 = 16;

/// Maximum length of a proof: a method that repeatedly blocks its thread is hardly ever polled
/// inline.
const LONGEST_PROOF: u32 = PROOF << 16;

/// Decides for one method whether its first poll runs inline.
///
/// A method runs on the user's runtime until it has proven quick. Two consecutive slow inline polls
/// send it back; a single one may be due to preemption. A poll that [overran](Self::overran) sends
/// it back at once, and the next proof is sixteen times as long.
#[derive(Debug)]
pub(crate) struct InlinePolicy {
    /// Quick polls still required; 0 while the method is polled inline.
    unproven: AtomicU32,
    /// Whether the last inline poll was slow.
    was_slow: AtomicBool,
    overruns: AtomicU32,
}

impl Default for InlinePolicy {
    fn default() -> Self {
        Self {
            unproven: AtomicU32::new(PROOF),
            was_slow: AtomicBool::default(),
            overruns: AtomicU32::default(),
        }
    }
}

impl InlinePolicy {
    /// Returns whether the next call may be polled inline.
    pub(crate) fn allows_inline(&self) -> bool {
        self.unproven.load(Ordering::Relaxed) == 0
    }

    /// Records the duration of a first poll on the user's runtime.
    pub(crate) fn record_spawned(&self, took: Duration) {
        if took > SLOW {
            self.unproven.store(self.proof(), Ordering::Relaxed);
        } else {
            let fewer = |unproven: u32| unproven.checked_sub(1);
            let _ = self.unproven.try_update(Ordering::Relaxed, Ordering::Relaxed, fewer);
        }
    }

    /// Records the duration of an inline poll.
    pub(crate) fn record_inline(&self, took: Duration) {
        let (slow, was_slow) = (took > SLOW, self.was_slow.load(Ordering::Relaxed));
        if slow != was_slow {
            self.was_slow.store(slow, Ordering::Relaxed);
        }
        if slow && was_slow {
            self.unproven.store(self.proof(), Ordering::Relaxed);
        }
    }

    /// Records that an inline poll is blocking its thread.
    pub(crate) fn overran(&self) {
        self.overruns.fetch_add(1, Ordering::Relaxed);
        self.unproven.store(self.proof(), Ordering::Relaxed);
    }

    fn proof(&self) -> u32 {
        let doublings = self.overruns.load(Ordering::Relaxed).saturating_mul(4);
        PROOF
            .checked_shl(doublings)
            .filter(|proof| (1..LONGEST_PROOF).contains(proof))
            .unwrap_or(LONGEST_PROOF)
    }
}

/// The policies of a listener's methods, shared by its connections.
#[derive(Clone, Debug, Default)]
pub(crate) struct InlinePolicies(Arc<Mutex<HashMap<String, Arc<InlinePolicy>>>>);

impl InlinePolicies {
    /// Returns the policy of a method, by its full name. The caller passes only names that are
    /// served here, so a peer cannot fill the map.
    pub(crate) fn of(&self, name: &str) -> Arc<InlinePolicy> {
        let mut policies = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match policies.get(name) {
            Some(policy) => Arc::clone(policy),
            None => Arc::clone(policies.entry(name.to_owned()).or_default()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const QUICK: Duration = Duration::from_micros(99);
    const LATE: Duration = Duration::from_millis(1);

    /// Returns how many quick polls a method needs before it is polled inline.
    fn proof(policy: &InlinePolicy) -> u32 {
        let mut polls = 0;
        while !policy.allows_inline() {
            policy.record_spawned(QUICK);
            polls += 1;
        }
        polls
    }

    #[test]
    fn a_method_is_polled_inline_once_it_has_proven_quick() {
        let policy = InlinePolicies::default().of("billing.charge");
        (1..PROOF).for_each(|_| policy.record_spawned(QUICK));
        policy.record_spawned(LATE);
        assert_eq!(proof(&policy), PROOF, "one slow poll begins the proof anew");
        policy.record_spawned(QUICK);
        assert!(policy.allows_inline());
    }

    #[test]
    fn two_slow_polls_in_a_row_end_it_and_one_that_blocks() {
        let policy = InlinePolicy::default();
        proof(&policy);
        [LATE, QUICK, LATE].into_iter().for_each(|took| policy.record_inline(took));
        assert!(policy.allows_inline());
        policy.record_inline(LATE);
        assert_eq!(proof(&policy), PROOF);
        for expected in [PROOF << 4, PROOF << 8, PROOF << 12, LONGEST_PROOF, LONGEST_PROOF] {
            policy.overran();
            assert_eq!(proof(&policy), expected);
        }
    }

    #[test]
    fn a_method_that_blocks_now_and_then_is_polled_inline_once() {
        let policy = InlinePolicy::default();
        let mut inline = 0;
        for call in 0..100_000 {
            let blocks = call % 20 == 19;
            match policy.allows_inline() {
                true if blocks => policy.overran(),
                true => policy.record_inline(QUICK),
                false => policy.record_spawned(if blocks { LATE * 5 } else { QUICK }),
            }
            inline += usize::from(policy.allows_inline());
        }
        assert!(inline < 20, "{inline}");
    }
}
