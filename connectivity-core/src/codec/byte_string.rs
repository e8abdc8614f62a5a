//! Byte strings in one piece. serde knows a `Vec<u8>` as a sequence of numbers, which costs a call per
//! byte; on the wire of bincode a sequence of bytes and a byte string are the same.
//!
//! Written are all sequences of bytes in one piece, wherever they are inside of a value. Read are
//! those that are an argument or a reply as a whole: deeper inside, the type that is read is behind
//! a visitor.

use std::any::{Any, type_name};
use std::fmt;

use serde::de::{self, Deserialize, DeserializeOwned, Deserializer, Visitor};
use serde::ser::{self, Serialize};

/// The name of the newtype struct as which [`Whole`] reads a `Vec<u8>`. The decoder of bincode
/// knows it, and returns the bytes. To all others it is a newtype struct like any other, with a
/// sequence of numbers inside.
pub(super) const WHOLE: &str = "connectivity::Bytes";

/// A value, which is read in one piece if it is a `Vec<u8>`.
pub(crate) struct Whole<T>(pub(crate) T);

impl<'de, T: DeserializeOwned + 'static> Deserialize<'de> for Whole<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut value: Option<T> = None;
        match (&mut value as &mut dyn Any).downcast_mut::<Option<Vec<u8>>>() {
            Some(bytes) => {
                *bytes = Some(deserializer.deserialize_newtype_struct(WHOLE, BytesVisitor)?);
            }
            None => value = Some(T::deserialize(deserializer)?),
        }
        value.map(Self).ok_or_else(|| de::Error::custom("no value"))
    }
}

struct BytesVisitor;

impl<'de> Visitor<'de> for BytesVisitor {
    type Value = Vec<u8>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a sequence")
    }

    fn visit_newtype_struct<D: Deserializer<'de>>(self, inner: D) -> Result<Vec<u8>, D::Error> {
        Vec::deserialize(inner)
    }

    fn visit_bytes<E: de::Error>(self, bytes: &[u8]) -> Result<Vec<u8>, E> {
        Ok(bytes.to_vec())
    }
}

/// Returns whether the elements of a sequence are bytes.
pub(super) fn is_byte<T>() -> bool {
    // The only way to ask it of a type that may hold borrows. An answer that were wrong would cost
    // time, or an error, and never bytes that differ: each is serialized as a byte and nothing else.
    matches!(type_name::<T>(), "u8" | "&u8")
}

/// Collects a sequence of bytes. Returns `None` if an element is none.
pub(super) fn collect<T: Serialize>(elements: impl Iterator<Item = T>) -> Option<Vec<u8>> {
    let mut all_bytes = true;
    let mut bytes = Vec::new();
    // `extend` knows the length of a slice's iterator, and copies it as a whole.
    bytes.extend(elements.map(|element| {
        element.serialize(Byte).unwrap_or_else(|_no_byte| {
            all_bytes = false;
            0
        })
    }));
    all_bytes.then_some(bytes)
}

/// Serializes a byte, and nothing else. Its error says no more than that.
struct Byte;

macro_rules! no_bytes {
    ($($method:ident($($argument:ty),*) $(-> $result:ident)?;)+) => {$(
        fn $method(self $(, _: $argument)*) -> Result<no_bytes!(@ $($result)?), fmt::Error> {
            Err(fmt::Error)
        }
    )+};
    (@) => { u8 };
    (@ $result:ident) => { Self::$result };
}

impl ser::Serializer for Byte {
    type Ok = u8;
    type Error = fmt::Error;
    type SerializeSeq = ser::Impossible<u8, fmt::Error>;
    type SerializeTuple = ser::Impossible<u8, fmt::Error>;
    type SerializeTupleStruct = ser::Impossible<u8, fmt::Error>;
    type SerializeTupleVariant = ser::Impossible<u8, fmt::Error>;
    type SerializeMap = ser::Impossible<u8, fmt::Error>;
    type SerializeStruct = ser::Impossible<u8, fmt::Error>;
    type SerializeStructVariant = ser::Impossible<u8, fmt::Error>;

    #[inline]
    fn serialize_u8(self, byte: u8) -> Result<u8, fmt::Error> {
        Ok(byte)
    }

    no_bytes! {
        serialize_bool(bool);
        serialize_i8(i8);
        serialize_i16(i16);
        serialize_i32(i32);
        serialize_i64(i64);
        serialize_u16(u16);
        serialize_u32(u32);
        serialize_u64(u64);
        serialize_f32(f32);
        serialize_f64(f64);
        serialize_char(char);
        serialize_str(&str);
        serialize_bytes(&[u8]);
        serialize_none();
        serialize_unit();
        serialize_unit_struct(&'static str);
        serialize_unit_variant(&'static str, u32, &'static str);
        serialize_seq(Option<usize>) -> SerializeSeq;
        serialize_tuple(usize) -> SerializeTuple;
        serialize_tuple_struct(&'static str, usize) -> SerializeTupleStruct;
        serialize_tuple_variant(&'static str, u32, &'static str, usize) -> SerializeTupleVariant;
        serialize_map(Option<usize>) -> SerializeMap;
        serialize_struct(&'static str, usize) -> SerializeStruct;
        serialize_struct_variant(&'static str, u32, &'static str, usize) -> SerializeStructVariant;
    }

    fn serialize_some<T: Serialize + ?Sized>(self, _: &T) -> Result<u8, fmt::Error> {
        Err(fmt::Error)
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        _: &T,
    ) -> Result<u8, fmt::Error> {
        Err(fmt::Error)
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        _: &T,
    ) -> Result<u8, fmt::Error> {
        Err(fmt::Error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_told_from_other_elements() {
        assert!(is_byte::<u8>() && is_byte::<&u8>());
        assert!(
            !is_byte::<u16>() && !is_byte::<i8>() && !is_byte::<&str>() && !is_byte::<[u8; 1]>()
        );
        assert_eq!(collect([0_u8, 255].iter()), Some(vec![0, 255]));
        assert_eq!(collect(["a"].iter()), None);
        assert_eq!(collect([Some(1_u8)].iter()), None);
    }
}
