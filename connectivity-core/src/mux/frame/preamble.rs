//! The first bytes of every stream: the protocol and version, and the role of the stream.

use super::WireError;

/// The length of the preamble, in bytes.
pub(crate) const PREAMBLE: usize = 8;

const MAGIC: &[u8; 4] = b"CNW\x01";

/// The role of a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    /// Carries many small calls, for as long as the connection lives.
    Shared,
    /// Carries one call with a large body.
    Single,
}

/// Encodes the preamble of a stream.
pub(crate) fn write_preamble(role: Role) -> [u8; PREAMBLE] {
    let [a, b, c, version] = *MAGIC;
    let role = match role {
        Role::Shared => 0,
        Role::Single => 1,
    };
    [a, b, c, version, role, 0, 0, 0]
}

/// Decodes the preamble of a stream. The last three bytes are reserved for later versions and are
/// ignored.
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
