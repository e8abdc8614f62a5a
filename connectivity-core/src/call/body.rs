//! Arguments and answers, as values or as bytes.

use std::any::Any;
use std::fmt;
use std::sync::{Mutex, PoisonError};

use bytes::Bytes;
use serde::Serialize;

use crate::codec::{Codec, CodecError};

/// Arguments or an answer: a value that never left the process, or bytes.
#[non_exhaustive]
pub enum Body {
    /// A value; it is encoded only where a wire needs it.
    Typed(Payload),
    /// A value encoded by a codec.
    Encoded(Codec, Bytes),
    /// Bytes of a raw service.
    Raw(Bytes),
}

impl Body {
    pub(crate) fn typed<T: Serialize + Send + 'static>(value: T) -> Self {
        Self::Typed(Payload(Mutex::new(Box::new(Slot(Some(value))))))
    }

    /// Encodes a value, hands on bytes: with the codec they are in, or `None` for raw ones.
    pub(crate) fn encode(&self, codec: Codec) -> Result<(Option<Codec>, Bytes), CodecError> {
        match self {
            Self::Typed(payload) => payload.encode(codec).map(|bytes| (Some(codec), bytes)),
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

/// A value of a type that only the contract knows.
///
/// The mutex is never contended. It is there so that `&Call` can be held across an `.await`, though a contract's types need to
/// be `Send` only.
pub struct Payload(Mutex<Box<dyn Erased>>);

impl Payload {
    /// Takes the value out, if it is a `T`.
    pub(crate) fn take<T: 'static>(self) -> Option<T> {
        let mut value = self.0.into_inner().unwrap_or_else(PoisonError::into_inner);
        value.as_any().downcast_mut::<Slot<T>>()?.0.take()
    }

    fn encode(&self, codec: Codec) -> Result<Bytes, CodecError> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).encode(codec)
    }
}

impl fmt::Debug for Payload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Payload")
    }
}

/// What remains of a value's type when it is boxed.
trait Erased: Send {
    fn encode(&self, codec: Codec) -> Result<Bytes, CodecError>;
    fn as_any(&mut self) -> &mut dyn Any;
}

/// Holds a value that can be moved out through `&mut dyn Any`, without a second box.
struct Slot<T>(Option<T>);

impl<T: Serialize + Send + 'static> Erased for Slot<T> {
    fn encode(&self, codec: Codec) -> Result<Bytes, CodecError> {
        match &self.0 {
            Some(value) => codec.encode(value),
            None => Err(CodecError::new("the value was taken already")),
        }
    }

    fn as_any(&mut self) -> &mut dyn Any {
        self
    }
}
