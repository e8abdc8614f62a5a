//! What a transport makes of a route.

use std::fmt;
use std::sync::Arc;
use std::time::SystemTime;

use serde::Serialize;
use tower_service::Service;

use crate::call::{Call, CallService, Reply};
use crate::codec::Codec;
use crate::error::Error;
use crate::layer::breaker::serialize_utc;

/// The service at the far end of a route. Its connection ends when the last clone is gone, calls in
/// flight first.
#[derive(Clone)]
pub struct Remote {
    service: CallService,
    codec: Codec,
    state: Arc<dyn Fn() -> TransportState + Send + Sync>,
    warnings: Arc<dyn Fn() -> Vec<String> + Send + Sync>,
    /// None where nothing beside the row can change.
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

    /// Says in which codec the arguments of typed calls should arrive; bincode unless said. They
    /// can still arrive as a value, when a layer stands before the transport: [`Call::encode`]
    /// takes both.
    #[must_use]
    pub fn with_codec(self, codec: Codec) -> Self {
        Self { codec, ..self }
    }

    /// Says how to look at the connection for `inspect`; it must not block.
    #[must_use]
    pub fn with_state(self, state: impl Fn() -> TransportState + Send + Sync + 'static) -> Self {
        Self { state: Arc::new(state), ..self }
    }

    /// Says what is odd about the far end but harmless, for `inspect`; it must not block.
    #[must_use]
    pub fn with_warnings(self, warnings: impl Fn() -> Vec<String> + Send + Sync + 'static) -> Self {
        Self { warnings: Arc::new(warnings), ..self }
    }

    /// Says how to tell that what the route was built from beside its row, such as files that the
    /// row names, is still the same. It is asked at each reload and every two seconds; where it is
    /// not, the route is built anew although its row stays. Keep it short, and leave it out where a
    /// row names nothing that can change: it is asked for each route.
    #[must_use]
    pub fn with_unchanged(self, unchanged: impl Fn() -> bool + Send + Sync + 'static) -> Self {
        Self { unchanged: Some(Arc::new(unchanged)), ..self }
    }

    /// Shows what is odd about the far end.
    #[must_use]
    pub fn warnings(&self) -> Vec<String> {
        (self.warnings)()
    }

    /// Looks at the connection.
    #[must_use]
    pub fn state(&self) -> TransportState {
        (self.state)()
    }

    pub(crate) fn is_unchanged(&self) -> bool {
        self.unchanged.as_ref().is_none_or(|unchanged| unchanged())
    }

    /// Says whether what the route was built from beside its row can change at all.
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

/// How the connection of a route stands. Serialized, a time is a text such as
/// `2026-08-02T10:11:12Z`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "state", rename_all = "snake_case")]
#[non_exhaustive]
pub enum TransportState {
    /// It has not been used yet.
    Idle,
    /// It is being set up.
    Connecting,
    /// The last call reached the other side.
    Connected,
    /// The last attempt did not reach the other side.
    Failed {
        /// The cause, in words.
        why: String,
        /// When it began.
        #[serde(serialize_with = "serialize_utc")]
        since: SystemTime,
    },
}
