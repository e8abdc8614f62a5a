//! Encodes frames: appends them to a buffer that is written as a whole.

use bytes::{BufMut, BytesMut};
use tokio::time::Instant;

use super::content::{APP_ERROR, Kind, MORE};
use super::{HEAD, MAX_SECTIONS};
use crate::codec::Codec;
use crate::context::Context;
use crate::error::Error;

/// Returns the number of a codec on the wire.
pub(super) fn codec_number(codec: Option<Codec>) -> u8 {
    match codec {
        None => 0,
        Some(Codec::Bincode) => 1,
        Some(Codec::Json) => 2,
    }
}

/// Tags of the sections before a request's body.
pub(super) const NAME: u8 = 1;
pub(super) const TRACE_PARENT: u8 = 2;
pub(super) const META: u8 = 3;

/// Appends frames to a buffer.
#[derive(Debug, Default)]
pub(crate) struct Encoder {
    out: BytesMut,
}

/// A request without its body.
pub(crate) struct RequestHead<'a> {
    pub(crate) call: u64,
    pub(crate) method: u32,
    /// The name and fingerprint, with the first use of the number.
    pub(crate) declaration: Option<(&'a str, u64)>,
    pub(crate) codec: Option<Codec>,
    pub(crate) context: &'a Context,
    /// The current time, to compute what is left of the deadline.
    pub(crate) now: Instant,
}

impl Encoder {
    /// Returns the encoded bytes; the caller removes those it has written.
    pub(crate) fn buffer(&mut self) -> &mut BytesMut {
        &mut self.out
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.out.is_empty()
    }

    pub(crate) fn len(&self) -> usize {
        self.out.len()
    }

    pub(crate) fn request(&mut self, head: &RequestHead<'_>, body: &[u8]) {
        self.begin_request(head, body.len());
        self.out.extend_from_slice(body);
    }

    /// Appends a request without its body, which the caller must write directly behind it.
    pub(crate) fn begin_request(&mut self, head: &RequestHead<'_>, body: usize) {
        let start = self.begin_frame(Kind::Request, 0, head.call);
        self.out.put_u32_le(head.method);
        self.out.put_u8(codec_number(head.codec));
        self.out.put_u32_le(remaining_ms(head));
        let sections = self.out.len();
        self.out.put_u16_le(0);
        self.sections(head);
        let length = self.out.len() - sections - 2;
        debug_assert!(
            length <= MAX_SECTIONS,
            "`Context` bounds metadata and trace parents, `Name` names"
        );
        self.patch(sections, &u16::try_from(length).unwrap_or(u16::MAX).to_le_bytes());
        self.finish_with(start, body);
    }

    fn sections(&mut self, head: &RequestHead<'_>) {
        if let Some((name, fingerprint)) = head.declaration {
            self.section(NAME, |out| {
                out.put_u64_le(fingerprint);
                out.extend_from_slice(name.as_bytes());
            });
        }
        if let Some(trace_parent) = head.context.trace_parent() {
            self.section(TRACE_PARENT, |out| out.extend_from_slice(trace_parent.as_bytes()));
        }
        for (key, value) in head.context.metas() {
            self.section(META, |out| {
                out.put_u16_le(u16::try_from(key.len()).unwrap_or(u16::MAX));
                out.extend_from_slice(key.as_bytes());
                out.extend_from_slice(value.as_bytes());
            });
        }
    }

    fn section(&mut self, tag: u8, content: impl FnOnce(&mut BytesMut)) {
        self.out.put_u8(tag);
        let at = self.out.len();
        self.out.put_u16_le(0);
        content(&mut self.out);
        let length = self.out.len() - at - 2;
        self.patch(at, &u16::try_from(length).unwrap_or(u16::MAX).to_le_bytes());
    }

    /// Appends a reply with a body of at most [`MAX_SMALL_BODY`](super::MAX_SMALL_BODY) bytes.
    pub(crate) fn reply(&mut self, call: u64, codec: Option<Codec>, app_error: bool, body: &[u8]) {
        self.begin_reply(call, codec, app_error, false, body);
    }

    /// Appends a reply, or with `more` the first piece of one whose rest follows in
    /// [parts](Self::part).
    pub(crate) fn begin_reply(
        &mut self,
        call: u64,
        codec: Option<Codec>,
        app_error: bool,
        more: bool,
        body: &[u8],
    ) {
        let flags = if app_error { APP_ERROR } else { 0 } | if more { MORE } else { 0 };
        let start = self.begin_frame(Kind::Reply, flags, call);
        self.out.put_u8(codec_number(codec));
        self.out.extend_from_slice(body);
        self.finish(start);
    }

    /// Appends the next part of a reply's body.
    pub(crate) fn part(&mut self, call: u64, more: bool, body: &[u8]) {
        let start = self.begin_frame(Kind::Part, if more { MORE } else { 0 }, call);
        self.out.extend_from_slice(body);
        self.finish(start);
    }

    pub(crate) fn failure(&mut self, call: u64, error: &Error) {
        let start = self.begin_frame(Kind::Error, 0, call);
        self.out.put_u8(error.sent() as u8);
        let kind = error.kind().as_str().as_bytes();
        self.out.put_u8(u8::try_from(kind.len()).unwrap_or(u8::MAX));
        self.out.extend_from_slice(kind);
        self.out.extend_from_slice(error.message().as_bytes());
        self.finish(start);
    }

    pub(crate) fn cancel(&mut self, call: u64) {
        let start = self.begin_frame(Kind::Cancel, 0, call);
        self.finish(start);
    }

    pub(crate) fn goaway(&mut self) {
        let start = self.begin_frame(Kind::Goaway, 0, 0);
        self.finish(start);
    }

    pub(crate) fn ping(&mut self, nonce: u64) {
        let start = self.begin_frame(Kind::Ping, 0, nonce);
        self.finish(start);
    }

    pub(crate) fn pong(&mut self, nonce: u64) {
        let start = self.begin_frame(Kind::Pong, 0, nonce);
        self.finish(start);
    }

    fn begin_frame(&mut self, kind: Kind, flags: u8, call: u64) -> usize {
        let start = self.out.len();
        self.out.put_u32_le(0);
        self.out.put_u8(kind as u8);
        self.out.put_u8(flags);
        self.out.put_u16_le(0);
        self.out.put_u64_le(call);
        start
    }

    /// Writes the length of the frame's content into its head.
    fn finish(&mut self, start: usize) {
        self.finish_with(start, 0);
    }

    /// Like [`finish`](Self::finish), for a frame of which `trailing` bytes are not in the buffer.
    fn finish_with(&mut self, start: usize, trailing: usize) {
        let length = self.out.len() - start - HEAD + trailing;
        self.patch(start, &u32::try_from(length).unwrap_or(u32::MAX).to_le_bytes());
    }

    fn patch(&mut self, at: usize, bytes: &[u8]) {
        self.out[at..at + bytes.len()].copy_from_slice(bytes);
    }
}

/// Returns the time until the deadline in whole milliseconds; never 0, which means no deadline.
fn remaining_ms(head: &RequestHead<'_>) -> u32 {
    let left = head.context.deadline().map(|deadline| deadline.saturating_duration_since(head.now));
    left.map_or(0, |left| u32::try_from(left.as_millis()).unwrap_or(u32::MAX).max(1))
}
