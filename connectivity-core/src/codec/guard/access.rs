//! The elements, entries and variants that a guarded visitor reads.

use serde::de::{DeserializeSeed, EnumAccess, MapAccess, SeqAccess, VariantAccess, Visitor};

use super::{Guarded, Role};
use crate::codec::fault::{Fault, Step};

/// Elements of a sequence or a tuple, or the fields of a struct by position.
pub(super) struct Elements<'g, 'de, A> {
    of: Guarded<'g, 'de, A>,
    read: usize,
    /// How many of the elements to come are paid for.
    paid: usize,
}

impl<'g, 'de, A> Elements<'g, 'de, A> {
    pub(super) fn new(of: Guarded<'g, 'de, A>) -> Self {
        Self { of, read: 0, paid: 0 }
    }

    fn step(&self) -> Step {
        match self.of.role {
            Role::Fields(names) => names.get(self.read).map_or(Step::Element(self.read), |name| Step::Field(name)),
            _ => Step::Element(self.read),
        }
    }
}

impl<'de, A: SeqAccess<'de>> Elements<'_, 'de, A> {
    /// Pays for elements whose number the sender has told, before there is one of them.
    fn pay_ahead<T>(&mut self) -> Result<(), Fault> {
        if self.paid == 0 {
            self.paid = self.of.inner.size_hint().unwrap_or(0);
            self.of.guard.charge(self.paid, size_of::<T>())?;
        }
        Ok(())
    }

    /// Pays for an element that has come, unless that is done.
    fn pay<T>(&mut self) -> Result<(), Fault> {
        match self.paid.checked_sub(1) {
            Some(left) => self.paid = left,
            None => self.of.guard.charge(1, size_of::<T>())?,
        }
        Ok(())
    }
}

impl<'de, A: SeqAccess<'de>> SeqAccess<'de> for Elements<'_, 'de, A> {
    type Error = Fault;

    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, Fault> {
        let is_counted = matches!(self.of.role, Role::Counted);
        if is_counted {
            self.pay_ahead::<T::Value>()?;
        }
        let seed = self.of.plain(seed);
        let element = self.of.inner.next_element_seed(seed);
        let element = element.map_err(|error| self.of.guard.fault(error).at(self.step()))?;
        if is_counted && element.is_some() {
            self.pay::<T::Value>()?;
        }
        self.read += 1;
        Ok(element)
    }

    fn size_hint(&self) -> Option<usize> {
        self.of.inner.size_hint().map(|hint| hint.min(self.of.guard.length))
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

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, Fault> {
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
            self.of.guard.charge(1, size_of::<K::Value>())?;
        }
        Ok(key)
    }

    fn next_value_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<T::Value, Fault> {
        if matches!(self.of.role, Role::Counted) {
            self.of.guard.charge(1, size_of::<T::Value>())?;
        }
        let seed = self.of.plain(seed);
        let value = self.of.inner.next_value_seed(seed);
        value.map_err(|error| self.of.guard.fault(error).at(self.step()))
    }

    fn size_hint(&self) -> Option<usize> {
        self.of.inner.size_hint().map(|hint| hint.min(self.of.guard.length))
    }
}

impl<'de, 'g, A: EnumAccess<'de>> EnumAccess<'de> for Guarded<'g, 'de, A> {
    type Error = Fault;
    type Variant = Guarded<'g, 'de, A::Variant>;

    fn variant_seed<T: DeserializeSeed<'de>>(self, seed: T) -> Result<(T::Value, Self::Variant), Fault> {
        let seed = self.plain(seed);
        let (value, variant) = self.inner.variant_seed(seed).map_err(|error| self.guard.fault(error))?;
        Ok((value, Guarded { inner: variant, guard: self.guard, role: Role::Plain }))
    }
}

impl<'de, A: VariantAccess<'de>> VariantAccess<'de> for Guarded<'_, 'de, A> {
    type Error = Fault;

    fn unit_variant(self) -> Result<(), Fault> {
        self.inner.unit_variant().map_err(|error| self.guard.fault(error))
    }

    fn newtype_variant_seed<T: DeserializeSeed<'de>>(self, seed: T) -> Result<T::Value, Fault> {
        let seed = self.plain(seed);
        self.inner.newtype_variant_seed(seed).map_err(|error| self.guard.fault(error))
    }

    fn tuple_variant<V: Visitor<'de>>(self, len: usize, visitor: V) -> Result<V::Value, Fault> {
        let visitor = self.plain(visitor);
        self.inner.tuple_variant(len, visitor).map_err(|error| self.guard.fault(error))
    }

    fn struct_variant<V: Visitor<'de>>(self, fields: &'static [&'static str], visitor: V) -> Result<V::Value, Fault> {
        let visitor = self.with(visitor, Role::Fields(fields));
        self.inner.struct_variant(fields, visitor).map_err(|error| self.guard.fault(error))
    }
}
