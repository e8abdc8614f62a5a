//! serde's access traits under a guard: elements, entries and variants.

use std::marker::PhantomData;

use serde::de::{
    Deserialize, DeserializeSeed, EnumAccess, MapAccess, SeqAccess, VariantAccess, Visitor,
};

use super::{Guarded, Role};
use crate::codec::fault::{Fault, Step};

/// The elements of a sequence or a tuple, or the fields of a struct by position.
pub(super) struct Elements<'g, 'de, A> {
    access: Guarded<'g, 'de, A>,
    read: usize,
}

impl<'g, 'de, A> Elements<'g, 'de, A> {
    pub(super) fn new(access: Guarded<'g, 'de, A>) -> Self {
        Self { access, read: 0 }
    }
}

/// Returns the path step of the element at index `at`.
#[cold]
#[inline(never)]
fn element_step(role: Role, at: usize) -> Step {
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
        let seed = self.access.plain(seed);
        let element = self.access.inner.next_element_seed(seed);
        let element = element.map_err(|error| {
            self.access.guard.fault(error).at(element_step(self.access.role, self.read))
        })?;
        if matches!(self.access.role, Role::Counted) && element.is_some() {
            self.access.guard.charge(size_of::<T::Value>())?;
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
    access: Guarded<'g, 'de, A>,
    name: Option<&'de str>,
}

impl<'g, 'de, A> Entries<'g, 'de, A> {
    pub(super) fn new(access: Guarded<'g, 'de, A>) -> Self {
        Self { access, name: None }
    }

    /// Returns the path step of the current value. Only names that the struct declares appear in
    /// it: other keys are the sender's data.
    #[inline]
    fn step(&self) -> Step {
        let field = match self.access.role {
            Role::Fields(names) => names.iter().find(|name| self.name == Some(**name)),
            _ => None,
        };
        field.map_or(Step::Value, |name| Step::Field(name))
    }
}

impl<'de, A: MapAccess<'de>> MapAccess<'de> for Entries<'_, 'de, A> {
    type Error = Fault;

    #[inline(always)]
    fn next_key_seed<K: DeserializeSeed<'de>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, Fault> {
        let is_counted = matches!(self.access.role, Role::Counted);
        self.access.guard.name.set(None);
        let seed = self.access.with(seed, Role::Key);
        let key = self.access.inner.next_key_seed(seed);
        self.name = self.access.guard.name.take();
        let key = key.map_err(|error| {
            let fault = self.access.guard.fault(error);
            if is_counted { fault.at(Step::Key) } else { fault }
        })?;
        if is_counted && key.is_some() {
            self.access.guard.charge(size_of::<K::Value>())?;
        }
        Ok(key)
    }

    #[inline(always)]
    fn next_value_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<T::Value, Fault> {
        if matches!(self.access.role, Role::Counted) {
            self.access.guard.charge(size_of::<T::Value>())?;
        }
        let seed = self.access.plain(seed);
        let value = self.access.inner.next_value_seed(seed);
        value.map_err(|error| self.access.guard.fault(error).at(self.step()))
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
