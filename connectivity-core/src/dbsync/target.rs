//! One target of a publisher: a subscriber that is to have the newest snapshot.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBackoff, ExponentialBuilder};
use quinn::{IdleTimeout, TransportConfig, VarInt};
use serde::Serialize;
use tokio::sync::watch;

use super::protocol::{ALPN_CHUNKS, ALPN_ORIGINAL, IDLE_TIMEOUT, KEEP_ALIVE_INTERVAL};
use super::published::Published;
use super::receive::Progress;
use super::send::{PushError, Taken, push};
use crate::quic::dialer::{DialTarget, Dialer};
use crate::quic::endpoints::Endpoints;
use crate::routes::{RouteError, RouteTls};
use crate::transport::TransportState;
use crate::transport::health::Health;

/// The waits between pushes to a target that is not reached. So one that comes back has the newest
/// snapshot within two seconds.
const FIRST_WAIT: Duration = Duration::from_millis(100);
const LONGEST_WAIT: Duration = Duration::from_secs(1);

/// The longest wait after a refusal, unless there is a newer snapshot before. A receiver whose disk
/// is full soon has room; one that refuses for good is asked seldom.
const LONGEST_WAIT_AFTER_REFUSAL: Duration = Duration::from_secs(60);

/// The round-trip time that a dial assumes at first. Its packets are sent again after three times
/// that, so a receiver that comes back is reached soon.
const FIRST_ROUND_TRIP: Duration = Duration::from_millis(100);

/// No snapshot was delivered yet.
const NONE: i64 = i64::MIN;

/// The newest snapshot of a publisher.
pub(super) type Newest = watch::Receiver<Option<Arc<Published>>>;

/// A target.
#[derive(Debug)]
pub(super) struct Target {
    endpoint: String,
    tls: RouteTls,
    endpoints: Arc<Endpoints>,
    offer_again: Duration,
    health: Health,
    delivered: AtomicI64,
    sent: Arc<AtomicU64>,
    total: AtomicU64,
}

/// What a publisher knows of a target.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct TargetStatus {
    /// Where the subscriber listens.
    pub endpoint: String,
    /// Whether it was reached last.
    #[serde(flatten)]
    pub state: TransportState,
    /// The version that it has in force, as it said.
    pub delivered: Option<i64>,
    /// The transfer of the moment.
    pub progress: Option<Progress>,
}

impl Target {
    /// Checks the endpoint and the TLS keys.
    pub(super) fn new(
        endpoint: &str,
        tls: &RouteTls,
        endpoints: Arc<Endpoints>,
        offer_again: Duration,
    ) -> Result<Self, RouteError> {
        let target = Self {
            endpoint: endpoint.to_owned(),
            tls: tls.clone(),
            endpoints,
            offer_again,
            health: Health::new(),
            delivered: AtomicI64::new(NONE),
            sent: Arc::default(),
            total: AtomicU64::default(),
        };
        target.dialer()?;
        Ok(target)
    }

    /// Reads the files of the TLS keys, so that each push uses those of the moment.
    fn dialer(&self) -> Result<Dialer, RouteError> {
        let alpn = [ALPN_CHUNKS, ALPN_ORIGINAL];
        let to = DialTarget::parse(&self.endpoint, &self.tls)?;
        Dialer::new(to, &self.tls, &alpn, transport_config(), Arc::clone(&self.endpoints))
    }

    pub(super) fn state(&self) -> TransportState {
        self.health.state()
    }

    pub(super) fn delivered(&self) -> Option<i64> {
        Some(self.delivered.load(Ordering::Acquire)).filter(|version| *version != NONE)
    }

    pub(super) fn status(&self) -> TargetStatus {
        let (done, total) = (self.sent.load(Ordering::Relaxed), self.total.load(Ordering::Relaxed));
        TargetStatus {
            endpoint: self.endpoint.clone(),
            state: self.state(),
            delivered: self.delivered(),
            progress: (total > 0).then_some(Progress { done, total }),
        }
    }

    /// Pushes the newest snapshot, and again each newer one, until the publisher ends.
    pub(super) async fn run(self: Arc<Self>, mut newest: Newest) {
        let (mut waits, mut refusals) = (waits(LONGEST_WAIT), waits(LONGEST_WAIT_AFTER_REFUSAL));
        let mut in_chunks = false;
        loop {
            let Some(snapshot) = self.next(&mut newest, in_chunks).await else { return };
            self.health.connecting();
            match self.push(&snapshot).await {
                Ok(taken) => {
                    in_chunks = taken.in_chunks;
                    self.delivered.store(snapshot.meta.version, Ordering::Release);
                    self.health.reached();
                    waits = self::waits(LONGEST_WAIT);
                    refusals = self::waits(LONGEST_WAIT_AFTER_REFUSAL);
                }
                Err(PushError::Broken(cause)) => {
                    self.failed(cause);
                    tokio::time::sleep(waits.next().unwrap_or(LONGEST_WAIT)).await;
                }
                Err(PushError::Refused(cause)) => {
                    self.failed(format!("it refuses version {}: {cause}", snapshot.meta.version));
                    drop(snapshot);
                    let wait = refusals.next().unwrap_or(LONGEST_WAIT_AFTER_REFUSAL);
                    let _ = tokio::time::timeout(wait, newest.changed()).await;
                }
            }
        }
    }

    /// Waits for a snapshot that the target does not have, or if an offer costs nothing, until it is
    /// time for one: the target may have lost what it had. `None` when the publisher has ended.
    async fn next(&self, newest: &mut Newest, in_chunks: bool) -> Option<Arc<Published>> {
        let delivered = self.delivered();
        let is_new = |snapshot: &Option<Arc<Published>>| {
            snapshot.as_ref().is_some_and(|snapshot| Some(snapshot.meta.version) != delivered)
        };
        let new = async { newest.wait_for(is_new).await.ok().and_then(|new| new.clone()) };
        if !in_chunks || delivered.is_none() {
            return new.await;
        }
        match tokio::time::timeout(self.offer_again, new).await {
            Ok(new) => new,
            Err(_elapsed) => newest.borrow().clone(),
        }
    }

    async fn push(&self, snapshot: &Arc<Published>) -> Result<Taken, PushError> {
        let dialer = self.dialer().map_err(|cause| PushError::Broken(cause.to_string()))?;
        self.sent.store(0, Ordering::Relaxed);
        self.total.store(snapshot.meta.size, Ordering::Relaxed);
        let pushed = push(&dialer, snapshot, &self.sent).await;
        self.total.store(0, Ordering::Relaxed);
        pushed
    }

    /// Logs the first failure of a series.
    fn failed(&self, cause: String) {
        if !matches!(self.state(), TransportState::Failed { .. }) {
            tracing::warn!(
                endpoint = self.endpoint,
                cause,
                "a snapshot is not delivered; it is pushed again"
            );
        }
        self.health.failed(cause);
    }
}

fn waits(longest: Duration) -> ExponentialBackoff {
    ExponentialBuilder::default()
        .with_min_delay(FIRST_WAIT)
        .with_max_delay(longest)
        .with_jitter()
        .without_max_times()
        .build()
}

/// Returns the transport configuration of a connection that pushes.
fn transport_config() -> Arc<TransportConfig> {
    let mut config = TransportConfig::default();
    config
        .max_idle_timeout(IdleTimeout::try_from(IDLE_TIMEOUT).ok())
        .keep_alive_interval(Some(KEEP_ALIVE_INTERVAL))
        .initial_rtt(FIRST_ROUND_TRIP)
        .max_concurrent_bidi_streams(VarInt::from_u32(0))
        .max_concurrent_uni_streams(VarInt::from_u32(0))
        .datagram_receive_buffer_size(None);
    Arc::new(config)
}
