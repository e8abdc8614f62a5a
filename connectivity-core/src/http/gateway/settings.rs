//! Settings of a gateway: what it serves, to which clients, and within which limits.

use std::time::Duration;

use super::auth::Authenticator;
use crate::transport::Inbound;
use crate::transport::io::Workplace;

/// The default limit of a request body, in bytes.
const MAX_BODY: usize = 16 << 20;

/// The default time in which a body must arrive.
pub(crate) const BODY_TIMEOUT: Duration = Duration::from_secs(30);

/// The default limit of the time that a call may ask for.
const MAX_TIMEOUT: Duration = Duration::from_secs(300);

/// The settings of a gateway.
#[derive(Clone)]
pub(super) struct Settings {
    pub(super) inbound: Inbound,
    pub(super) authenticator: Authenticator,
    pub(super) max_body: usize,
    pub(super) body_timeout: Duration,
    pub(super) max_timeout: Duration,
    /// Where implementations run.
    pub(super) work: Workplace,
}

impl Settings {
    /// Creates the default settings: every client is served, except browsers.
    pub(super) fn new(inbound: Inbound) -> Self {
        Self {
            inbound,
            authenticator: Authenticator::default(),
            max_body: MAX_BODY,
            body_timeout: BODY_TIMEOUT,
            max_timeout: MAX_TIMEOUT,
            work: Workplace::default(),
        }
    }
}
