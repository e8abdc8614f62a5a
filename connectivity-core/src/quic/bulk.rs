//! How a server knows the connection of a client's large bodies before it has decrypted anything of
//! it: by the number that a client gives its first packets. It is a wish where to be served, and
//! lets nobody do anything.

use quinn::ConnectionId;
use ring::rand::{SecureRandom, SystemRandom};

const MARK: &[u8; 4] = b"bulk";

/// Makes a number for a connection of large bodies: the mark, and 16 random bytes.
pub(super) fn marked() -> ConnectionId {
    let mut bytes = [0; MARK.len() + 16];
    let (mark, random) = bytes.split_at_mut(MARK.len());
    mark.copy_from_slice(MARK);
    // Without randomness there would be no TLS either, so the handshake tells.
    let _ = SystemRandom::new().fill(random);
    ConnectionId::new(&bytes)
}

/// Says whether a client has marked its connection.
pub(super) fn is_marked(number: &ConnectionId) -> bool {
    number.starts_with(MARK)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marked_numbers_differ_and_are_recognised() {
        let (one, other) = (marked(), marked());
        assert_ne!(one, other);
        assert!(is_marked(&one) && is_marked(&other) && !is_marked(&ConnectionId::new(&[7; 20])));
    }
}
