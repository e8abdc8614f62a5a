//! A wrapper around the `serde_json` deserializer: it limits memory, rejects numbers that do not
//! fit, and reports the path of a fault without quoting the input.
//!
//! serde drives a decoder through nested deserializers, visitors and accesses. [`Guarded`] wraps
//! each of them, and wraps what they pass on in turn. The decoded types see errors of this crate
//! ([`Fault`]), the decoder sees errors of its own type: the fault is kept in [`Guard`] while an
//! empty decoder error unwinds through the decoder.

mod access;
mod text;

use std::cell::Cell;
use std::fmt;
use std::marker::PhantomData;

use serde::de::{
    self, Deserialize, DeserializeSeed, Deserializer, EnumAccess, MapAccess, SeqAccess, Visitor,
};
use serde_json::value::RawValue;

use super::fault::{self, Fault};
use super::limits::{self, Limits};

/// The remaining limits of one body, and its pending fault.
pub(super) struct Guard<'de> {
    memory: Cell<usize>,
    /// Options that may still be nested. An option of JSON takes no bytes of its own, so a type
    /// that is an option of itself would recurse without end.
    options: Cell<usize>,
    fault: Cell<Option<Fault>>,
    /// The last field or variant name that was read.
    name: Cell<Option<&'de str>>,
}

impl<'de> Guard<'de> {
    /// Creates a guard without a depth limit: `serde_json` has one itself.
    pub(super) fn new(limits: Limits) -> Self {
        let Limits { options, memory, .. } = limits;
        Self {
            memory: Cell::new(memory),
            options: Cell::new(options),
            fault: Cell::default(),
            name: Cell::default(),
        }
    }

    /// Returns a seed that decodes a `T` under this guard.
    #[inline]
    pub(super) fn seed<T>(&self) -> Guarded<'_, 'de, PhantomData<T>> {
        Guarded { inner: PhantomData, guard: self, role: Role::Plain }
    }

    /// Charges an element of `size` bytes to the memory budget.
    #[inline]
    fn charge(&self, size: usize) -> Result<(), Fault> {
        let left = self.memory.get().checked_sub(limits::cost(size));
        self.memory.set(left.ok_or_else(|| Fault::new(fault::TOO_MANY))?);
        Ok(())
    }

    /// Stores a fault and returns an empty decoder error in its place.
    #[cold]
    #[inline(never)]
    fn store<E: de::Error>(&self, fault: Fault) -> E {
        self.fault.set(Some(fault));
        E::custom("")
    }

    /// Takes the stored fault that a decoder error stands for, or converts the decoder error
    /// itself.
    #[cold]
    #[inline(never)]
    // By value, so that the error is dropped here, outside of the hot path.
    pub(super) fn fault<E: fmt::Display>(&self, error: E) -> Fault {
        match self.fault.take() {
            Some(fault) => fault.with_position_of(&error),
            None => Fault::from_decoder(&error),
        }
    }
}

/// A deserializer, visitor, seed or access under a [`Guard`].
pub(super) struct Guarded<'g, 'de, T> {
    inner: T,
    guard: &'g Guard<'de>,
    role: Role,
}

/// The purpose of a visitor or an access.
#[derive(Clone, Copy)]
enum Role {
    Plain,
    /// Elements or entries whose number the sender decides, so each is charged.
    Counted,
    /// The fields of a struct.
    Fields(&'static [&'static str]),
    /// The name of a field or a variant.
    Name,
    /// The key of a map, which JSON writes as a string.
    Key,
}

impl<'g, 'de, T> Guarded<'g, 'de, T> {
    #[inline]
    fn with<U>(&self, inner: U, role: Role) -> Guarded<'g, 'de, U> {
        Guarded { inner, guard: self.guard, role }
    }

    #[inline]
    fn plain<U>(&self, inner: U) -> Guarded<'g, 'de, U> {
        self.with(inner, Role::Plain)
    }
}

impl<'de, T: DeserializeSeed<'de>> DeserializeSeed<'de> for Guarded<'_, 'de, T> {
    type Value = T::Value;

    #[inline]
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<T::Value, D::Error> {
        let deserializer = self.with(deserializer, self.role);
        let guard = self.guard;
        self.inner.deserialize(deserializer).map_err(|fault| guard.store(fault))
    }
}

macro_rules! forward {
    ($($method:ident($($arg:ident: $ty:ty),*) => $inner:ident as $role:expr;)+) => {$(
        #[inline]
        fn $method<V: Visitor<'de>>(self, $($arg: $ty,)* visitor: V) -> Result<V::Value, Fault> {
            let visitor = self.with(visitor, $role);
            self.inner.$inner($($arg,)* visitor).map_err(|error| self.guard.fault(error))
        }
    )+};
}

impl<'de, D: Deserializer<'de>> Deserializer<'de> for Guarded<'_, 'de, D> {
    type Error = Fault;

    forward! {
        deserialize_any() => deserialize_any as Role::Counted;
        deserialize_bool() => deserialize_bool as Role::Plain;
        deserialize_i8() => deserialize_i8 as Role::Plain;
        deserialize_i16() => deserialize_i16 as Role::Plain;
        deserialize_i32() => deserialize_i32 as Role::Plain;
        deserialize_i64() => deserialize_i64 as Role::Plain;
        deserialize_i128() => deserialize_i128 as Role::Plain;
        deserialize_u8() => deserialize_u8 as Role::Plain;
        deserialize_u16() => deserialize_u16 as Role::Plain;
        deserialize_u32() => deserialize_u32 as Role::Plain;
        deserialize_u64() => deserialize_u64 as Role::Plain;
        deserialize_u128() => deserialize_u128 as Role::Plain;
        deserialize_f64() => deserialize_f64 as Role::Plain;
        deserialize_char() => deserialize_char as Role::Plain;
        deserialize_str() => deserialize_str as Role::Plain;
        // Borrowed from the body, not allocated at the length that the sender claims.
        deserialize_string() => deserialize_str as Role::Plain;
        deserialize_bytes() => deserialize_bytes as Role::Counted;
        deserialize_byte_buf() => deserialize_bytes as Role::Counted;
        deserialize_option() => deserialize_option as Role::Plain;
        deserialize_unit() => deserialize_unit as Role::Plain;
        deserialize_unit_struct(name: &'static str) => deserialize_unit_struct as Role::Plain;
        deserialize_newtype_struct(name: &'static str) => deserialize_newtype_struct as Role::Plain;
        deserialize_seq() => deserialize_seq as Role::Counted;
        deserialize_tuple(len: usize) => deserialize_tuple as Role::Plain;
        deserialize_tuple_struct(name: &'static str, len: usize) => deserialize_tuple_struct as Role::Plain;
        deserialize_map() => deserialize_map as Role::Counted;
        deserialize_struct(name: &'static str, fields: &'static [&'static str])
            => deserialize_struct as Role::Fields(fields);
        deserialize_enum(name: &'static str, variants: &'static [&'static str]) => deserialize_enum as Role::Plain;
        deserialize_identifier() => deserialize_identifier as Role::Name;
        deserialize_ignored_any() => deserialize_ignored_any as Role::Plain;
    }

    #[inline]
    fn deserialize_f32<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        if self.inner.is_human_readable() {
            return text::visit(self.text()?, visitor);
        }
        let visitor = self.plain(visitor);
        self.inner.deserialize_f32(visitor).map_err(|error| self.guard.fault(error))
    }

    #[inline]
    fn is_human_readable(&self) -> bool {
        self.inner.is_human_readable()
    }
}

impl<'de, D: Deserializer<'de>> Guarded<'_, 'de, D> {
    /// Returns the raw JSON text of a value; a map key without its quotes.
    fn text(self) -> Result<&'de str, Fault> {
        let text =
            <&RawValue>::deserialize(self.inner).map_err(|error| self.guard.fault(error))?.get();
        Ok(if matches!(self.role, Role::Key) { text.trim_matches('"') } else { text })
    }
}

macro_rules! visit {
    ($($method:ident: $ty:ty;)+) => {$(
        #[inline]
        fn $method<E: de::Error>(self, value: $ty) -> Result<V::Value, E> {
            let guard = self.guard;
            self.inner.$method(value).map_err(|fault| guard.store(fault))
        }
    )+};
}

impl<'de, V: Visitor<'de>> Visitor<'de> for Guarded<'_, 'de, V> {
    type Value = V::Value;

    visit! {
        visit_bool: bool; visit_i8: i8; visit_i16: i16; visit_i32: i32; visit_i64: i64; visit_i128: i128;
        visit_u8: u8; visit_u16: u16; visit_u32: u32; visit_u64: u64; visit_u128: u128; visit_f32: f32; visit_f64: f64;
        visit_char: char; visit_str: &str; visit_string: String;
        visit_bytes: &[u8]; visit_borrowed_bytes: &'de [u8]; visit_byte_buf: Vec<u8>;
    }

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.expecting(f)
    }

    #[inline]
    fn visit_borrowed_str<E: de::Error>(self, value: &'de str) -> Result<V::Value, E> {
        let guard = self.guard;
        if matches!(self.role, Role::Name) {
            guard.name.set(Some(value));
        }
        self.inner.visit_borrowed_str(value).map_err(|fault| guard.store(fault))
    }

    #[inline]
    fn visit_none<E: de::Error>(self) -> Result<V::Value, E> {
        let guard = self.guard;
        self.inner.visit_none().map_err(|fault| guard.store(fault))
    }

    #[inline]
    fn visit_unit<E: de::Error>(self) -> Result<V::Value, E> {
        let guard = self.guard;
        self.inner.visit_unit().map_err(|fault| guard.store(fault))
    }

    #[inline]
    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<V::Value, D::Error> {
        let (guard, deserializer) = (self.guard, self.plain(deserializer));
        let left = guard
            .options
            .get()
            .checked_sub(1)
            .ok_or_else(|| guard.store(Fault::new(fault::TOO_DEEP)))?;
        guard.options.set(left);
        let some = self.inner.visit_some(deserializer).map_err(|fault| guard.store(fault));
        guard.options.set(left + 1);
        some
    }

    #[inline]
    fn visit_newtype_struct<D: Deserializer<'de>>(
        self,
        deserializer: D,
    ) -> Result<V::Value, D::Error> {
        let (guard, deserializer) = (self.guard, self.plain(deserializer));
        self.inner.visit_newtype_struct(deserializer).map_err(|fault| guard.store(fault))
    }

    #[inline]
    fn visit_seq<A: SeqAccess<'de>>(self, seq: A) -> Result<V::Value, A::Error> {
        let (guard, seq) = (self.guard, access::Elements::new(self.with(seq, self.role)));
        self.inner.visit_seq(seq).map_err(|fault| guard.store(fault))
    }

    #[inline]
    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<V::Value, A::Error> {
        let (guard, map) = (self.guard, access::Entries::new(self.with(map, self.role)));
        self.inner.visit_map(map).map_err(|fault| guard.store(fault))
    }

    #[inline]
    fn visit_enum<A: EnumAccess<'de>>(self, data: A) -> Result<V::Value, A::Error> {
        let (guard, data) = (self.guard, self.plain(data));
        self.inner.visit_enum(data).map_err(|fault| guard.store(fault))
    }
}
