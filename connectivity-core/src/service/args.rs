//! The arguments of a method as one serializable value: positional in bincode, named in JSON,
//! without a derive in the user's crate.

use std::fmt;
use std::marker::PhantomData;

use serde::de::{
    self, Deserialize, DeserializeOwned, DeserializeSeed, Deserializer, MapAccess, SeqAccess,
    Visitor,
};
use serde::ser::{Serialize, SerializeStruct, Serializer};

use crate::codec::{Codec, CodecError, Encoded, Whole};
use crate::service::{Method, Parameter};

/// The arguments `T` (a tuple) of the method `M`. `M` supplies their names.
pub struct Args<M, T> {
    inner: T,
    method: PhantomData<fn() -> M>,
}

impl<M, T> Args<M, T> {
    /// Wraps a tuple of arguments.
    pub fn new(inner: T) -> Self {
        Self { inner, method: PhantomData }
    }

    /// Returns the tuple.
    pub fn into_inner(self) -> T {
        self.inner
    }
}

impl<M: Method, T: Fields + FromFields + 'static> Args<M, T> {
    /// Re-encodes arguments from one codec to another, or to JSON if the other codec cannot encode
    /// them. Returns the bytes with the codec that was used.
    pub(crate) fn transcode(bytes: &[u8], from: Codec, to: Codec) -> Result<Encoded, CodecError> {
        to.encode_or_json(&from.decode::<Self>(bytes)?, M::DESC.full_name())
    }
}

impl<M, T> fmt::Debug for Args<M, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Args")
    }
}

impl<M: Method, T: Fields> Serialize for Args<M, T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut out = serializer.serialize_struct("Args", T::COUNT)?;
        self.inner.serialize_fields(M::DESC.arguments(), &mut out)?;
        out.end()
    }
}

impl<'de, M: Method, T: FromFields> Deserialize<'de> for Args<M, T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer
            .deserialize_struct("Args", M::DESC.arguments(), ArgsVisitor::<M, T>(PhantomData))
            .map(Self::new)
    }
}

struct ArgsVisitor<M, T>(PhantomData<fn() -> (M, T)>);

impl<'de, M: Method, T: FromFields> Visitor<'de> for ArgsVisitor<M, T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "an object with the arguments of `{}`", M::DESC.full_name())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, seq: A) -> Result<T, A::Error> {
        T::from_seq(M::DESC.arguments(), seq)
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<T, A::Error> {
        T::from_map(M::DESC.arguments(), map)
    }

    fn visit_unit<E: de::Error>(self) -> Result<T, E> {
        T::from_seq(M::DESC.arguments(), de::value::SeqDeserializer::new(std::iter::empty::<()>()))
    }
}

/// A tuple whose members serialize as named fields.
pub trait Fields {
    #[doc(hidden)]
    const COUNT: usize;
    #[doc(hidden)]
    fn serialize_fields<S: SerializeStruct>(
        &self,
        names: &[&'static str],
        out: &mut S,
    ) -> Result<(), S::Error>;
}

/// A tuple whose members deserialize by position or by name.
pub trait FromFields: Sized {
    #[doc(hidden)]
    fn from_seq<'de, A: SeqAccess<'de>>(
        names: &'static [&'static str],
        seq: A,
    ) -> Result<Self, A::Error>;
    #[doc(hidden)]
    fn from_map<'de, A: MapAccess<'de>>(
        names: &'static [&'static str],
        map: A,
    ) -> Result<Self, A::Error>;
}

/// The arguments of a method: a tuple of up to 12 [`Parameter`]s.
pub trait Arguments: 'static {
    /// The arguments as the caller passes them, some of them borrowed.
    type Given<'a>;
    /// The arguments as the generated dispatch receives them.
    type Owned;
    /// The arguments in a form that can be encoded without a copy.
    type Lent<'a>: Fields;
    /// The arguments as a call carries them.
    type Form: Fields + FromFields + Send + 'static;

    /// Borrows the arguments for encoding, without a copy.
    fn lend(given: Self::Given<'_>) -> Self::Lent<'_>;
    /// Clones borrowed arguments and moves owned ones.
    fn into_form(given: Self::Given<'_>) -> Self::Form;
    /// Converts the arguments for the generated dispatch.
    fn from_form(form: Self::Form) -> Self::Owned;
}

/// The key of one argument in a map: its index, or a name that the method does not have.
enum Field {
    At(usize),
    Unknown(String),
}

/// Deserializes a key into the index of an argument, by the names of the method.
struct FieldSeed(&'static [&'static str]);

impl<'de> DeserializeSeed<'de> for FieldSeed {
    type Value = Field;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Field, D::Error> {
        deserializer.deserialize_identifier(self)
    }
}

impl Visitor<'_> for FieldSeed {
    type Value = Field;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the name of an argument")
    }

    fn visit_str<E: de::Error>(self, key: &str) -> Result<Field, E> {
        let index = self.0.iter().position(|name| *name == key);
        Ok(index.map_or_else(|| Field::Unknown(key.to_owned()), Field::At))
    }
}

/// Skips an unknown argument if it is null: a newer program sends null for a new optional argument
/// that it leaves out. Any other value would be lost, so it is an error.
fn skip_unknown<'de, A: MapAccess<'de>>(
    key: &str,
    names: &'static [&'static str],
    map: &mut A,
) -> Result<(), A::Error> {
    match map.next_value::<Option<de::IgnoredAny>>()? {
        None => Ok(()),
        Some(_) => Err(de::Error::unknown_field(key, names)),
    }
}

/// Returns the value of an absent argument: `None` for an `Option`, otherwise an error with the
/// argument's name.
fn missing<T: DeserializeOwned, E: de::Error>(name: &'static str) -> Result<T, E> {
    T::deserialize(Missing(name, PhantomData))
}

struct Missing<E>(&'static str, PhantomData<E>);

impl<'de, E: de::Error> Deserializer<'de> for Missing<E> {
    type Error = E;

    fn deserialize_any<V: Visitor<'de>>(self, _visitor: V) -> Result<V::Value, E> {
        Err(E::missing_field(self.0))
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, E> {
        visitor.visit_none()
    }

    serde::forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf unit unit_struct
        newtype_struct seq tuple tuple_struct map struct enum identifier ignored_any
    }
}

fn name(names: &[&'static str], at: usize) -> &'static str {
    names.get(at).copied().unwrap_or("?")
}

macro_rules! tuples {
    ($($count:literal: [$($at:tt $T:ident $value:ident),*];)+) => {$(
        impl<$($T: Serialize),*> Fields for ($($T,)*) {
            const COUNT: usize = $count;

            fn serialize_fields<S: SerializeStruct>(&self, names: &[&'static str], out: &mut S) -> Result<(), S::Error> {
                let _ = (names, &out);
                $(out.serialize_field(name(names, $at), &self.$at)?;)*
                Ok(())
            }
        }

        impl<$($T: DeserializeOwned + 'static),*> FromFields for ($($T,)*) {
            fn from_seq<'de, Seq: SeqAccess<'de>>(names: &'static [&'static str], seq: Seq) -> Result<Self, Seq::Error> {
                #[allow(unused_mut, reason = "the tuple without members reads nothing")]
                let mut seq = seq;
                let _ = (names, &seq);
                $(let $value = match seq.next_element()? {
                    Some(Whole(value)) => value,
                    None => missing(name(names, $at))?,
                };)*
                Ok(($($value,)*))
            }

            fn from_map<'de, Map: MapAccess<'de>>(names: &'static [&'static str], mut map: Map) -> Result<Self, Map::Error> {
                $(let mut $value: Option<$T> = None;)*
                while let Some(field) = map.next_key_seed(FieldSeed(names))? {
                    match field {
                        $(Field::At($at) if $value.is_some() => return Err(de::Error::duplicate_field(name(names, $at))),
                        Field::At($at) => $value = Some(map.next_value::<Whole<_>>()?.0),)*
                        Field::At(at) => return Err(de::Error::unknown_field(name(names, at), names)),
                        Field::Unknown(key) => skip_unknown(&key, names, &mut map)?,
                    }
                }
                Ok(($(match $value {
                    Some(value) => value,
                    None => missing(name(names, $at))?,
                },)*))
            }
        }

        #[allow(clippy::unused_unit, reason = "the tuple without members")]
        impl<$($T: Parameter),*> Arguments for ($($T,)*) {
            type Given<'a> = ($($T::Given<'a>,)*);
            type Owned = ($($T::Owned,)*);
            type Lent<'a> = ($($T::Lent<'a>,)*);
            type Form = ($($T::Form,)*);

            fn lend(($($value,)*): Self::Given<'_>) -> Self::Lent<'_> {
                ($($T::lend($value),)*)
            }

            fn into_form(($($value,)*): Self::Given<'_>) -> Self::Form {
                ($($T::into_form($value),)*)
            }

            fn from_form(($($value,)*): Self::Form) -> Self::Owned {
                ($($T::from_form($value),)*)
            }
        }
    )+};
}

tuples! {
    0: [];
    1: [0 A a];
    2: [0 A a, 1 B b];
    3: [0 A a, 1 B b, 2 C c];
    4: [0 A a, 1 B b, 2 C c, 3 D d];
    5: [0 A a, 1 B b, 2 C c, 3 D d, 4 E e];
    6: [0 A a, 1 B b, 2 C c, 3 D d, 4 E e, 5 F f];
    7: [0 A a, 1 B b, 2 C c, 3 D d, 4 E e, 5 F f, 6 G g];
    8: [0 A a, 1 B b, 2 C c, 3 D d, 4 E e, 5 F f, 6 G g, 7 H h];
    9: [0 A a, 1 B b, 2 C c, 3 D d, 4 E e, 5 F f, 6 G g, 7 H h, 8 I i];
    10: [0 A a, 1 B b, 2 C c, 3 D d, 4 E e, 5 F f, 6 G g, 7 H h, 8 I i, 9 J j];
    11: [0 A a, 1 B b, 2 C c, 3 D d, 4 E e, 5 F f, 6 G g, 7 H h, 8 I i, 9 J j, 10 K k];
    12: [0 A a, 1 B b, 2 C c, 3 D d, 4 E e, 5 F f, 6 G g, 7 H h, 8 I i, 9 J j, 10 K k, 11 L l];
}
