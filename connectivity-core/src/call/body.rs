//! The body of a call or a reply, as a value or as bytes.

use std::any::Any;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use serde::Serialize;

use crate::codec::{Codec, CodecError, Encoded};

/// Arguments or a reply: a value that never left the process, or bytes.
#[non_exhaustive]
pub enum Body {
    /// A value. It is encoded only if a transport needs bytes.
    Typed(Payload),
    /// A value encoded by a codec.
    Encoded(Codec, Bytes),
    /// Bytes of a raw service.
    Raw(Bytes),
}

impl Body {
    pub(crate) fn typed<T: Serialize + Send + 'static>(value: T) -> Self {
        Self::explained(value, |_| None)
    }

    /// Creates a body from a value with a function that describes it for the log. The description
    /// may contain more than the peer may see.
    pub(crate) fn explained<T: Serialize + Send + 'static>(
        value: T,
        explain: fn(&T) -> Option<String>,
    ) -> Self {
        Self::Typed(Payload(Arc::new(Mutex::new(Movable { value: Some(value), explain }))))
    }

    /// Returns the description of the value for the log.
    pub(crate) fn explain(&self) -> Option<String> {
        match self {
            Self::Typed(payload) => payload.lock().explain(),
            Self::Encoded(..) | Self::Raw(_) => None,
        }
    }

    /// Returns the same arguments once more. Bytes are shared by reference; a value goes to the
    /// first fork that takes it.
    #[cfg(feature = "router")]
    pub(crate) fn fork(&self) -> Self {
        match self {
            Self::Typed(payload) => Self::Typed(Payload(Arc::clone(&payload.0))),
            Self::Encoded(codec, bytes) => Self::Encoded(*codec, bytes.clone()),
            Self::Raw(bytes) => Self::Raw(bytes.clone()),
        }
    }

    /// Returns whether the value was already taken.
    #[cfg(feature = "router")]
    pub(crate) fn is_spent(&self) -> bool {
        matches!(self, Self::Typed(payload) if payload.lock().is_spent())
    }

    /// Encodes a value, or returns the bytes as they are. Also returns their codec, `None` for raw
    /// bytes. Uses JSON if bincode cannot encode the value.
    pub(crate) fn encode(
        &self,
        codec: Codec,
        method: &str,
    ) -> Result<(Option<Codec>, Bytes), CodecError> {
        match self {
            Self::Typed(payload) => {
                payload.encode(codec, method).map(|(codec, bytes)| (Some(codec), bytes))
            }
            Self::Encoded(codec, bytes) => Ok((Some(*codec), bytes.clone())),
            Self::Raw(bytes) => Ok((None, bytes.clone())),
        }
    }
}

impl fmt::Debug for Body {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Typed(_) => f.write_str("Typed"),
            Self::Encoded(codec, bytes) => write!(f, "{codec:?}({} bytes)", bytes.len()),
            Self::Raw(bytes) => write!(f, "Raw({} bytes)", bytes.len()),
        }
    }
}

/// A value whose type is erased; only the contract knows it.
///
/// The value can be taken once, however often its call is repeated. Encoding does not take it. The
/// mutex makes calls `Sync`, so that they can be shared and held across an `.await`, while the
/// types of a contract only need to be `Send`.
pub struct Payload(Arc<Mutex<dyn Erased>>);

/// The reason why a value cannot be taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Untaken {
    /// The value has another type: two contracts of the same name are linked into the program.
    OtherType,
    /// The value was taken already.
    Spent,
}

impl Payload {
    /// Takes the value, if it is a `T` and was not taken before.
    pub(crate) fn take<T: 'static>(self) -> Result<T, Untaken> {
        let mut value = self.lock();
        let slot = value.as_any().downcast_mut::<Movable<T>>().ok_or(Untaken::OtherType)?;
        slot.value.take().ok_or(Untaken::Spent)
    }

    fn encode(&self, codec: Codec, method: &str) -> Result<Encoded, CodecError> {
        self.lock().encode(codec, method)
    }

    fn lock(&self) -> MutexGuard<'_, dyn Erased + 'static> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Payload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Payload")
    }
}

/// The operations on a value whose type is erased.
trait Erased: Send {
    fn encode(&self, codec: Codec, method: &str) -> Result<Encoded, CodecError>;
    fn explain(&self) -> Option<String>;
    #[cfg(feature = "router")]
    fn is_spent(&self) -> bool;
    fn as_any(&mut self) -> &mut dyn Any;
}

/// Holds a value that can be moved out through `&mut dyn Any` without a second box.
struct Movable<T> {
    value: Option<T>,
    explain: fn(&T) -> Option<String>,
}

impl<T: Serialize + Send + 'static> Erased for Movable<T> {
    fn encode(&self, codec: Codec, method: &str) -> Result<Encoded, CodecError> {
        match &self.value {
            Some(value) => codec.encode_or_json(value, method),
            None => Err(CodecError::new("the value was taken already")),
        }
    }

    fn explain(&self) -> Option<String> {
        self.value.as_ref().and_then(self.explain)
    }

    #[cfg(feature = "router")]
    fn is_spent(&self) -> bool {
        self.value.is_none()
    }

    fn as_any(&mut self) -> &mut dyn Any {
        self
    }
}
