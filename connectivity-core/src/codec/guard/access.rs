//! The elements, entries and variants that a guarded visitor reads.

use std::marker::PhantomData;

use serde::de::{
    Deserialize, DeserializeSeed, EnumAccess, MapAccess, SeqAccess, VariantAccess, Visitor,
};

use super::{Guarded, Role};
use crate::codec::fault::{Fault, Step};

/// Elements of a sequence or a tuple, or the fields of a struct by position.
pub(super) struct Elements<'g, 'de, A> {
    of: Guarded<'g, 'de, A>,
    read: usize,
}

impl<'g, 'de, A> Elements<'g, 'de, A> {
    pub(super) fn new(of: Guarded<'g, 'de, A>) -> Self {
        Self { of, read: 0 }
    }
}

/// Where an element is.
#[cold]
#[inline(never)]
fn nth(role: Role, at: usize) -> Step {
    match role {
        Role::Fields(names) => names.get(at).map_or(Step::Element(at), |name| Step::Field(name)),
        _ => Step::Element(at),
    }
}

impl<'de, A: SeqAccess<'de>> SeqAccess<'de> for Elements<'_, 'de, A> {
    type Error = Fault;

    #[inline(always)]
    fn next_element_seed<T: DeserializeSeed<'de>>(
        &mut self,
        seed: T,
    ) -> Result<Option<T::Value>, Fault> {
        let seed = self.of.plain(seed);
        let element = self.of.inner.next_element_seed(seed);
        let element =
            element.map_err(|error| self.of.guard.fault(error).at(nth(self.of.role, self.read)))?;
        if matches!(self.of.role, Role::Counted) && element.is_some() {
            self.of.guard.charge(size_of::<T::Value>())?;
        }
        self.read += 1;
        Ok(element)
    }

    #[inline(always)]
    fn next_element<T: Deserialize<'de>>(&mut self) -> Result<Option<T>, Fault> {
        self.next_element_seed(PhantomData)
    }
}

/// The entries of a map, or the fields of a struct by name.
pub(super) struct Entries<'g, 'de, A> {
    of: Guarded<'g, 'de, A>,
    name: Option<&'de str>,
}

impl<'g, 'de, A> Entries<'g, 'de, A> {
    pub(super) fn new(of: Guarded<'g, 'de, A>) -> Self {
        Self { of, name: None }
    }

    /// Where the value is: the name of its field is told as the struct spells it, and no other is.
    #[inline]
    fn step(&self) -> Step {
        let known = match self.of.role {
            Role::Fields(names) => names.iter().find(|name| self.name == Some(**name)),
            _ => None,
        };
        known.map_or(Step::Value, |name| Step::Field(name))
    }
}

impl<'de, A: MapAccess<'de>> MapAccess<'de> for Entries<'_, 'de, A> {
    type Error = Fault;

    #[inline(always)]
    fn next_key_seed<K: DeserializeSeed<'de>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, Fault> {
        let is_counted = matches!(self.of.role, Role::Counted);
        self.of.guard.name.set(None);
        let seed = self.of.with(seed, Role::Key);
        let key = self.of.inner.next_key_seed(seed);
        self.name = self.of.guard.name.take();
        let key = key.map_err(|error| {
            let fault = self.of.guard.fault(error);
            if is_counted { fault.at(Step::Key) } else { fault }
        })?;
        if is_counted && key.is_some() {
            self.of.guard.charge(size_of::<K::Value>())?;
        }
        Ok(key)
    }

    #[inline(always)]
    fn next_value_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<T::Value, Fault> {
        if matches!(self.of.role, Role::Counted) {
            self.of.guard.charge(size_of::<T::Value>())?;
        }
        let seed = self.of.plain(seed);
        let value = self.of.inner.next_value_seed(seed);
        value.map_err(|error| self.of.guard.fault(error).at(self.step()))
    }
}

impl<'de, 'g, A: EnumAccess<'de>> EnumAccess<'de> for Guarded<'g, 'de, A> {
    type Error = Fault;
    type Variant = Guarded<'g, 'de, A::Variant>;

    #[inline]
    fn variant_seed<T: DeserializeSeed<'de>>(
        self,
        seed: T,
    ) -> Result<(T::Value, Self::Variant), Fault> {
        let seed = self.plain(seed);
        let (value, variant) =
            self.inner.variant_seed(seed).map_err(|error| self.guard.fault(error))?;
        Ok((value, Guarded { inner: variant, guard: self.guard, role: Role::Plain }))
    }
}

impl<'de, A: VariantAccess<'de>> VariantAccess<'de> for Guarded<'_, 'de, A> {
    type Error = Fault;

    #[inline]
    fn unit_variant(self) -> Result<(), Fault> {
        self.inner.unit_variant().map_err(|error| self.guard.fault(error))
    }

    fn newtype_variant_seed<T: DeserializeSeed<'de>>(self, seed: T) -> Result<T::Value, Fault> {
        let seed = self.plain(seed);
        self.inner.newtype_variant_seed(seed).map_err(|error| self.guard.fault(error))
    }

    #[inline]
    fn tuple_variant<V: Visitor<'de>>(self, len: usize, visitor: V) -> Result<V::Value, Fault> {
        let visitor = self.plain(visitor);
        self.inner.tuple_variant(len, visitor).map_err(|error| self.guard.fault(error))
    }

    #[inline]
    fn struct_variant<V: Visitor<'de>>(
        self,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Fault> {
        let visitor = self.with(visitor, Role::Fields(fields));
        self.inner.struct_variant(fields, visitor).map_err(|error| self.guard.fault(error))
    }
}
