//! Reads the primitives of bincode's standard configuration: little endian, variable-length
//! integers.

use crate::codec::fault::Fault;

/// The unread bytes of a body.
pub(super) struct Reader<'de> {
    rest: &'de [u8],
}

/// Defines a reader for each unsigned integer type. An integer is one byte up to 250, or a marker
/// byte for its width followed by that many bytes. A width beyond the type is an error.
macro_rules! unsigned {
    ($($name:ident { $($marker:literal: $width:ident),+ })+) => {$(
        #[inline]
        pub(super) fn $name(&mut self) -> Result<$name, Fault> {
            let (&marker, rest) = self.rest.split_first().ok_or_else(ends_early)?;
            match marker {
                ..=250 => {
                    self.rest = rest;
                    Ok(marker.into())
                }
                $($marker => {
                    let (bytes, rest) = rest.split_first_chunk().ok_or_else(ends_early)?;
                    self.rest = rest;
                    Ok($width::from_le_bytes(*bytes).into())
                })+
                _ => Err(fail("an integer of another width")),
            }
        }
    )+};
}

/// Defines a reader for each signed integer type. Signed integers are zigzag-encoded as unsigned
/// ones: `2n` for `n >= 0`, and `-2n - 1` for `n < 0`.
macro_rules! signed {
    ($($name:ident: $unsigned:ident;)+) => {$(
        #[inline]
        pub(super) fn $name(&mut self) -> Result<$name, Fault> {
            let number = self.$unsigned()?;
            let half = (number >> 1).cast_signed();
            Ok(if number & 1 == 0 { half } else { !half })
        }
    )+};
}

impl<'de> Reader<'de> {
    pub(super) fn new(rest: &'de [u8]) -> Self {
        Self { rest }
    }

    /// Returns the number of unread bytes.
    pub(super) fn left(&self) -> usize {
        self.rest.len()
    }

    unsigned! {
        u16 { 251: u16 }
        u32 { 251: u16, 252: u32 }
        u64 { 251: u16, 252: u32, 253: u64 }
        u128 { 251: u16, 252: u32, 253: u64, 254: u128 }
    }

    signed! {
        i16: u16;
        i32: u32;
        i64: u64;
        i128: u128;
    }

    #[inline]
    pub(super) fn byte(&mut self) -> Result<u8, Fault> {
        let [byte] = self.array()?;
        Ok(byte)
    }

    #[inline]
    pub(super) fn array<const N: usize>(&mut self) -> Result<[u8; N], Fault> {
        let (array, rest) = self.rest.split_first_chunk().ok_or_else(ends_early)?;
        self.rest = rest;
        Ok(*array)
    }

    #[inline]
    fn take(&mut self, count: usize) -> Result<&'de [u8], Fault> {
        let (taken, rest) = self.rest.split_at_checked(count).ok_or_else(ends_early)?;
        self.rest = rest;
        Ok(taken)
    }

    /// Reads a length prefix: the number of elements, entries or bytes that follow.
    #[inline]
    pub(super) fn count(&mut self) -> Result<usize, Fault> {
        usize::try_from(self.u64()?).map_err(|_| fail("a length that no memory holds"))
    }

    /// Reads a length prefix and that many bytes, borrowed from the body.
    #[inline]
    pub(super) fn bytes(&mut self) -> Result<&'de [u8], Fault> {
        let count = self.count()?;
        self.take(count)
    }

    #[inline]
    pub(super) fn text(&mut self) -> Result<&'de str, Fault> {
        str::from_utf8(self.bytes()?).map_err(|_| fail("a string that is not UTF-8"))
    }

    /// Reads a byte that must be 0 or 1; any other value fails with `otherwise`.
    #[inline]
    pub(super) fn flag(&mut self, otherwise: &'static str) -> Result<bool, Fault> {
        match self.byte()? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(fail(otherwise)),
        }
    }

    /// Reads one UTF-8 character. Its first byte determines its length.
    pub(super) fn char(&mut self) -> Result<char, Fault> {
        let width = match self.rest.first() {
            Some(0xc2..0xe0) => 2,
            Some(0xe0..0xf0) => 3,
            Some(0xf0..0xf5) => 4,
            _ => 1,
        };
        let text = str::from_utf8(self.take(width)?).ok();
        text.and_then(|text| text.chars().next())
            .ok_or_else(|| fail("a character that is not UTF-8"))
    }
}

#[cold]
#[inline(never)]
pub(super) fn fail(message: &'static str) -> Fault {
    Fault::new(message)
}

#[cold]
#[inline(never)]
fn ends_early() -> Fault {
    Fault::new("the body ends early")
}
