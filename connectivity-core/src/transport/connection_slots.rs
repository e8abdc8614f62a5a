//! Connection limits of one listener, in total and per origin, so that no client can starve the
//! others.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
#[cfg(feature = "gateway")]
use std::{
    pin::Pin,
    task::{Context, Poll},
};

use tokio::sync::{Notify, oneshot};

use super::Origin;

/// Maximum number of opening connections, per origin and in total.
#[cfg(feature = "wire")]
const OPENING_OF_ORIGIN: usize = 256;
#[cfg(feature = "wire")]
const OPENING: usize = 512;

/// The connection slots of one listener.
///
/// A connection is *opening* until its client has identified itself and begun to use it. If there
/// are too many, a new connection evicts the oldest opening one of the same origin, or of the
/// origin with the most. An *established* connection keeps its slot until it ends, and one origin
/// cannot take all slots.
#[derive(Clone, Debug)]
pub(crate) struct ConnectionSlots(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    limits: Limits,
    state: Mutex<State>,
    freed: Notify,
}

/// The maximum number of connections of each kind.
#[derive(Debug)]
struct Limits {
    established: usize,
    established_of_origin: usize,
    opening: usize,
    opening_of_origin: usize,
    /// Opening and established connections together.
    total: usize,
}

#[derive(Debug, Default)]
struct State {
    next: u64,
    opening: HashMap<Origin, VecDeque<(u64, oneshot::Sender<()>)>>,
    opening_count: usize,
    established: HashMap<Origin, usize>,
    established_count: usize,
    /// Origins whose refusal was logged; `None` stands for all origins. An entry is removed when
    /// the flood is over.
    logged_refusals: HashSet<Option<Origin>>,
}

impl ConnectionSlots {
    /// Creates slots for connections that stay established until they end: `limit` in total, half
    /// of them per origin.
    #[cfg(feature = "wire")]
    pub(crate) fn new(limit: usize) -> Self {
        Self::with(Limits {
            established: limit,
            established_of_origin: limit.div_ceil(2),
            opening: OPENING,
            opening_of_origin: OPENING_OF_ORIGIN,
            total: usize::MAX,
        })
    }

    /// Creates slots for connections that are established while a request runs, and opening again
    /// after it: `limit` of both kinds together. One origin, which may be a proxy, leaves one
    /// eighth to the others.
    #[cfg(feature = "gateway")]
    pub(crate) fn of_requests(limit: usize) -> Self {
        Self::with(Limits {
            established: limit,
            established_of_origin: limit - limit / 8,
            opening: limit,
            opening_of_origin: limit,
            total: limit,
        })
    }

    fn with(limits: Limits) -> Self {
        Self(Arc::new(Inner { limits, state: Mutex::default(), freed: Notify::new() }))
    }

    /// Returns whether all slots of established connections are taken.
    #[cfg(any(feature = "quic", feature = "gateway"))]
    pub(crate) fn is_full(&self) -> bool {
        self.0.state().established_count >= self.0.limits.established
    }

    /// Waits until a slot for an established connection is free.
    ///
    /// # Cancel safety
    /// Dropping the future has no effect; the caller can wait again.
    #[cfg(feature = "gateway")]
    pub(crate) async fn wait_for_slot(&self) {
        while self.is_full() {
            self.0.freed.notified().await;
        }
    }

    /// Takes a slot for a new connection, evicting an older opening connection if necessary.
    pub(crate) fn open(&self, origin: Origin) -> Opening {
        let mut state = self.0.state();
        let limits = &self.0.limits;
        let is_full = state.opening_count >= limits.opening
            || state.opening_count + state.established_count >= limits.total;
        if state.opening.get(&origin).is_some_and(|own| own.len() >= limits.opening_of_origin) {
            state.evict(&origin);
        } else if is_full
            && let Some(most) = state
                .opening
                .iter()
                .max_by_key(|(_, own)| own.len())
                .map(|(origin, _)| origin.clone())
        {
            state.evict(&most);
        }
        let (evict, evicted) = oneshot::channel();
        let number = state.next;
        state.next += 1;
        state.opening_count += 1;
        state.opening.entry(origin.clone()).or_default().push_back((number, evict));
        Opening { connection_slots: Arc::clone(&self.0), origin, number, evicted }
    }
}

impl Inner {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Evicts the oldest opening connection of an origin.
    fn evict(&mut self, origin: &Origin) {
        if let Some((number, evict)) = self.opening.get_mut(origin).and_then(VecDeque::pop_front) {
            tracing::debug!(
                ?origin,
                number,
                "a connection that does not begin makes room for a newer one"
            );
            let _ = evict.send(());
            self.opening_count -= 1;
        }
    }

    /// Logs once that connections of an origin, or of all origins, are refused: a flood of
    /// connections must not flood the log.
    fn log_refusal(&mut self, refused: Option<Origin>, limit: usize) {
        if !self.logged_refusals.contains(&refused) {
            let origin = refused.as_ref();
            tracing::warn!(
                ?origin,
                limit,
                "too many connections: further ones are refused until some end"
            );
            self.logged_refusals.insert(refused);
        }
    }

    /// Releases the slot of an established connection. Once half of the slots are free, further
    /// refusals count as a new flood, and are logged again.
    fn end(&mut self, origin: &Origin, limits: &Limits) {
        self.established_count -= 1;
        if self.established_count <= limits.established / 2 {
            self.logged_refusals.remove(&None);
        }
        let Some(own) = self.established.get_mut(origin) else { return };
        *own -= 1;
        let own = *own;
        if own == 0 {
            self.established.remove(origin);
        }
        if own <= limits.established_of_origin / 2 && !self.logged_refusals.is_empty() {
            self.logged_refusals.remove(&Some(origin.clone()));
        }
    }

    fn remove(&mut self, origin: &Origin, number: u64) {
        let Some(own) = self.opening.get_mut(origin) else { return };
        let Some(at) = own.iter().position(|(opening, _)| *opening == number) else { return };
        own.remove(at);
        self.opening_count -= 1;
        if own.is_empty() {
            self.opening.remove(origin);
        }
    }
}

/// The slot of an opening connection.
#[derive(Debug)]
pub(crate) struct Opening {
    connection_slots: Arc<Inner>,
    origin: Origin,
    number: u64,
    evicted: oneshot::Receiver<()>,
}

impl Opening {
    /// Runs the future that opens the connection. Returns `None` if a newer connection evicts this
    /// one first.
    ///
    /// # Cancel safety
    /// Dropping the future drops `opening`, and keeps the slot.
    #[cfg(feature = "wire")]
    pub(crate) async fn wait<T>(&mut self, opening: impl Future<Output = T>) -> Option<T> {
        tokio::select! {
            biased;
            opened = opening => Some(opened),
            _ = &mut self.evicted => None,
        }
    }

    /// Polls for the eviction of this connection by a newer one.
    #[cfg(feature = "gateway")]
    pub(crate) fn poll_evicted(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        Pin::new(&mut self.evicted).poll(cx).map(drop)
    }

    /// Returns whether a newer connection has evicted this one.
    #[cfg(feature = "gateway")]
    pub(crate) fn is_evicted(&mut self) -> bool {
        self.evicted.try_recv().is_ok()
    }

    /// Makes the connection established. Returns `None` if there is no slot left for this origin.
    pub(crate) fn establish(self, origin: Origin) -> Option<ConnectionSlot> {
        let mut state = self.connection_slots.state();
        let (limits, own) =
            (&self.connection_slots.limits, state.established.get(&origin).copied().unwrap_or(0));
        if state.established_count >= limits.established {
            state.log_refusal(None, limits.established);
            return None;
        }
        if own >= limits.established_of_origin {
            state.log_refusal(Some(origin), limits.established_of_origin);
            return None;
        }
        state.established_count += 1;
        state.established.insert(origin.clone(), own + 1);
        drop(state);
        Some(ConnectionSlot { connection_slots: Arc::clone(&self.connection_slots), origin })
    }
}

impl Drop for Opening {
    fn drop(&mut self) {
        self.connection_slots.state().remove(&self.origin, self.number);
    }
}

/// The slot of an established connection; dropping it frees the slot.
#[derive(Debug)]
pub(crate) struct ConnectionSlot {
    connection_slots: Arc<Inner>,
    origin: Origin,
}

impl Drop for ConnectionSlot {
    fn drop(&mut self) {
        self.connection_slots.state().end(&self.origin, &self.connection_slots.limits);
        self.connection_slots.freed.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layer::testing::Events;

    fn origin(n: i32) -> Origin {
        Origin::Process(Some(n))
    }

    async fn is_evicted(opening: &mut Opening) -> bool {
        opening.wait(std::future::ready(())).await;
        opening.evicted.try_recv().is_ok()
    }

    #[tokio::test]
    async fn who_does_not_begin_makes_room_for_the_next_the_oldest_first() {
        let connection_slots = ConnectionSlots::new(10);
        let mut silent: Vec<_> =
            (0..OPENING_OF_ORIGIN).map(|_| connection_slots.open(origin(1))).collect();
        let mut other = connection_slots.open(origin(2));
        let mut newer: Vec<_> = (0..3).map(|_| connection_slots.open(origin(1))).collect();
        for (n, opening) in silent.iter_mut().enumerate() {
            assert_eq!(is_evicted(opening).await, n < 3, "{n}");
        }
        for opening in newer.iter_mut().chain([&mut other]) {
            assert!(!is_evicted(opening).await);
        }
        drop((silent, newer));
        assert_eq!(connection_slots.0.state().opening_count, 1);
    }

    #[tokio::test]
    async fn a_crowd_of_origins_evicts_of_the_one_that_has_the_most() {
        let connection_slots = ConnectionSlots::new(10);
        let mut greedy: Vec<_> =
            (0..OPENING_OF_ORIGIN).map(|_| connection_slots.open(origin(0))).collect();
        let crowd: Vec<_> = (1..=OPENING - OPENING_OF_ORIGIN)
            .map(|n| connection_slots.open(origin(n as i32)))
            .collect();
        assert!(!is_evicted(&mut greedy[0]).await);
        let _one_more = connection_slots.open(origin(-1));
        assert!(is_evicted(&mut greedy[0]).await && !is_evicted(&mut greedy[1]).await);
        drop(crowd);
    }

    /// Returns how many refusals are logged while `work` runs.
    fn count_logged(work: impl FnOnce()) -> usize {
        let events = Events::default();
        let collecting = events.collect();
        work();
        drop(collecting);
        events.take().iter().filter(|text| text.contains("too many connections")).count()
    }

    #[test]
    fn a_flood_that_is_refused_is_told_once_until_half_of_it_has_gone() {
        let connection_slots = ConnectionSlots::new(8);
        let establish = |n| connection_slots.open(origin(n)).establish(origin(n));
        let mut held: Vec<_> = (0..4).map(|_| establish(1)).collect();
        let flood = |n| (0..100).for_each(|_| assert!(establish(n).is_none()));
        assert_eq!(count_logged(|| flood(1)), 1);
        drop(held.pop());
        assert_eq!(count_logged(|| held.push(establish(1))), 0);
        assert_eq!(count_logged(|| flood(1)), 0, "the same flood");
        let others: Vec<_> = (2..6).map(establish).collect();
        let crowd = || (10..100).for_each(|n| assert!(establish(n).is_none()));
        assert_eq!(
            count_logged(crowd),
            1,
            "another cause: all connection_slots are taken, whoever asks"
        );
        assert_eq!(count_logged(crowd), 0);
        drop((held, others));
        let _held: Vec<_> = (0..4).map(|_| establish(1)).collect();
        assert_eq!(count_logged(|| flood(1)), 1, "the next flood");
    }

    #[test]
    fn one_origin_gets_half_of_the_places() {
        let connection_slots = ConnectionSlots::new(4);
        let establish = |n| connection_slots.open(origin(n)).establish(origin(n));
        let held = [establish(1), establish(1)];
        assert!(held.iter().all(Option::is_some) && establish(1).is_none());
        let others = [establish(2), establish(3)];
        assert!(others.iter().all(Option::is_some) && establish(4).is_none(), "all are taken");
        drop(held);
        assert!(establish(1).is_some());
        drop(others);
        assert_eq!(connection_slots.0.state().established.len(), 0);
    }
}
