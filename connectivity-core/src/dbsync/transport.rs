//! Strategy `dbsync`: rows name targets, and their calls answer with the status of replication.

use std::sync::Arc;

use serde::Serialize;

use super::meta::SnapshotMeta;
use super::publisher::{Publisher, TargetHandle};
use super::receive::Progress;
use super::subscriber::{Subscriber, SubscriberStatus};
use crate::call::{Call, CallService, Reply};
use crate::codec::Codec;
use crate::error::{Error, ErrorKind, Sent};
use crate::quic::dialer::DialTarget;
use crate::routes::{Route, RouteError};
use crate::tls;
use crate::transport::{BuildContext, Remote, Transport, TransportState};

/// What the name of a row begins with if its endpoint is a target.
const TARGET: &str = "dbsync:";

const NOBODY: &str = "this process neither publishes nor subscribes: give its router `publisher.transport()` or `subscriber.transport()`";

/// The transport of rows with `strategy = 'dbsync'`. A call of such a row answers with JSON: the
/// status of its target in a process that publishes, that of the replica in one that subscribes.
///
/// [`Publisher::transport`] and [`Subscriber::transport`] make one. That of a router that names none
/// knows neither, so that its rows are there for other processes, and calls of them fail.
#[derive(Clone, Debug, Default)]
pub struct DbsyncTransport(Role);

#[derive(Clone, Debug, Default)]
enum Role {
    #[default]
    None,
    Publisher(Publisher),
    Subscriber(Subscriber),
}

impl DbsyncTransport {
    /// Creates the transport of a process that neither publishes nor subscribes.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }
}

impl Publisher {
    /// Returns the transport of strategy `dbsync` for routers of this process: rows name targets,
    /// and a call of such a row answers with the status of its target.
    #[must_use]
    pub fn transport(&self) -> DbsyncTransport {
        DbsyncTransport(Role::Publisher(self.clone()))
    }
}

impl Subscriber {
    /// Returns the transport of strategy `dbsync` for routers of this process: a call of such a row
    /// answers with the [`status`](Self::status).
    #[must_use]
    pub fn transport(&self) -> DbsyncTransport {
        DbsyncTransport(Role::Subscriber(self.clone()))
    }
}

impl Transport for DbsyncTransport {
    fn build(&self, route: &Route, _context: &BuildContext<'_>) -> Result<Remote, RouteError> {
        match &self.0 {
            Role::None => Ok(nobody()),
            Role::Publisher(publisher) => publishing(publisher.clone(), route),
            Role::Subscriber(subscriber) => {
                let subscriber = subscriber.clone();
                Ok(answering(move || SubscriberAnswer::of(&subscriber)))
            }
        }
    }

    fn check(&self, route: &Route) -> Result<(), RouteError> {
        let Some(endpoint) = route.endpoint() else { return Ok(()) };
        let row = &route.config().tls;
        DialTarget::parse(endpoint, row)?;
        tls::client_config(row, &[]).map(drop)
    }
}

fn nobody() -> Remote {
    let service = CallService::from_fn(|call| {
        let error = call.failed(ErrorKind::NotRoutable, NOBODY).with_sent(Sent::No);
        std::future::ready(Err::<Reply, Error>(error))
    });
    Remote::new(service).with_warnings(|| vec![NOBODY.to_owned()])
}

/// Builds a route of a process that publishes. While it is in force, its endpoint is a target.
fn publishing(publisher: Publisher, route: &Route) -> Result<Remote, RouteError> {
    let row = &route.config().tls;
    let target = match (route.name().as_str().starts_with(TARGET), route.endpoint()) {
        (true, Some(endpoint)) => Some(publisher.add(endpoint, row)?),
        (true, None) => {
            return Err(RouteError::endpoint("a target needs one: the address of its subscriber"));
        }
        (false, _) => None,
    };
    let target = Arc::new(target);
    let (for_state, warning) = (Arc::clone(&target), tls::warning(row));
    let remote = answering(move || PublisherAnswer::of(&publisher, target.as_ref().as_ref()))
        .with_state(move || match for_state.as_ref() {
            Some(handle) => handle.target.state(),
            None => TransportState::Idle,
        });
    Ok(remote.with_warnings(move || warning.iter().cloned().collect()))
}

/// Answers calls with a value as JSON.
fn answering<T: Serialize>(status: impl Fn() -> T + Send + Sync + 'static) -> Remote {
    let answer = move |call: Call| {
        let json = Codec::Json.encode(&status());
        let json = json.map_err(|cause| call.failed(ErrorKind::Encode, cause))?;
        Ok(match call.method() {
            Some(_) => Reply::encoded(Codec::Json, json, false),
            None => Reply::raw(json),
        })
    };
    let service = CallService::from_fn(move |call| std::future::ready(answer(call)));
    Remote::new(service).with_codec(Codec::Json)
}

/// The original's answer of a publisher, and more.
#[derive(Serialize)]
struct PublisherAnswer {
    role: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    last_snapshot: Option<SnapshotMeta>,
    #[serde(skip_serializing_if = "Option::is_none")]
    endpoint: Option<String>,
    /// `ok` if the target has the newest snapshot, `pending` until it has, `failed` if it was not
    /// reached last or the database cannot be copied.
    status: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
    /// The version that the target has.
    #[serde(skip_serializing_if = "Option::is_none")]
    delivered: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    progress: Option<Progress>,
}

impl PublisherAnswer {
    fn of(publisher: &Publisher, handle: Option<&TargetHandle>) -> Self {
        let last_snapshot = publisher.last_snapshot();
        let newest = last_snapshot.as_ref().map(|meta| meta.version);
        let target = handle.map(|handle| handle.target.status());
        let delivered = target.as_ref().and_then(|target| target.delivered);
        let error =
            publisher.fault().or_else(|| match target.as_ref().map(|target| &target.state) {
                Some(TransportState::Failed { why, .. }) => Some(why.clone()),
                _ => None,
            });
        let has_newest = newest.is_some() && (target.is_none() || delivered == newest);
        Self {
            role: "publisher",
            last_snapshot,
            endpoint: target.as_ref().map(|target| target.endpoint.clone()),
            status: match (&error, has_newest) {
                (Some(_), _) => "failed",
                (None, true) => "ok",
                (None, false) => "pending",
            },
            error,
            delivered,
            progress: target.and_then(|target| target.progress),
        }
    }
}

/// The original's answer of a subscriber, and more.
#[derive(Serialize)]
struct SubscriberAnswer {
    role: &'static str,
    #[serde(flatten)]
    status: SubscriberStatus,
}

impl SubscriberAnswer {
    fn of(subscriber: &Subscriber) -> Self {
        Self { role: "subscriber", status: subscriber.status() }
    }
}
