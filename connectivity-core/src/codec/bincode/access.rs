//! serde's access traits over the decoder: elements, entries and variants.
//!
//! `decoder` and this module use each other: serde's visitors call back into the deserializer.

use std::marker::PhantomData;

use serde::de::{
    Deserialize, DeserializeSeed, EnumAccess, IntoDeserializer, MapAccess, SeqAccess,
    VariantAccess, Visitor,
};

use super::decoder::Decoder;
use crate::codec::fault::{Fault, Step};

/// The elements of a sequence or a tuple, or the fields of a struct.
pub(super) struct Elements<'d, 'de> {
    decoder: &'d mut Decoder<'de>,
    count: usize,
    left: usize,
    /// Whether the elements still have to be charged: the sender claimed their number.
    is_uncharged: bool,
    names: &'static [&'static str],
}

impl<'d, 'de> Elements<'d, 'de> {
    #[inline]
    pub(super) fn counted(decoder: &'d mut Decoder<'de>, count: usize) -> Self {
        Self { decoder, count, left: count, is_uncharged: true, names: &[] }
    }

    #[inline]
    pub(super) fn fixed(
        decoder: &'d mut Decoder<'de>,
        count: usize,
        names: &'static [&'static str],
    ) -> Self {
        Self { decoder, count, left: count, is_uncharged: false, names }
    }
}

/// Adds the element to the path of a fault. It takes its arguments by value, so that the state of
/// the decode loop can stay in registers.
#[cold]
#[inline(never)]
fn within(fault: Fault, at: usize, names: &'static [&'static str]) -> Fault {
    fault.at(names.get(at).map_or(Step::Element(at), |name| Step::Field(name)))
}

impl<'de> SeqAccess<'de> for Elements<'_, 'de> {
    type Error = Fault;

    // Always inlined, like `next_element` below: otherwise the optimizer cannot see through a loop
    // over numbers.
    #[inline(always)]
    fn next_element_seed<T: DeserializeSeed<'de>>(
        &mut self,
        seed: T,
    ) -> Result<Option<T::Value>, Fault> {
        if self.left == 0 {
            return Ok(None);
        }
        // Charge all elements before decoding the first: their number is known.
        if self.is_uncharged {
            self.decoder.charge(self.left, size_of::<T::Value>())?;
            self.is_uncharged = false;
        }
        let at = self.count - self.left;
        self.left -= 1;
        seed.deserialize(&mut *self.decoder)
            .map(Some)
            .map_err(|fault| within(fault, at, self.names))
    }

    #[inline(always)]
    fn next_element<T: Deserialize<'de>>(&mut self) -> Result<Option<T>, Fault> {
        self.next_element_seed(PhantomData)
    }

    #[inline]
    fn size_hint(&self) -> Option<usize> {
        Some(self.left.min(self.decoder.reader.left()))
    }
}

/// The entries of a map.
pub(super) struct Entries<'d, 'de> {
    decoder: &'d mut Decoder<'de>,
    left: usize,
}

impl<'d, 'de> Entries<'d, 'de> {
    #[inline]
    pub(super) fn new(decoder: &'d mut Decoder<'de>, left: usize) -> Self {
        Self { decoder, left }
    }

    #[inline]
    fn read<T: DeserializeSeed<'de>>(&mut self, seed: T, step: Step) -> Result<T::Value, Fault> {
        self.decoder.charge(1, size_of::<T::Value>())?;
        seed.deserialize(&mut *self.decoder).map_err(|fault| fault.at(step))
    }
}

impl<'de> MapAccess<'de> for Entries<'_, 'de> {
    type Error = Fault;

    #[inline]
    fn next_key_seed<K: DeserializeSeed<'de>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, Fault> {
        let Some(left) = self.left.checked_sub(1) else { return Ok(None) };
        self.left = left;
        self.read(seed, Step::Key).map(Some)
    }

    #[inline]
    fn next_value_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<T::Value, Fault> {
        self.read(seed, Step::Value)
    }

    #[inline]
    fn size_hint(&self) -> Option<usize> {
        Some(self.left.min(self.decoder.reader.left()))
    }
}

/// A variant of an enum, identified by its index.
pub(super) struct Variant<'d, 'de>(pub(super) &'d mut Decoder<'de>);

impl<'de> EnumAccess<'de> for Variant<'_, 'de> {
    type Error = Fault;
    type Variant = Self;

    #[inline]
    fn variant_seed<T: DeserializeSeed<'de>>(self, seed: T) -> Result<(T::Value, Self), Fault> {
        let index = self.0.reader.u32()?;
        let variant = seed.deserialize(index.into_deserializer())?;
        Ok((variant, self))
    }
}

impl<'de> VariantAccess<'de> for Variant<'_, 'de> {
    type Error = Fault;

    #[inline]
    fn unit_variant(self) -> Result<(), Fault> {
        Ok(())
    }

    #[inline]
    fn newtype_variant_seed<T: DeserializeSeed<'de>>(self, seed: T) -> Result<T::Value, Fault> {
        seed.deserialize(self.0)
    }

    #[inline]
    fn tuple_variant<V: Visitor<'de>>(self, count: usize, visitor: V) -> Result<V::Value, Fault> {
        self.0.fixed(count, &[], visitor)
    }

    #[inline]
    fn struct_variant<V: Visitor<'de>>(
        self,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Fault> {
        self.0.fixed(fields.len(), fields, visitor)
    }
}
