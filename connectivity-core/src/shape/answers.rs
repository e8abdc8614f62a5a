//! What a walk answers when a type asks for a value. A type that checks what it reads refuses most
//! of them, so there are several.

/// Texts, from what everything takes to what common checked types take.
pub(super) const TEXTS: &[&str] = &[
    "",
    "a",
    "1",
    "a@a.aa",
    "127.0.0.1",
    "127.0.0.1:1",
    "::1",
    "[::1]:1",
    "2000-01-01T00:00:00Z",
    "2000-01-01",
    "2000-01-01T00:00:00",
    "00:00:00",
    "http://a.aa/",
    "67e55044-10b1-426f-9247-bb680e5fe0c8",
    "1.0.0",
    "AAAA",
    "A",
];

/// Lengths of byte strings: empty, a UUID, keys and hashes, addresses, a time.
const LENGTHS: &[usize] = &[0, 16, 32, 4, 12, 20, 24, 64, 8];

/// A byte string for each of the lengths.
pub(super) fn bytes(choice: usize) -> &'static [u8] {
    const ZEROS: &[u8] = &[0; 64];
    &ZEROS[..LENGTHS[choice % LENGTHS.len()]]
}

/// How many byte strings there are.
pub(super) const BYTES: usize = LENGTHS.len();
