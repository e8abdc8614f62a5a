//! A call on its way out.

use bytes::Bytes;

use crate::call::Call;
use crate::codec::Codec;
use crate::context::Context;
use crate::error::Error;
use crate::name::Name;

/// What a connection needs to know of a call. It is kept until the call has ended, so that a call that was not sent can go on
/// another connection.
#[derive(Clone, Debug)]
pub(crate) struct Outgoing {
    pub(crate) name: Name,
    pub(crate) fingerprint: u64,
    pub(crate) codec: Option<Codec>,
    pub(crate) context: Context,
    pub(crate) body: Bytes,
    /// The longest reply that is taken.
    pub(crate) max_reply: usize,
}

impl Outgoing {
    /// Encodes a call under the name it has on the other side.
    pub(crate) fn new(call: &Call, name: Name, codec: Codec, max_reply: usize) -> Result<Self, Error> {
        let (codec, body) = call.encode(codec)?;
        let fingerprint = call.method().map_or(0, |method| method.fingerprint());
        Ok(Self { name, fingerprint, codec, context: call.context().clone(), body, max_reply })
    }
}
