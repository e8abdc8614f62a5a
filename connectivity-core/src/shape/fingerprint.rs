//! One number for a shape: the same in every program and build, different where the wire is.
//!
//! The form. Each place is a string of bytes: the word of what stands there (`u64`, `option`,
//! `struct`, ..) and a zero byte; for each field or variant its name and a zero byte; after each
//! name, or for each place within, the digest of that place as eight bytes, little endian; at last,
//! for each alternative, the word `or`, a zero byte and its digest. A digest is the FNV-1a 64 of
//! that string. Names of types, newtypes and boxes are not in it.
//!
//! A type that contains itself is unrolled: the digest of a place is made in rounds, of the digests
//! of the round before, which begin as zero. So after as many rounds as there are levels it tells
//! of the whole type, and of one without an end it tells of the first [`LEVELS`] levels, however
//! the types are cut into named ones.

use super::node::{Id, Kind, Member, Node, resolve};

/// Two types that differ only below this depth have one fingerprint.
const LEVELS: usize = 64;

/// Digests the shape whose root is the first place.
pub(super) fn digest(nodes: &[Node]) -> u64 {
    let mut digests = vec![0; nodes.len()];
    for _ in 0..LEVELS {
        let next: Vec<_> = (0..nodes.len()).map(|at| digest_place(nodes, at, &digests)).collect();
        if next == digests {
            break;
        }
        digests = next;
    }
    digests.first().copied().unwrap_or_default()
}

fn digest_place(nodes: &[Node], at: Id, digests: &[u64]) -> u64 {
    let node = &nodes[resolve(nodes, at)];
    let mut fnv = Fnv::new();
    fnv.word(word(node));
    match &node.kind {
        Some(Kind::Struct(members) | Kind::Enum(members)) => {
            for Member { name, at } in members {
                fnv.word(name);
                fnv.number(digests[*at]);
            }
        }
        _ => node.children().iter().for_each(|&child| fnv.number(digests[child])),
    }
    for &other in &node.others {
        fnv.word("or");
        fnv.number(digests[other]);
    }
    fnv.0
}

/// The word of what stands at a place.
pub(super) fn word(node: &Node) -> &'static str {
    match &node.kind {
        None => "unknown",
        Some(Kind::Scalar(word)) => word,
        Some(Kind::Error) => "error",
        Some(Kind::Any(_)) => "any",
        Some(Kind::Identifier) => "field",
        // Of alternatives, or a circle that leads nowhere.
        Some(Kind::Is(_) | Kind::Newtype(_)) => "same",
        Some(Kind::Option(_)) => "option",
        Some(Kind::Seq(_)) => "seq",
        Some(Kind::Map(..)) => "map",
        Some(Kind::Tuple(_)) => "tuple",
        Some(Kind::Struct(_)) => "struct",
        Some(Kind::Enum(_)) => "enum",
    }
}

/// FNV-1a with 64 bits: specified byte by byte, unlike the hasher of std.
pub(super) struct Fnv(pub(super) u64);

impl Fnv {
    pub(super) fn new() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }

    fn bytes(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.0 = (self.0 ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
    }

    pub(super) fn word(&mut self, word: &str) {
        self.bytes(word.as_bytes());
        self.bytes(&[0]);
    }

    pub(super) fn number(&mut self, number: u64) {
        self.bytes(&number.to_le_bytes());
    }
}
