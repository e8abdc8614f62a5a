//! Checks that compound values write as many parts as they announced.

use serde::ser::{
    Error, Serialize, SerializeMap, SerializeSeq, SerializeStruct, SerializeStructVariant,
    SerializeTuple, SerializeTupleStruct, SerializeTupleVariant, Serializer,
};

use super::Check;

const SKIPPED: &str = "a field that is left out, as by `#[serde(skip_serializing_if)]`";
const MISCOUNTED: &str = "a `Serialize` that announces another number of values than it writes";

/// How the parts of a compound value are encoded.
#[derive(Clone, Copy)]
pub(in crate::codec) struct Layout<'c> {
    check: &'c Check,
    /// Whether parts are identified by position only, so that a missing part shifts the others.
    is_positional: bool,
}

impl<'c> Layout<'c> {
    pub(super) fn of<S: Serializer>(serializer: &S, check: &'c Check) -> Self {
        Self { check, is_positional: !serializer.is_human_readable() }
    }
}

/// Wraps serde's serializer for a value with several parts.
pub(in crate::codec) struct Compound<'c, S> {
    inner: S,
    layout: Layout<'c>,
    /// Parts still to be written; `None` where they are not counted.
    left: Option<usize>,
}

impl<'c, S> Compound<'c, S> {
    pub(super) fn new(inner: S, layout: Layout<'c>, announced: Option<usize>) -> Self {
        Self { inner, layout, left: announced.filter(|_| layout.is_positional) }
    }

    fn count<E: Error>(&mut self) -> Result<(), E> {
        if let Some(left) = &mut self.left {
            *left = left.checked_sub(1).ok_or_else(|| self.layout.check.fail(MISCOUNTED))?;
        }
        Ok(())
    }

    fn check_complete<E: Error>(&self) -> Result<(), E> {
        if self.left.is_some_and(|left| left > 0) {
            Err(self.layout.check.fail(MISCOUNTED))
        } else {
            Ok(())
        }
    }

    fn skip<E: Error>(&self, key: &'static str) -> Result<(), E> {
        if self.layout.is_positional {
            self.layout.check.field.set(Some(key));
            return Err(self.layout.check.fail(SKIPPED));
        }
        Ok(())
    }
}

impl<S: SerializeSeq> SerializeSeq for Compound<'_, S> {
    type Ok = S::Ok;
    type Error = S::Error;

    fn serialize_element<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), S::Error> {
        self.count()?;
        self.layout.check.count_elements(1);
        self.inner.serialize_element(&self.layout.check.value(value))
    }

    fn end(self) -> Result<S::Ok, S::Error> {
        self.check_complete()?;
        self.inner.end()
    }
}

macro_rules! tuples {
    ($($trait:ident, $method:ident;)+) => {$(
        impl<S: $trait> $trait for Compound<'_, S> {
            type Ok = S::Ok;
            type Error = S::Error;

            fn $method<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), S::Error> {
                self.count()?;
                self.inner.$method(&self.layout.check.value(value))
            }

            fn end(self) -> Result<S::Ok, S::Error> {
                self.check_complete()?;
                self.inner.end()
            }
        }
    )+};
}

tuples! {
    SerializeTuple, serialize_element;
    SerializeTupleStruct, serialize_field;
    SerializeTupleVariant, serialize_field;
}

macro_rules! structs {
    ($($trait:ident;)+) => {$(
        impl<S: $trait> $trait for Compound<'_, S> {
            type Ok = S::Ok;
            type Error = S::Error;

            fn serialize_field<T: Serialize + ?Sized>(&mut self, key: &'static str, value: &T) -> Result<(), S::Error> {
                self.count()?;
                self.inner.serialize_field(key, &self.layout.check.value(value))
            }

            fn skip_field(&mut self, key: &'static str) -> Result<(), S::Error> {
                self.skip(key)?;
                self.inner.skip_field(key)
            }

            fn end(self) -> Result<S::Ok, S::Error> {
                self.check_complete()?;
                self.inner.end()
            }
        }
    )+};
}

structs! {
    SerializeStruct;
    SerializeStructVariant;
}

/// Wraps serde's serializer for a map; its keys are counted as parts.
pub(in crate::codec) struct Entries<'c, S>(pub(super) Compound<'c, S>);

impl<S: SerializeMap> SerializeMap for Entries<'_, S> {
    type Ok = S::Ok;
    type Error = S::Error;

    fn serialize_key<T: Serialize + ?Sized>(&mut self, key: &T) -> Result<(), S::Error> {
        self.0.count()?;
        self.0.layout.check.count_elements(1);
        self.0.inner.serialize_key(&self.0.layout.check.value(key))
    }

    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), S::Error> {
        self.0.layout.check.count_elements(1);
        self.0.inner.serialize_value(&self.0.layout.check.value(value))
    }

    fn end(self) -> Result<S::Ok, S::Error> {
        self.0.check_complete()?;
        self.0.inner.end()
    }
}
