//! What a body from outside may cost.

/// Bounds what decoding one body may cost, whatever its bytes say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Limits {
    /// Nesting of values: 128, as `serde_json` has it. A recursive type would end the process by stack overflow otherwise.
    pub(super) depth: usize,
    /// Elements of all sequences and maps beyond the number of bytes in the body: elements that take no bytes, such as `()`, are not free.
    pub(super) free_elements: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { depth: 128, free_elements: 65_536 }
    }
}
