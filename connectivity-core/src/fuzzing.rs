//! Entry points of the fuzz targets in `fuzz/`. Compiled only for them.

use bytes::BytesMut;

use crate::codec::Codec;
use crate::mux::frame::{Decoder, Frame, MAX_SMALL_FRAME, PREAMBLE, ServerNames, read_preamble};

/// Reads bytes like a server reads a stream, in chunks of varying length, and decodes the arguments
/// of each request.
pub fn frame(bytes: &[u8]) {
    let Some((preamble, mut rest)) = bytes.split_first_chunk::<PREAMBLE>() else { return };
    let _ = read_preamble(*preamble);
    let decoder = Decoder::new(MAX_SMALL_FRAME);
    let (mut buffer, mut names) = (BytesMut::new(), ServerNames::default());
    while let Some((length, more)) = rest.split_first() {
        let (chunk, more) = more.split_at(more.len().min(usize::from(*length)));
        rest = more;
        buffer.extend_from_slice(chunk);
        loop {
            match decoder.decode(&mut buffer) {
                Ok(Some(Frame::Request(request))) => {
                    if names.resolve(&request, |declaration| declaration.name.len()).is_err() {
                        return;
                    }
                    if let Some(codec) = request.codec {
                        arguments(codec, &request.body);
                    }
                }
                Ok(Some(_)) => {}
                Ok(None) => break,
                Err(_) => return,
            }
        }
    }
}

fn arguments(codec: Codec, body: &[u8]) {
    let _ = codec
        .decode::<(String, Vec<Option<u64>>, std::collections::BTreeMap<String, Vec<u8>>)>(body);
}
