//! Ticket of one request: tells the session whether the request was sent and how it was refused.

use std::sync::OnceLock;

use reqwest::StatusCode;
use tokio::sync::OwnedSemaphorePermit;

use crate::error::Sent;
use crate::http::client::Departure;
use crate::mcp::protocol::send_queue::SendObserver;

/// How a server refused a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct HttpRefusal {
    pub(super) status: StatusCode,
    /// Whether the request belonged to a session.
    pub(super) in_session: bool,
    /// The `sent` value that a server of this crate adds to the status. Any server can send it, so
    /// it is trusted only from a server of this crate.
    pub(super) sent: Option<Sent>,
}

impl HttpRefusal {
    /// Returns whether the refusal may mean that the server does not know the session. Many servers
    /// report that with status 400.
    fn may_mean_unknown_session(&self) -> bool {
        self.in_session && self.status == StatusCode::BAD_REQUEST
    }
}

/// State of one request: whether it was sent, and how it was refused. Holds a permit of the session
/// until the request has been sent and no task waits for its reply.
#[derive(Debug, Default)]
pub(super) struct Ticket {
    pub(super) departure: Departure,
    refusal: OnceLock<HttpRefusal>,
    _permit: Option<OwnedSemaphorePermit>,
}

impl Ticket {
    /// Creates the ticket of a request that holds a permit of the session.
    pub(super) fn with_permit(permit: OwnedSemaphorePermit) -> Self {
        Self { _permit: Some(permit), ..Self::default() }
    }

    pub(super) fn set_refusal(&self, refusal: HttpRefusal) {
        let _ = self.refusal.set(refusal);
    }

    /// Returns how the server refused the request, if it did.
    pub(super) fn refusal(&self) -> Option<&HttpRefusal> {
        self.refusal.get()
    }

    /// Returns whether the refusal of the request may mean that the server does not know the
    /// session.
    pub(super) fn may_mean_unknown_session(&self) -> bool {
        self.refusal.get().is_some_and(HttpRefusal::may_mean_unknown_session)
    }
}

impl SendObserver for Ticket {
    fn on_sent(&self) -> bool {
        self.departure.start()
    }
}
