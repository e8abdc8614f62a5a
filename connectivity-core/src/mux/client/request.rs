//! A request that is ready to be sent, and the outcome of its call.

use bytes::Bytes;

use crate::call::{Call, MethodDesc};
use crate::codec::Codec;
use crate::context::Context;
use crate::error::Error;
use crate::mux::frame::CallFailure;
use crate::name::Name;

/// The parts of a call that a connection needs. Built again for each connection.
#[derive(Debug)]
pub(crate) struct Outgoing {
    pub(crate) name: Name,
    /// The method whose fingerprint goes with the first use of the name; `None` for a raw service.
    pub(crate) method: Option<&'static MethodDesc>,
    pub(crate) codec: Option<Codec>,
    pub(crate) context: Context,
    pub(crate) body: Bytes,
    /// The longest accepted reply, in bytes.
    pub(crate) max_reply: usize,
}

impl Outgoing {
    /// Encodes a call under its remote name.
    pub(crate) fn new(
        call: &Call,
        name: Name,
        codec: Codec,
        max_reply: usize,
    ) -> Result<Self, Error> {
        let (codec, body) = call.encode(codec)?;
        Ok(Self {
            name,
            method: call.method(),
            codec,
            context: call.context().clone(),
            body,
            max_reply,
        })
    }
}

/// The outcome of a call on a connection.
#[derive(Debug)]
pub(crate) enum CallOutcome {
    Reply {
        codec: Option<Codec>,
        app_error: bool,
        body: Bytes,
    },
    CallFailure(CallFailure),
    /// The reply exceeds its limit.
    TooLarge,
    /// The connection broke, or has no capacity left, before the request was sent.
    NotSent,
    /// The connection broke while the call waited: it may have run.
    Lost(String),
    /// The connection broke before the whole request was written: it did not run.
    CutOff(String),
    /// Too many calls are in flight.
    Overloaded,
}
