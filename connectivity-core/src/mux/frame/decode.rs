//! Decodes frames. Every length is checked before it is used, and nothing here can panic.

use bytes::{Buf, Bytes, BytesMut};

use super::content::{APP_ERROR, CallFailure, Declaration, Frame, Kind, MORE, Reply, Request};
use super::encode::{META, NAME, TRACE_PARENT};
use super::{HEAD, MAX_SECTIONS};
use crate::codec::Codec;
use crate::error::{ErrorKind, Sent};
use crate::name::MAX_NAME;

/// A violation of the protocol by the peer, which ends the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum WireError {
    #[error("the stream does not begin as this protocol does")]
    Preamble,
    #[error("a frame of {length} bytes, where {limit} are allowed")]
    TooLong { length: usize, limit: usize },
    #[error("a frame ends before what it announces")]
    Truncated,
    #[error("a frame names a codec that does not exist")]
    Codec,
    #[error("a frame holds text that is not UTF-8")]
    Text,
    #[error("a name in a frame is too long")]
    Name,
    #[error("what stands before the body of a request is too long")]
    Sections,
    #[error("a call number is used twice")]
    CallTwice,
    #[error("a stream for one call has a second one")]
    SecondCall,
    #[error("a frame uses a method number that was not declared")]
    UnknownMethod,
    #[error("a connection declares too many methods")]
    TooManyMethods,
}

/// Splits frames off the front of a buffer.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Decoder {
    /// The longest frame, without its head.
    limit: usize,
}

impl Decoder {
    pub(crate) fn new(limit: usize) -> Self {
        Self { limit }
    }

    /// Takes the next frame, or returns `None` until it has been received as a whole.
    pub(crate) fn decode(self, buffer: &mut BytesMut) -> Result<Option<Frame>, WireError> {
        let Some(length) =
            buffer.first_chunk::<4>().map(|bytes| u32::from_le_bytes(*bytes) as usize)
        else {
            return Ok(None);
        };
        if length > self.limit {
            return Err(WireError::TooLong { length, limit: self.limit });
        }
        if buffer.len() < HEAD + length {
            // The length is only a claim by the peer: memory is allocated as bytes arrive.
            return Ok(None);
        }
        let mut frame = buffer.split_to(HEAD + length).freeze();
        frame.advance(4);
        let (kind, flags) = (frame.get_u8(), frame.get_u8());
        frame.advance(2);
        let call = frame.get_u64_le();
        decode_content(kind, flags, call, frame).map(Some)
    }

    /// Returns the length and the call number of a buffer's first frame, once its head has been
    /// received.
    pub(crate) fn head(buffer: &[u8]) -> Option<(usize, u64)> {
        let (head, _) = buffer.split_first_chunk::<HEAD>()?;
        let (length, rest) = head.split_first_chunk::<4>()?;
        let (_, call) = rest.split_first_chunk::<4>()?;
        Some((u32::from_le_bytes(*length) as usize, u64::from_le_bytes(*call.first_chunk()?)))
    }

    /// Returns the bytes still missing from the partially received frame at the front of a buffer;
    /// 0 until its length is known.
    pub(crate) fn missing(self, buffer: &[u8]) -> usize {
        let length = buffer.first_chunk::<4>().map(|bytes| u32::from_le_bytes(*bytes) as usize);
        length.map_or(0, |length| (HEAD + length.min(self.limit)).saturating_sub(buffer.len()))
    }
}

fn decode_content(kind: u8, flags: u8, call: u64, content: Bytes) -> Result<Frame, WireError> {
    let Some(kind) = Kind::from_number(kind) else { return Ok(Frame::Unknown) };
    Ok(match kind {
        Kind::Request => Frame::Request(request(call, content)?),
        Kind::Reply => Frame::Reply(reply(call, flags, content)?),
        Kind::Error => Frame::CallFailure(failure(call, content)?),
        Kind::Cancel => Frame::Cancel { call },
        Kind::Goaway => Frame::Goaway,
        Kind::Ping => Frame::Ping { nonce: call },
        Kind::Pong => Frame::Pong { nonce: call },
        Kind::Part => Frame::Part { call, more: flags & MORE != 0, body: content },
        Kind::Item | Kind::End | Kind::Credit => Frame::Unsupported { call },
    })
}

fn request(call: u64, mut content: Bytes) -> Result<Request, WireError> {
    let method = content.try_get_u32_le().map_err(|_| WireError::Truncated)?;
    let codec = codec(&mut content)?;
    let timeout_ms = content.try_get_u32_le().map_err(|_| WireError::Truncated)?;
    let sections = length_prefixed(&mut content)?;
    if sections.len() > MAX_SECTIONS {
        return Err(WireError::Sections);
    }
    let mut request = Request {
        call,
        method,
        declaration: None,
        codec,
        timeout_ms,
        trace_parent: None,
        meta: Vec::new(),
        body: content,
    };
    read_sections(&mut request, sections)?;
    Ok(request)
}

/// Decodes the sections before the body; a tag of a later version is skipped.
fn read_sections(request: &mut Request, mut sections: Bytes) -> Result<(), WireError> {
    while !sections.is_empty() {
        let tag = sections.get_u8();
        let mut section = length_prefixed(&mut sections)?;
        match tag {
            NAME => {
                let fingerprint = section.try_get_u64_le().map_err(|_| WireError::Truncated)?;
                if section.len() > MAX_NAME {
                    return Err(WireError::Name);
                }
                request.declaration = Some(Declaration { name: utf8(&section)?, fingerprint });
            }
            TRACE_PARENT => request.trace_parent = Some(utf8(&section)?),
            META => {
                let key = length_prefixed(&mut section)?;
                request.meta.push((utf8(&key)?, utf8(&section)?));
            }
            _ => {}
        }
    }
    Ok(())
}

fn reply(call: u64, flags: u8, mut content: Bytes) -> Result<Reply, WireError> {
    let codec = codec(&mut content)?;
    Ok(Reply {
        call,
        codec,
        app_error: flags & APP_ERROR != 0,
        more: flags & MORE != 0,
        body: content,
    })
}

fn failure(call: u64, mut content: Bytes) -> Result<CallFailure, WireError> {
    let sent = match content.try_get_u8().map_err(|_| WireError::Truncated)? {
        0 => Sent::No,
        2 => Sent::Yes,
        _ => Sent::Maybe,
    };
    let length = usize::from(content.try_get_u8().map_err(|_| WireError::Truncated)?);
    let kind = take_bytes(&mut content, length)?;
    Ok(CallFailure {
        call,
        kind: ErrorKind::from_word(&utf8(&kind)?),
        sent,
        message: utf8(&content)?,
    })
}

fn codec(content: &mut Bytes) -> Result<Option<Codec>, WireError> {
    match content.try_get_u8().map_err(|_| WireError::Truncated)? {
        0 => Ok(None),
        1 => Ok(Some(Codec::Bincode)),
        2 => Ok(Some(Codec::Json)),
        _ => Err(WireError::Codec),
    }
}

/// Takes bytes that are prefixed with their length in 16 bits.
fn length_prefixed(content: &mut Bytes) -> Result<Bytes, WireError> {
    let length = content.try_get_u16_le().map_err(|_| WireError::Truncated)?;
    take_bytes(content, usize::from(length))
}

fn take_bytes(content: &mut Bytes, length: usize) -> Result<Bytes, WireError> {
    if length > content.len() {
        return Err(WireError::Truncated);
    }
    Ok(content.split_to(length))
}

fn utf8(bytes: &[u8]) -> Result<String, WireError> {
    std::str::from_utf8(bytes).map(str::to_owned).map_err(|_| WireError::Text)
}
