//! Decode limits for untrusted bodies.

/// Element memory granted to a body of any length: for sparse values, and for elements that take no
/// bytes, such as `()`.
const BASE: usize = 64 << 20;

/// Element memory granted per byte of a body. It covers every type of up to 16 bytes, such as
/// `u128` and `Option<u64>`, because each element takes at least one byte.
const PER_BYTE: usize = 16;

/// Limits on decoding one body, whatever its bytes claim.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Limits {
    /// Maximum nesting of values: 128, as in `serde_json`. Without it, a recursive type could
    /// overflow the stack and abort the process.
    pub(super) depth: usize,
    /// Maximum number of nested options, whatever lies between them: 128. Options have their own
    /// counter, so that a linked list through `Option` may be as long as other values may be deep.
    pub(super) options: usize,
    /// Memory budget for the elements of all sequences and maps, by the size of their types: 16
    /// bytes per byte of the body plus 64 MiB, so 320 MiB for a body of 16 MiB. Memory that
    /// elements own beyond their size (the text of a string, say) arrived as bytes of the body, and
    /// a collection may reserve as much capacity again.
    pub(super) memory: usize,
}

impl Limits {
    /// Returns the limits of a body of `length` bytes.
    pub(super) fn of(length: usize) -> Self {
        Self {
            depth: 128,
            options: 128,
            memory: length.saturating_mul(PER_BYTE).saturating_add(BASE),
        }
    }
}

/// Returns what an element is charged: its size, but at least `PER_BYTE`. Zero-sized elements are
/// not free, because a body can claim any number of them.
pub(super) const fn cost(size: usize) -> usize {
    if size > PER_BYTE { size } else { PER_BYTE }
}
