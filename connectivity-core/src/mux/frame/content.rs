//! The contents of frames.

use bytes::Bytes;

use crate::codec::Codec;
use crate::error::{ErrorKind, Sent};

/// The kinds of frames, by their number on the wire. The kinds for streams of items are listed so
/// that this version can refuse them with an error; a kind that is not listed is skipped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Request = 1,
    Reply = 2,
    Error = 3,
    Cancel = 4,
    Goaway = 5,
    Ping = 6,
    Pong = 7,
    Part = 8,
    Item = 9,
    End = 10,
    Credit = 11,
}

impl Kind {
    pub(crate) fn from_number(number: u8) -> Option<Self> {
        const ALL: [Kind; 11] = [
            Kind::Request,
            Kind::Reply,
            Kind::Error,
            Kind::Cancel,
            Kind::Goaway,
            Kind::Ping,
            Kind::Pong,
            Kind::Part,
            Kind::Item,
            Kind::End,
            Kind::Credit,
        ];
        ALL.into_iter().find(|kind| *kind as u8 == number)
    }
}

/// Flag of [`Reply`]: the body is the error type of the contract.
pub(super) const APP_ERROR: u8 = 1;

/// Flag of [`Reply`] and part frames: the rest of the body follows in part frames.
pub(super) const MORE: u8 = 2;

/// A decoded frame.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Frame {
    Request(Request),
    Reply(Reply),
    CallFailure(CallFailure),
    /// The caller has dropped the call and waits for no reply.
    Cancel {
        call: u64,
    },
    /// The server asks for no more calls on this connection; it still replies to those in flight.
    Goaway,
    Ping {
        nonce: u64,
    },
    Pong {
        nonce: u64,
    },
    /// Continues the body of a reply.
    Part {
        call: u64,
        more: bool,
        body: Bytes,
    },
    /// Belongs to a stream of items, which this version does not support: the call is refused, the
    /// connection goes on.
    Unsupported {
        call: u64,
    },
    /// A kind of a later version; skipped.
    Unknown,
}

/// A request.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Request {
    pub(crate) call: u64,
    /// The number that stands for the method's name on this stream.
    pub(crate) method: u32,
    /// The name and fingerprint, with the first use of a number.
    pub(crate) declaration: Option<Declaration>,
    /// `None` for raw bytes.
    pub(crate) codec: Option<Codec>,
    /// The time until the deadline, in milliseconds; 0 if there is none.
    pub(crate) timeout_ms: u32,
    pub(crate) trace_parent: Option<String>,
    pub(crate) meta: Vec<(String, String)>,
    pub(crate) body: Bytes,
}

/// The name and contract that a method number stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Declaration {
    pub(crate) name: String,
    /// The fingerprint of the client's contract; 0 for a raw service.
    pub(crate) fingerprint: u64,
}

/// A reply of an implementation.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Reply {
    pub(crate) call: u64,
    pub(crate) codec: Option<Codec>,
    pub(crate) app_error: bool,
    /// Whether the rest of the body follows in part frames.
    pub(crate) more: bool,
    pub(crate) body: Bytes,
}

/// An error of this crate, as opposed to one of the contract.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct CallFailure {
    pub(crate) call: u64,
    pub(crate) kind: ErrorKind,
    pub(crate) sent: Sent,
    pub(crate) message: String,
}
