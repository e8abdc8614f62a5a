//! The fingerprint of a shape: a 64-bit digest that is equal in every program and build, and
//! differs where the wire format differs.
//!
//! The digest of a node is the FNV-1a 64 of these bytes:
//!
//! 1. The name of its kind (`u64`, `option`, `struct` and so on) and a zero byte.
//! 2. For each field or variant: its name, a zero byte, and the digest of its node. For other
//!    kinds: the digest of each child node. A digest is written as eight bytes, little endian.
//! 3. For each alternative: `or`, a zero byte, and the digest of its node.
//!
//! Type names, newtypes and boxes are not part of it. The [module docs](super) have an example.
//!
//! Recursive types are unrolled: digests are computed in rounds, each from the digests of the
//! previous round, and start as zero. After as many rounds as the type has levels, the digest
//! covers the whole type. The digest of an infinite type covers its first [`LEVELS`] levels,
//! however the levels are distributed over named types.

use super::node::{Id, Kind, Member, Node, resolve};

/// Number of levels that a fingerprint covers. Two types that differ only below it have equal
/// fingerprints.
const LEVELS: usize = 64;

/// Returns the digest of the shape whose root is the first node.
pub(super) fn digest(nodes: &[Node]) -> u64 {
    let mut digests = vec![0; nodes.len()];
    for _ in 0..LEVELS {
        let next: Vec<_> = (0..nodes.len()).map(|at| digest_node(nodes, at, &digests)).collect();
        if next == digests {
            break;
        }
        digests = next;
    }
    digests.first().copied().unwrap_or_default()
}

fn digest_node(nodes: &[Node], at: Id, digests: &[u64]) -> u64 {
    let node = &nodes[resolve(nodes, at)];
    let mut fnv = Fnv::new();
    fnv.string(kind_name(node));
    match &node.kind {
        Some(Kind::Struct(members) | Kind::Enum(members)) => {
            for Member { name, at } in members {
                fnv.string(name);
                fnv.number(digests[*at]);
            }
        }
        _ => node.children().iter().for_each(|&child| fnv.number(digests[child])),
    }
    for &other in &node.others {
        fnv.string("or");
        fnv.number(digests[other]);
    }
    fnv.0
}

/// Returns the name of a node's kind.
pub(super) fn kind_name(node: &Node) -> &'static str {
    match &node.kind {
        None => "unknown",
        Some(Kind::Scalar(name)) => name,
        Some(Kind::Error) => "error",
        Some(Kind::Any(_)) => "any",
        Some(Kind::Identifier) => "field",
        // A node with alternatives, or a cycle of references.
        Some(Kind::Is(_) | Kind::Newtype(_)) => "same",
        Some(Kind::Option(_)) => "option",
        Some(Kind::Seq(_)) => "seq",
        Some(Kind::Map(..)) => "map",
        Some(Kind::Tuple(_)) => "tuple",
        Some(Kind::Struct(_)) => "struct",
        Some(Kind::Enum(_)) => "enum",
    }
}

/// FNV-1a with 64 bits. It is specified byte by byte, unlike the hasher of std.
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

    /// Hashes a string and a zero byte.
    pub(super) fn string(&mut self, text: &str) {
        self.bytes(text.as_bytes());
        self.bytes(&[0]);
    }

    pub(super) fn number(&mut self, number: u64) {
        self.bytes(&number.to_le_bytes());
    }
}
