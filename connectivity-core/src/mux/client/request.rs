//! A call on its way out.

use bytes::Bytes;

use crate::call::{Call, MethodDesc};
use crate::codec::Codec;
use crate::context::Context;
use crate::error::Error;
use crate::name::Name;

/// What a connection needs to know of a call. It is made anew for another connection.
#[derive(Debug)]
pub(crate) struct Outgoing {
    pub(crate) name: Name,
    /// Whose fingerprint goes with the first use of the name; none for a raw service.
    pub(crate) method: Option<&'static MethodDesc>,
    pub(crate) codec: Option<Codec>,
    pub(crate) context: Context,
    pub(crate) body: Bytes,
    /// The longest reply that is taken.
    pub(crate) max_reply: usize,
}

impl Outgoing {
    /// Encodes a call under the name it has on the other side.
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
