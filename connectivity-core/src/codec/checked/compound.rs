//! What consists of several values: that there are as many as was said.

use serde::ser::{
    Error, Serialize, SerializeMap, SerializeSeq, SerializeStruct, SerializeStructVariant,
    SerializeTuple, SerializeTupleStruct, SerializeTupleVariant, Serializer,
};

use super::Check;

const SKIPPED: &str = "a field that is left out, as by `#[serde(skip_serializing_if)]`";
const MISCOUNTED: &str = "a `Serialize` that announces another number of values than it writes";

/// How the parts of a value are written.
#[derive(Clone, Copy)]
pub(in crate::codec) struct Writing<'c> {
    check: &'c Check,
    /// By position, so that a part that is missing moves the others.
    is_positional: bool,
}

impl<'c> Writing<'c> {
    pub(super) fn of<S: Serializer>(serializer: &S, check: &'c Check) -> Self {
        Self { check, is_positional: !serializer.is_human_readable() }
    }
}

/// A value with several parts.
pub(in crate::codec) struct Compound<'c, S> {
    inner: S,
    way: Writing<'c>,
    /// How many parts are still to come, where they are counted.
    left: Option<usize>,
}

impl<'c, S> Compound<'c, S> {
    pub(super) fn new(inner: S, way: Writing<'c>, announced: Option<usize>) -> Self {
        Self { inner, way, left: announced.filter(|_| way.is_positional) }
    }

    fn count<E: Error>(&mut self) -> Result<(), E> {
        if let Some(left) = &mut self.left {
            *left = left.checked_sub(1).ok_or_else(|| self.way.check.fail(MISCOUNTED))?;
        }
        Ok(())
    }

    /// Counts an element, which the reader charges for.
    fn element(&self) {
        let elements = &self.way.check.elements;
        elements.set(elements.get() + 1);
    }

    fn ended<E: Error>(&self) -> Result<(), E> {
        if self.left.is_some_and(|left| left > 0) {
            Err(self.way.check.fail(MISCOUNTED))
        } else {
            Ok(())
        }
    }

    fn skip<E: Error>(&self, key: &'static str) -> Result<(), E> {
        if self.way.is_positional {
            self.way.check.field.set(Some(key));
            return Err(self.way.check.fail(SKIPPED));
        }
        Ok(())
    }
}

impl<S: SerializeSeq> SerializeSeq for Compound<'_, S> {
    type Ok = S::Ok;
    type Error = S::Error;

    fn serialize_element<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), S::Error> {
        self.count()?;
        self.element();
        self.inner.serialize_element(&self.way.check.value(value))
    }

    fn end(self) -> Result<S::Ok, S::Error> {
        self.ended()?;
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
                self.inner.$method(&self.way.check.value(value))
            }

            fn end(self) -> Result<S::Ok, S::Error> {
                self.ended()?;
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
                self.inner.serialize_field(key, &self.way.check.value(value))
            }

            fn skip_field(&mut self, key: &'static str) -> Result<(), S::Error> {
                self.skip(key)?;
                self.inner.skip_field(key)
            }

            fn end(self) -> Result<S::Ok, S::Error> {
                self.ended()?;
                self.inner.end()
            }
        }
    )+};
}

structs! {
    SerializeStruct;
    SerializeStructVariant;
}

/// A map, which counts its keys.
pub(in crate::codec) struct Entries<'c, S>(pub(super) Compound<'c, S>);

impl<S: SerializeMap> SerializeMap for Entries<'_, S> {
    type Ok = S::Ok;
    type Error = S::Error;

    fn serialize_key<T: Serialize + ?Sized>(&mut self, key: &T) -> Result<(), S::Error> {
        self.0.count()?;
        self.0.element();
        self.0.inner.serialize_key(&self.0.way.check.value(key))
    }

    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), S::Error> {
        self.0.element();
        self.0.inner.serialize_value(&self.0.way.check.value(value))
    }

    fn end(self) -> Result<S::Ok, S::Error> {
        self.0.ended()?;
        self.0.inner.end()
    }
}
