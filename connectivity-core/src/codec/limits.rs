//! What a body from outside may cost.

/// Memory for elements that a body of any length may ask for: sparse values, and elements that take
/// no bytes, such as `()`.
const FREE: usize = 64 << 20;

/// Memory for elements that each byte of a body may ask for. The smallest elements are `u128`,
/// `Option<u64>` and their like, which a single byte can stand for.
const PER_BYTE: usize = 16;

/// Bounds what decoding one body may cost, whatever its bytes say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Limits {
    /// Nesting of values: 128, as `serde_json` has it. A recursive type would end the process by
    /// stack overflow otherwise.
    pub(super) depth: usize,
    /// Options in one another, whatever stands between them: 128. They are counted apart, so that a
    /// list whose nodes hold an option of the next is as long as one without.
    pub(super) options: usize,
    /// Memory that the elements of all sequences and maps may take, by the size of their types: 16
    /// bytes for each byte of the body and 64 MiB, so 320 MiB for a body of 16 MiB. What they hold
    /// beyond that (the text of a string, say) has come as bytes, and a collection may keep as much
    /// again in reserve.
    pub(super) memory: usize,
}

impl Limits {
    /// The limits of a body of this length.
    pub(super) fn of(length: usize) -> Self {
        Self {
            depth: 128,
            options: 128,
            memory: length.saturating_mul(PER_BYTE).saturating_add(FREE),
        }
    }
}

/// What an element counts for: its size, and no less than one byte of a body pays for. Elements
/// without a size are not free, because a body could hold any number of them.
pub(super) const fn cost(size: usize) -> usize {
    if size > PER_BYTE { size } else { PER_BYTE }
}
