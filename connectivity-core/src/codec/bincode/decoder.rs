//! A deserializer for the bincode format. It limits depth and memory while it reads, and reports
//! the path of a fault. A wrapper around bincode's own deserializer that did the same took 1.5
//! times as long.

use serde::de::{Deserializer, Visitor};

use super::access::{Elements, Entries, Variant};
use super::reader::{Reader, fail};
use crate::codec::byte_string;
use crate::codec::fault::{self, Fault};
use crate::codec::limits::{self, Limits};

/// The unread bytes of a body and its remaining limits.
pub(super) struct Decoder<'de> {
    pub(super) reader: Reader<'de>,
    depth: usize,
    options: usize,
    memory: usize,
}

impl<'de> Decoder<'de> {
    pub(super) fn new(bytes: &'de [u8], limits: Limits) -> Self {
        let Limits { depth, options, memory } = limits;
        Self { reader: Reader::new(bytes), depth, options, memory }
    }

    /// Runs `inside` one nesting level deeper.
    #[inline]
    fn enter<T>(&mut self, inside: impl FnOnce(&mut Self) -> Result<T, Fault>) -> Result<T, Fault> {
        self.depth = self.depth.checked_sub(1).ok_or_else(|| fail(fault::TOO_DEEP))?;
        let result = inside(self);
        self.depth += 1;
        result
    }

    /// Charges `count` elements of `size` bytes to the memory budget.
    #[inline]
    pub(super) fn charge(&mut self, count: usize, size: usize) -> Result<(), Fault> {
        let left =
            limits::cost(size).checked_mul(count).and_then(|cost| self.memory.checked_sub(cost));
        self.memory = left.ok_or_else(|| fail(fault::TOO_MANY))?;
        Ok(())
    }

    /// Reads `count` values that are encoded back to back without a length prefix.
    #[inline]
    pub(super) fn fixed<V>(
        &mut self,
        count: usize,
        names: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Fault>
    where
        V: Visitor<'de>,
    {
        self.enter(|decoder| visitor.visit_seq(Elements::fixed(decoder, count, names)))
    }
}

macro_rules! scalars {
    ($($method:ident => $visit:ident($read:ident);)+) => {$(
        #[inline]
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
            visitor.$visit(self.reader.$read()?)
        }
    )+};
}

macro_rules! unsupported {
    ($($method:ident)+) => {$(
        fn $method<V: Visitor<'de>>(self, _visitor: V) -> Result<V::Value, Fault> {
            Err(fail("a type that asks the data what it is, which bincode cannot carry"))
        }
    )+};
}

impl<'de> Deserializer<'de> for &mut Decoder<'de> {
    type Error = Fault;

    scalars! {
        deserialize_u8 => visit_u8(byte);
        deserialize_u16 => visit_u16(u16);
        deserialize_u32 => visit_u32(u32);
        deserialize_u64 => visit_u64(u64);
        deserialize_u128 => visit_u128(u128);
        deserialize_i16 => visit_i16(i16);
        deserialize_i32 => visit_i32(i32);
        deserialize_i64 => visit_i64(i64);
        deserialize_i128 => visit_i128(i128);
        deserialize_char => visit_char(char);
        deserialize_str => visit_borrowed_str(text);
        deserialize_string => visit_borrowed_str(text);
        deserialize_bytes => visit_borrowed_bytes(bytes);
        deserialize_byte_buf => visit_borrowed_bytes(bytes);
    }

    unsupported! { deserialize_any deserialize_identifier deserialize_ignored_any }

    #[inline]
    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        visitor.visit_bool(self.reader.flag("a boolean that is neither 0 nor 1")?)
    }

    #[inline]
    fn deserialize_i8<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        visitor.visit_i8(self.reader.byte()?.cast_signed())
    }

    #[inline]
    fn deserialize_f32<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        visitor.visit_f32(f32::from_le_bytes(self.reader.array()?))
    }

    #[inline]
    fn deserialize_f64<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        visitor.visit_f64(f64::from_le_bytes(self.reader.array()?))
    }

    #[inline]
    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        if self.reader.flag("an option that is neither 0 nor 1")? {
            self.options = self.options.checked_sub(1).ok_or_else(|| fail(fault::TOO_DEEP))?;
            let some = visitor.visit_some(&mut *self);
            self.options += 1;
            some
        } else {
            visitor.visit_none()
        }
    }

    #[inline]
    fn deserialize_unit<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        visitor.visit_unit()
    }

    #[inline]
    fn deserialize_unit_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        visitor: V,
    ) -> Result<V::Value, Fault> {
        visitor.visit_unit()
    }

    #[inline]
    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        visitor: V,
    ) -> Result<V::Value, Fault> {
        if name == byte_string::WHOLE {
            return visitor.visit_borrowed_bytes(self.reader.bytes()?);
        }
        visitor.visit_newtype_struct(self)
    }

    #[inline]
    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        let count = self.reader.count()?;
        self.enter(|decoder| visitor.visit_seq(Elements::counted(decoder, count)))
    }

    #[inline]
    fn deserialize_tuple<V: Visitor<'de>>(
        self,
        count: usize,
        visitor: V,
    ) -> Result<V::Value, Fault> {
        self.fixed(count, &[], visitor)
    }

    #[inline]
    fn deserialize_tuple_struct<V>(
        self,
        _name: &'static str,
        count: usize,
        visitor: V,
    ) -> Result<V::Value, Fault>
    where
        V: Visitor<'de>,
    {
        self.fixed(count, &[], visitor)
    }

    #[inline]
    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        let count = self.reader.count()?;
        self.enter(|decoder| visitor.visit_map(Entries::new(decoder, count)))
    }

    #[inline]
    fn deserialize_struct<V>(
        self,
        _name: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Fault>
    where
        V: Visitor<'de>,
    {
        self.fixed(fields.len(), fields, visitor)
    }

    #[inline]
    fn deserialize_enum<V>(
        self,
        _name: &'static str,
        _variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Fault>
    where
        V: Visitor<'de>,
    {
        self.enter(|decoder| visitor.visit_enum(Variant(decoder)))
    }

    #[inline]
    fn is_human_readable(&self) -> bool {
        false
    }
}
