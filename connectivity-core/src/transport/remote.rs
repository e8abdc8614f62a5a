//! The service that a transport builds for a route.

use std::fmt;
use std::sync::Arc;
use std::time::SystemTime;

use serde::Serialize;
use tower_service::Service;

use crate::call::{Call, CallService, Reply};
use crate::codec::Codec;
use crate::error::Error;
use crate::utc;

/// Client of one route: a tower service with its connection state. The connection closes when the
/// last clone is dropped and all calls in flight have ended.
#[derive(Clone)]
pub struct Remote {
    service: CallService,
    codec: Codec,
    state: Arc<dyn Fn() -> TransportState + Send + Sync>,
    warnings: Arc<dyn Fn() -> Vec<String> + Send + Sync>,
    /// `None` if the route depends on nothing but its row.
    unchanged: Option<Arc<dyn Fn() -> bool + Send + Sync>>,
}

impl Remote {
    /// Wraps a tower service; a [`CallService`] is one.
    pub fn new<S>(service: S) -> Self
    where
        S: Service<Call, Response = Reply, Error = Error, Future: Send>
            + Clone
            + Send
            + Sync
            + 'static,
    {
        Self {
            service: CallService::new(service),
            codec: Codec::Bincode,
            state: Arc::new(|| TransportState::Idle),
            warnings: Arc::new(Vec::new),
            unchanged: None,
        }
    }

    /// Sets the codec in which the arguments of typed calls should arrive; the default is bincode.
    /// Behind a layer, they can still arrive as a value: [`Call::encode`] takes both.
    #[must_use]
    pub fn with_codec(self, codec: Codec) -> Self {
        Self { codec, ..self }
    }

    /// Sets the function that returns the connection state for `inspect`. It must not block.
    #[must_use]
    pub fn with_state(self, state: impl Fn() -> TransportState + Send + Sync + 'static) -> Self {
        Self { state: Arc::new(state), ..self }
    }

    /// Sets the function that returns warnings about harmless oddities of the server, for
    /// `inspect`. It must not block.
    #[must_use]
    pub fn with_warnings(self, warnings: impl Fn() -> Vec<String> + Send + Sync + 'static) -> Self {
        Self { warnings: Arc::new(warnings), ..self }
    }

    /// Sets the function that returns whether the inputs of the route beside its row, such as files
    /// that the row names, are still the same. It is called at each reload and every two seconds.
    /// If it returns false, the route is rebuilt although its row has not changed. It should be
    /// quick, because it is called for each route; leave it unset if the row names nothing that can
    /// change.
    #[must_use]
    pub fn with_unchanged(self, unchanged: impl Fn() -> bool + Send + Sync + 'static) -> Self {
        Self { unchanged: Some(Arc::new(unchanged)), ..self }
    }

    /// Returns the warnings about the server.
    #[must_use]
    pub fn warnings(&self) -> Vec<String> {
        (self.warnings)()
    }

    /// Returns the connection state.
    #[must_use]
    pub fn state(&self) -> TransportState {
        (self.state)()
    }

    pub(crate) fn is_unchanged(&self) -> bool {
        self.unchanged.as_ref().is_none_or(|unchanged| unchanged())
    }

    /// Returns whether the route has inputs beside its row that can change.
    pub(crate) fn can_change(&self) -> bool {
        self.unchanged.is_some()
    }

    pub(crate) fn codec(&self) -> Codec {
        self.codec
    }

    pub(crate) fn service(&self) -> &CallService {
        &self.service
    }
}

impl fmt::Debug for Remote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Remote").field("codec", &self.codec).field("state", &self.state()).finish()
    }
}

/// The connection state of a route. A time is serialized as a string such as
/// `2026-08-02T10:11:12Z`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "state", rename_all = "snake_case")]
#[non_exhaustive]
pub enum TransportState {
    /// The connection has not been used yet.
    Idle,
    /// The connection is being established.
    Connecting,
    /// The last attempt reached the peer.
    Connected,
    /// The last attempt did not reach the peer.
    Failed {
        /// The cause of the last failure.
        why: String,
        /// When the series of failures began.
        #[serde(serialize_with = "utc::serialize")]
        since: SystemTime,
    },
}
