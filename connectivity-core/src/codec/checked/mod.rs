//! A serializer wrapper that rejects values which would not decode to the same value.
//!
//! bincode writes values back to back, so a skipped field shifts all that follow. JSON writes
//! `null` for NaN and infinity, and for `Some(None)`. Neither encoder reports it. [`Checked`] wraps
//! a value and its serializer, and wraps nested values in turn. The reason for a rejection is kept
//! in [`Check`] while an empty error of the encoder's own type unwinds through the encoder.

mod compound;

use std::cell::Cell;
use std::fmt;

use serde::ser::{Error, Serialize, SerializeSeq, Serializer};

use compound::{Compound, Entries, Layout};

use super::byte_string;
use super::limits::{self, Limits};

/// The state of checking one value while it is encoded.
#[derive(Default)]
pub(super) struct Check {
    /// Why the value was rejected.
    reason: Cell<Option<&'static str>>,
    /// The field at which it was rejected, as spelled by the encoding program.
    field: Cell<Option<&'static str>>,
    /// Number of elements in all sequences and maps.
    elements: Cell<usize>,
}

impl Check {
    /// Wraps a value to be encoded.
    pub(super) fn value<'c, T: ?Sized>(&'c self, value: &'c T) -> Checked<'c, &'c T> {
        Checked { inner: value, check: self, is_some: false }
    }

    /// Takes the reason why the value was rejected, if it was.
    pub(super) fn take_reason(&self) -> Option<String> {
        let reason = self.reason.take()?;
        let field = self.field.take();
        Some(field.map_or_else(|| reason.to_owned(), |field| format!("{reason}: `{field}`")))
    }

    /// Returns whether a decoder would reject a body of `length` bytes with this many elements,
    /// whatever their types. This happens when most elements take no bytes.
    pub(super) fn exceeds_limits(&self, length: usize) -> bool {
        self.elements.get().saturating_mul(limits::cost(0)) > Limits::of(length).memory
    }

    /// Counts elements of a sequence or a map, for which the decoder will charge memory.
    fn count_elements(&self, count: usize) {
        self.elements.set(self.elements.get() + count);
    }

    #[cold]
    fn fail<E: Error>(&self, reason: &'static str) -> E {
        self.reason.set(Some(reason));
        E::custom("")
    }
}

/// A checked value, or the serializer to which it is written.
pub(super) struct Checked<'c, T> {
    inner: T,
    check: &'c Check,
    /// Whether the value is the content of a `Some`.
    is_some: bool,
}

impl<T: Serialize + ?Sized> Serialize for Checked<'_, &T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.inner.serialize(Checked {
            inner: serializer,
            check: self.check,
            is_some: self.is_some,
        })
    }
}

/// Rejects what [`Limits`] would reject at the decoder.
pub(super) const SPARSE: &str =
    "so many elements in so few bytes that the reader would refuse them";

const NOTHING: &str = "`Some` of nothing: JSON writes it as it writes `None`";
const NO_NUMBER: &str = "a number that is infinite or none: JSON has no word for it";

const NO_BYTES: &str = "a sequence of bytes with an element that is not a byte";

/// A sequence of as few bytes is written one by one: that costs less than to allocate.
const FEW: usize = 16;

/// Returns the length of an iterator that knows it.
fn exact_length(elements: &impl Iterator) -> Option<usize> {
    let (least, most) = elements.size_hint();
    Some(least).filter(|_| most == Some(least))
}

impl<S: Serializer> Checked<'_, S> {
    /// Rejects a `Some` whose content JSON writes as `null`, because it would decode as `None`.
    fn check_null(&self) -> Result<(), S::Error> {
        if self.is_some && self.inner.is_human_readable() {
            Err(self.check.fail(NOTHING))
        } else {
            Ok(())
        }
    }

    fn check_number(&self, is_finite: bool) -> Result<(), S::Error> {
        if !is_finite && self.inner.is_human_readable() {
            Err(self.check.fail(NO_NUMBER))
        } else {
            Ok(())
        }
    }
}

macro_rules! forward {
    ($($method:ident: $ty:ty;)+) => {$(
        fn $method(self, value: $ty) -> Result<S::Ok, S::Error> {
            self.inner.$method(value)
        }
    )+};
}

impl<'c, S: Serializer> Serializer for Checked<'c, S> {
    type Ok = S::Ok;
    type Error = S::Error;
    type SerializeSeq = Compound<'c, S::SerializeSeq>;
    type SerializeTuple = Compound<'c, S::SerializeTuple>;
    type SerializeTupleStruct = Compound<'c, S::SerializeTupleStruct>;
    type SerializeTupleVariant = Compound<'c, S::SerializeTupleVariant>;
    type SerializeMap = Entries<'c, S::SerializeMap>;
    type SerializeStruct = Compound<'c, S::SerializeStruct>;
    type SerializeStructVariant = Compound<'c, S::SerializeStructVariant>;

    forward! {
        serialize_bool: bool; serialize_i8: i8; serialize_i16: i16; serialize_i32: i32; serialize_i64: i64; serialize_i128: i128;
        serialize_u8: u8; serialize_u16: u16; serialize_u32: u32; serialize_u64: u64; serialize_u128: u128;
        serialize_char: char; serialize_str: &str; serialize_bytes: &[u8];
    }

    fn serialize_f32(self, value: f32) -> Result<S::Ok, S::Error> {
        self.check_number(value.is_finite())?;
        self.inner.serialize_f32(value)
    }

    fn serialize_f64(self, value: f64) -> Result<S::Ok, S::Error> {
        self.check_number(value.is_finite())?;
        self.inner.serialize_f64(value)
    }

    fn serialize_none(self) -> Result<S::Ok, S::Error> {
        self.check_null()?;
        self.inner.serialize_none()
    }

    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<S::Ok, S::Error> {
        self.inner.serialize_some(&Checked { inner: value, check: self.check, is_some: true })
    }

    fn serialize_unit(self) -> Result<S::Ok, S::Error> {
        self.check_null()?;
        self.inner.serialize_unit()
    }

    fn serialize_unit_struct(self, name: &'static str) -> Result<S::Ok, S::Error> {
        self.check_null()?;
        self.inner.serialize_unit_struct(name)
    }

    fn serialize_unit_variant(
        self,
        name: &'static str,
        at: u32,
        variant: &'static str,
    ) -> Result<S::Ok, S::Error> {
        self.inner.serialize_unit_variant(name, at, variant)
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(
        self,
        name: &'static str,
        value: &T,
    ) -> Result<S::Ok, S::Error> {
        let value = Checked { inner: value, check: self.check, is_some: self.is_some };
        self.inner.serialize_newtype_struct(name, &value)
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        name: &'static str,
        at: u32,
        variant: &'static str,
        value: &T,
    ) -> Result<S::Ok, S::Error> {
        let value = self.check.value(value);
        self.inner.serialize_newtype_variant(name, at, variant, &value)
    }

    fn serialize_seq(self, len: Option<usize>) -> Result<Self::SerializeSeq, S::Error> {
        let layout = Layout::of(&self.inner, self.check);
        Ok(Compound::new(self.inner.serialize_seq(len)?, layout, len))
    }

    fn collect_seq<I>(self, elements: I) -> Result<S::Ok, S::Error>
    where
        I: IntoIterator,
        I::Item: Serialize,
    {
        let mut elements = elements.into_iter();
        let length = exact_length(&elements);
        let is_positional = !self.inner.is_human_readable();
        if is_positional && byte_string::is_byte::<I::Item>() && length > Some(FEW) {
            let bytes = byte_string::collect(elements);
            let bytes = bytes.ok_or_else(|| self.check.fail(NO_BYTES))?;
            self.check.count_elements(bytes.len());
            return self.inner.serialize_bytes(&bytes);
        }
        let mut out = self.serialize_seq(length)?;
        elements.try_for_each(|element| out.serialize_element(&element))?;
        out.end()
    }

    fn serialize_tuple(self, len: usize) -> Result<Self::SerializeTuple, S::Error> {
        let layout = Layout::of(&self.inner, self.check);
        Ok(Compound::new(self.inner.serialize_tuple(len)?, layout, Some(len)))
    }

    fn serialize_tuple_struct(
        self,
        name: &'static str,
        len: usize,
    ) -> Result<Self::SerializeTupleStruct, S::Error> {
        let layout = Layout::of(&self.inner, self.check);
        Ok(Compound::new(self.inner.serialize_tuple_struct(name, len)?, layout, Some(len)))
    }

    fn serialize_tuple_variant(
        self,
        name: &'static str,
        at: u32,
        variant: &'static str,
        len: usize,
    ) -> Result<Self::SerializeTupleVariant, S::Error> {
        let layout = Layout::of(&self.inner, self.check);
        Ok(Compound::new(
            self.inner.serialize_tuple_variant(name, at, variant, len)?,
            layout,
            Some(len),
        ))
    }

    fn serialize_map(self, len: Option<usize>) -> Result<Self::SerializeMap, S::Error> {
        let layout = Layout::of(&self.inner, self.check);
        Ok(Entries(Compound::new(self.inner.serialize_map(len)?, layout, len)))
    }

    fn serialize_struct(
        self,
        name: &'static str,
        len: usize,
    ) -> Result<Self::SerializeStruct, S::Error> {
        let layout = Layout::of(&self.inner, self.check);
        Ok(Compound::new(self.inner.serialize_struct(name, len)?, layout, Some(len)))
    }

    fn serialize_struct_variant(
        self,
        name: &'static str,
        at: u32,
        variant: &'static str,
        len: usize,
    ) -> Result<Self::SerializeStructVariant, S::Error> {
        let layout = Layout::of(&self.inner, self.check);
        Ok(Compound::new(
            self.inner.serialize_struct_variant(name, at, variant, len)?,
            layout,
            Some(len),
        ))
    }

    fn collect_str<T: fmt::Display + ?Sized>(self, value: &T) -> Result<S::Ok, S::Error> {
        self.inner.collect_str(value)
    }

    fn is_human_readable(&self) -> bool {
        self.inner.is_human_readable()
    }
}
