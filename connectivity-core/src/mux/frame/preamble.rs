//! The first bytes of every stream: what protocol this is, and what the stream is for.

use super::WireError;

/// The length of the preamble.
pub(crate) const PREAMBLE: usize = 8;

const MAGIC: &[u8; 4] = b"CNW\x01";

/// What a stream is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    /// Many small calls, for as long as the connection lives.
    Shared,
    /// One call with a large body.
    Single,
}

/// Spells the preamble of a stream.
pub(crate) fn write_preamble(role: Role) -> [u8; PREAMBLE] {
    let [a, b, c, version] = *MAGIC;
    let role = match role {
        Role::Shared => 0,
        Role::Single => 1,
    };
    [a, b, c, version, role, 0, 0, 0]
}

/// Reads the preamble of a stream; the last three bytes are for later versions and are not looked
/// at.
pub(crate) fn read_preamble(bytes: [u8; PREAMBLE]) -> Result<Role, WireError> {
    let [a, b, c, version, role, ..] = bytes;
    if [a, b, c, version] != *MAGIC {
        return Err(WireError::Preamble);
    }
    match role {
        0 => Ok(Role::Shared),
        1 => Ok(Role::Single),
        _ => Err(WireError::Preamble),
    }
}
