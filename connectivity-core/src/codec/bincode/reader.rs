//! The bytes of a body, and the numbers that bincode's standard configuration writes: little
//! endian, as short as they can be.

use crate::codec::fault::Fault;

/// What is not read yet.
pub(super) struct Reader<'de> {
    rest: &'de [u8],
}

/// An unsigned integer is one byte up to 250, or a byte that tells its width and as many bytes. No
/// width beyond the type is taken.
macro_rules! unsigned {
    ($($name:ident { $($mark:literal: $width:ident),+ })+) => {$(
        #[inline]
        pub(super) fn $name(&mut self) -> Result<$name, Fault> {
            let (&mark, rest) = self.rest.split_first().ok_or_else(ends_early)?;
            match mark {
                ..=250 => {
                    self.rest = rest;
                    Ok(mark.into())
                }
                $($mark => {
                    let (bytes, rest) = rest.split_first_chunk().ok_or_else(ends_early)?;
                    self.rest = rest;
                    Ok($width::from_le_bytes(*bytes).into())
                })+
                _ => Err(fail("an integer of another width")),
            }
        }
    )+};
}

/// A signed integer is an unsigned one: twice as much, and one less where it is negative.
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

    /// How many bytes are left.
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

    /// The number of elements, entries or bytes that follow.
    #[inline]
    pub(super) fn count(&mut self) -> Result<usize, Fault> {
        usize::try_from(self.u64()?).map_err(|_| fail("a length that no memory holds"))
    }

    /// Bytes, lent by the body.
    #[inline]
    pub(super) fn bytes(&mut self) -> Result<&'de [u8], Fault> {
        let count = self.count()?;
        self.take(count)
    }

    #[inline]
    pub(super) fn text(&mut self) -> Result<&'de str, Fault> {
        str::from_utf8(self.bytes()?).map_err(|_| fail("a string that is not UTF-8"))
    }

    /// A byte that is 0 or 1.
    #[inline]
    pub(super) fn flag(&mut self, otherwise: &'static str) -> Result<bool, Fault> {
        match self.byte()? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(fail(otherwise)),
        }
    }

    /// A character in UTF-8, whose first byte tells how many there are.
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
pub(super) fn fail(what: &'static str) -> Fault {
    Fault::new(what)
}

#[cold]
#[inline(never)]
fn ends_early() -> Fault {
    Fault::new("the body ends early")
}
