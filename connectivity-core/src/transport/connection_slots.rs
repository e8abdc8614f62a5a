//! Connections of one listener, shared out by origin, so that no client keeps the others out.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
#[cfg(feature = "gateway")]
use std::{
    pin::Pin,
    task::{Context, Poll},
};

use tokio::sync::{Notify, oneshot};

use super::Origin;

/// Connections that have not said anything yet: of one origin, and of all.
#[cfg(feature = "wire")]
const OPENING_OF_ORIGIN: usize = 256;
#[cfg(feature = "wire")]
const OPENING: usize = 512;

/// The connections of one listener.
///
/// A connection is *opening* until its client has shown who it is and what it wants. Whoever comes
/// next takes the place of the oldest that is still opening, of the same origin or of the one that
/// has the most. An *established* connection keeps its place; one origin does not get all of them.
#[derive(Clone, Debug)]
pub(crate) struct ConnectionSlots(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    limits: Limits,
    state: Mutex<State>,
    freed: Notify,
}

/// The most connections of each kind.
#[derive(Debug)]
struct Limits {
    established: usize,
    established_of_origin: usize,
    opening: usize,
    opening_of_origin: usize,
    /// Both kinds together.
    all: usize,
}

#[derive(Debug, Default)]
struct State {
    next: u64,
    opening: HashMap<Origin, VecDeque<(u64, oneshot::Sender<()>)>>,
    opening_count: usize,
    established: HashMap<Origin, usize>,
    established_count: usize,
    /// Whose connections are refused now, as the log knows; `None` is everybody.
    refused: HashSet<Option<Origin>>,
}

impl ConnectionSlots {
    /// For connections that are established until they end: `limit` of them, half of those for one
    /// origin.
    #[cfg(feature = "wire")]
    pub(crate) fn new(limit: usize) -> Self {
        Self::with(Limits {
            established: limit,
            established_of_origin: limit.div_ceil(2),
            opening: OPENING,
            opening_of_origin: OPENING_OF_ORIGIN,
            all: usize::MAX,
        })
    }

    /// For connections that are established while a request runs, and open anew after it: `limit`
    /// of both kinds. One origin, which may be a proxy, leaves an eighth of them to others.
    #[cfg(feature = "gateway")]
    pub(crate) fn of_requests(limit: usize) -> Self {
        Self::with(Limits {
            established: limit,
            established_of_origin: limit - limit / 8,
            opening: limit,
            opening_of_origin: limit,
            all: limit,
        })
    }

    fn with(limits: Limits) -> Self {
        Self(Arc::new(Inner { limits, state: Mutex::default(), freed: Notify::new() }))
    }

    /// Returns whether no connection can be established, whoever asks.
    #[cfg(any(feature = "quic", feature = "gateway"))]
    pub(crate) fn are_taken(&self) -> bool {
        self.0.state().established_count >= self.0.limits.established
    }

    /// Waits until a connection may open.
    #[cfg(feature = "gateway")]
    pub(crate) async fn room(&self) {
        while self.are_taken() {
            self.0.freed.notified().await;
        }
    }

    /// Takes a place for a new connection, if need be from an older one.
    pub(crate) fn open(&self, origin: Origin) -> Opening {
        let mut state = self.0.state();
        let limits = &self.0.limits;
        let is_full = state.opening_count >= limits.opening
            || state.opening_count + state.established_count >= limits.all;
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
    /// Takes its place from the oldest connection of an origin.
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

    /// Tells once that connections are refused: a flood of them must not fill the log too.
    fn refuse(&mut self, of: Option<Origin>, limit: usize) {
        if !self.refused.contains(&of) {
            let origin = of.as_ref();
            tracing::warn!(
                ?origin,
                limit,
                "too many connections: further ones are refused until some end"
            );
            self.refused.insert(of);
        }
    }

    /// A connection of this origin has ended. What comes when half of the places are free is
    /// another flood.
    fn end(&mut self, origin: &Origin, limits: &Limits) {
        self.established_count -= 1;
        if self.established_count <= limits.established / 2 {
            self.refused.remove(&None);
        }
        let Some(own) = self.established.get_mut(origin) else { return };
        *own -= 1;
        let own = *own;
        if own == 0 {
            self.established.remove(origin);
        }
        if own <= limits.established_of_origin / 2 && !self.refused.is_empty() {
            self.refused.remove(&Some(origin.clone()));
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

/// A connection that is opening.
#[derive(Debug)]
pub(crate) struct Opening {
    connection_slots: Arc<Inner>,
    origin: Origin,
    number: u64,
    evicted: oneshot::Receiver<()>,
}

impl Opening {
    /// Waits for what opens the connection; `None` if a newer one takes its place meanwhile.
    #[cfg(feature = "wire")]
    pub(crate) async fn wait<T>(&mut self, opens: impl Future<Output = T>) -> Option<T> {
        tokio::select! {
            biased;
            opened = opens => Some(opened),
            _ = &mut self.evicted => None,
        }
    }

    /// Waits until a newer connection takes the place of this one.
    #[cfg(feature = "gateway")]
    pub(crate) fn poll_evicted(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        Pin::new(&mut self.evicted).poll(cx).map(drop)
    }

    /// Returns whether a newer connection has taken the place of this one.
    #[cfg(feature = "gateway")]
    pub(crate) fn is_evicted(&mut self) -> bool {
        self.evicted.try_recv().is_ok()
    }

    /// Gives the connection a lasting place; `None` if there is none for clients of this origin.
    pub(crate) fn establish(self, origin: Origin) -> Option<ConnectionSlot> {
        let mut state = self.connection_slots.state();
        let (limits, own) =
            (&self.connection_slots.limits, state.established.get(&origin).copied().unwrap_or(0));
        if state.established_count >= limits.established {
            state.refuse(None, limits.established);
            return None;
        }
        if own >= limits.established_of_origin {
            state.refuse(Some(origin), limits.established_of_origin);
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

/// The place of an established connection, until this is dropped.
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

    /// Counts what the log has of refusals while this is done.
    fn told(work: impl FnOnce()) -> usize {
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
        assert_eq!(told(|| flood(1)), 1);
        drop(held.pop());
        assert_eq!(told(|| held.push(establish(1))), 0);
        assert_eq!(told(|| flood(1)), 0, "the same flood");
        let others: Vec<_> = (2..6).map(establish).collect();
        let crowd = || (10..100).for_each(|n| assert!(establish(n).is_none()));
        assert_eq!(told(crowd), 1, "another cause: all connection_slots are taken, whoever asks");
        assert_eq!(told(crowd), 0);
        drop((held, others));
        let _held: Vec<_> = (0..4).map(|_| establish(1)).collect();
        assert_eq!(told(|| flood(1)), 1, "the next flood");
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
