//! Encodes frames by hand, as specified in `docs/wire.md`.

pub(crate) const PREAMBLE: [u8; 8] = *b"CNW\x01\0\0\0\0";

/// Encodes a frame.
pub(crate) fn frame(kind: u8, call: u64, content: &[u8]) -> Vec<u8> {
    let length = u32::try_from(content.len()).unwrap().to_le_bytes();
    [&length[..], &[kind, 0, 0, 0], &call.to_le_bytes(), content].concat()
}

/// Encodes a request with a raw body. `name` declares `number`.
pub(crate) fn request(call: u64, number: u32, name: Option<&str>, body: &[u8]) -> Vec<u8> {
    let section = name.map_or_else(Vec::new, |name| {
        let length = u16::try_from(8 + name.len()).unwrap().to_le_bytes();
        [&[1], &length[..], &[0; 8], name.as_bytes()].concat()
    });
    let sections = u16::try_from(section.len()).unwrap().to_le_bytes();
    frame(1, call, &[&number.to_le_bytes()[..], &[0], &[0; 4], &sections, &section, body].concat())
}
