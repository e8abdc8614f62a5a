//! Whose turn it is to send a large request: a listener reads so many at once, and so many of one peer.

#[cfg(feature = "unix")]
use std::collections::HashMap;
use std::sync::Arc;
#[cfg(feature = "unix")]
use std::sync::Weak;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout_at};

/// Large requests that a listener reads at once; the next one waits unread, where the wire's flow control holds its sender. So they
/// take 512 MiB at the most.
const OF_ALL: usize = 32;

/// Large requests of one peer that are read at once: one that sends many, or sends slowly, leaves turns to the others.
const OF_ONE: usize = 8;

/// How long a large request may wait for its turn and take to arrive.
const TIMEOUT: Duration = Duration::from_secs(30);

/// The turns of one peer of a listener.
#[derive(Clone)]
pub(crate) struct Turns {
    all: Arc<Semaphore>,
    own: Arc<Semaphore>,
}

impl Turns {
    /// The turns of a new listener, and of its first peer.
    pub(super) fn new() -> Self {
        Self { all: Arc::new(Semaphore::new(OF_ALL)), own: Self::share() }
    }

    /// The turns of another peer of the same listener.
    #[cfg(any(feature = "quic", test))]
    pub(super) fn of_another(&self) -> Self {
        Self { all: Arc::clone(&self.all), own: Self::share() }
    }

    fn share() -> Arc<Semaphore> {
        Arc::new(Semaphore::new(OF_ONE))
    }

    /// Waits for a turn; `None` when it has not come in time.
    pub(super) async fn wait(self) -> Option<Turn> {
        let until = Instant::now() + TIMEOUT;
        let both = async { Some((self.own.acquire_owned().await.ok()?, self.all.acquire_owned().await.ok()?)) };
        let permits = timeout_at(until, both).await.ok()??;
        Some(Turn { _permits: permits, until })
    }
}

/// The turn of a large request, and when it must have been read.
pub(super) struct Turn {
    _permits: (OwnedSemaphorePermit, OwnedSemaphorePermit),
    until: Instant,
}

impl Turn {
    /// Ends when the request has taken too long; never, when there is none to wait for.
    pub(super) async fn over(turn: Option<&Self>) {
        match turn {
            Some(turn) => tokio::time::sleep_until(turn.until).await,
            None => std::future::pending().await,
        }
    }
}

/// The shares of peers that have a connection for each large request, by what the system calls the peer.
#[cfg(feature = "unix")]
#[derive(Default)]
pub(crate) struct Shares(HashMap<Option<i32>, Weak<Semaphore>>);

#[cfg(feature = "unix")]
impl Shares {
    /// The turns of a peer: those it has already, while any of its connections is open.
    pub(super) fn of(&mut self, peer: Option<i32>, turns: &Turns) -> Turns {
        self.0.retain(|_, share| share.strong_count() > 0);
        let own = self.0.get(&peer).and_then(Weak::upgrade).unwrap_or_else(Turns::share);
        self.0.insert(peer, Arc::downgrade(&own));
        Turns { all: Arc::clone(&turns.all), own }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn one_peer_leaves_turns_to_the_others() {
        let greedy = Turns::new();
        let mut held = Vec::new();
        for _ in 0..OF_ONE {
            held.push(greedy.clone().wait().await.unwrap());
        }
        let next = tokio::spawn(greedy.clone().wait());
        assert!(greedy.of_another().wait().await.is_some());
        held.pop();
        assert!(next.await.unwrap().is_some());
        assert!(greedy.of_another().wait().await.is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn all_peers_together_have_a_limit_and_waiting_ends() {
        let first = Turns::new();
        let mut held = Vec::new();
        for _ in 0..OF_ALL / OF_ONE {
            let peer = first.of_another();
            for _ in 0..OF_ONE {
                held.push(peer.clone().wait().await.unwrap());
            }
        }
        assert!(first.wait().await.is_none());
    }

    #[cfg(feature = "unix")]
    #[tokio::test(start_paused = true)]
    async fn the_connections_of_one_process_have_one_share() {
        let (turns, mut shares) = (Turns::new(), Shares::default());
        let mut held = Vec::new();
        for _ in 0..OF_ONE {
            held.push(shares.of(Some(17), &turns).wait().await.unwrap());
        }
        assert!(shares.of(Some(17), &turns).wait().await.is_none());
        assert!(shares.of(Some(18), &turns).wait().await.is_some());
    }
}
