//! What a frame says.

use bytes::Bytes;

use crate::codec::Codec;
use crate::error::{ErrorKind, Sent};

/// The kinds of frames, by their number on the wire. Those for streams of items are there, so that
/// a peer of today refuses them politely; a kind without a name here is skipped.
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

/// A flag of [`Reply`]: the answer is the error type of the contract.
pub(super) const APP_ERROR: u8 = 1;

/// A flag of [`Reply`] and part frames: the rest of the body follows in part frames.
pub(super) const MORE: u8 = 2;

/// One frame, as it was read.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Frame {
    Request(Request),
    Reply(Reply),
    CallFailure(CallFailure),
    /// The caller has gone; nobody waits for this call any more.
    Cancel {
        call: u64,
    },
    /// No more calls on this connection, please; those in flight are answered.
    Goaway,
    Ping {
        nonce: u64,
    },
    Pong {
        nonce: u64,
    },
    /// More of a reply's body.
    Part {
        call: u64,
        more: bool,
        body: Bytes,
    },
    /// A frame of a stream of items, which this version does not speak: the call is refused, the
    /// connection goes on.
    Unsupported {
        call: u64,
    },
    /// A kind of a later version: skipped.
    Unknown,
}

/// A call.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Request {
    pub(crate) call: u64,
    /// The number that stands for the method's name on this connection.
    pub(crate) method: u32,
    /// Name and fingerprint, with the first use of a number.
    pub(crate) declaration: Option<Declaration>,
    /// `None` for raw bytes.
    pub(crate) codec: Option<Codec>,
    /// What is left of the deadline, in milliseconds; 0 when there is none.
    pub(crate) timeout_ms: u32,
    pub(crate) trace_parent: Option<String>,
    pub(crate) meta: Vec<(String, String)>,
    pub(crate) body: Bytes,
}

/// What a method number stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Declaration {
    pub(crate) name: String,
    /// The fingerprint of the caller's contract; 0 for a raw service.
    pub(crate) fingerprint: u64,
}

/// An answer of an implementation.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Reply {
    pub(crate) call: u64,
    pub(crate) codec: Option<Codec>,
    pub(crate) app_error: bool,
    /// The rest of the body follows in part frames.
    pub(crate) more: bool,
    pub(crate) body: Bytes,
}

/// A failure of ours.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct CallFailure {
    pub(crate) call: u64,
    pub(crate) kind: ErrorKind,
    pub(crate) sent: Sent,
    pub(crate) message: String,
}
