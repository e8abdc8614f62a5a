//! A deserializer without data: it notes what a type asks for, and answers something.

use std::any::type_name;
use std::cell::RefCell;
use std::fmt;

use serde::de::{self, DeserializeSeed, Deserializer, IntoDeserializer, Visitor};

use super::access::{Chosen, Elements, Entries, NamedFields};
use super::node::{Id, Kind, Member, Node, SelfDescribing};
use super::walk::{Key, Walk};
use crate::error;

/// Texts, from what everything takes to what common checked types take.
const SAMPLE_TEXTS: &[&str] = &[
    "",
    "a",
    "1",
    "a@a.aa",
    "127.0.0.1",
    "127.0.0.1:1",
    "::1",
    "[::1]:1",
    "2000-01-01T00:00:00Z",
    "2000-01-01",
    "2000-01-01T00:00:00",
    "00:00:00",
    "http://a.aa/",
    "67e55044-10b1-426f-9247-bb680e5fe0c8",
    "1.0.0",
    "AAAA",
    "A",
];

/// Lengths of byte strings: empty, a UUID, keys and hashes, addresses, a time.
const SAMPLE_LENGTHS: &[usize] = &[0, 16, 32, 4, 12, 20, 24, 64, 8];

/// Walks a type from the root until nothing is left to learn; shows the values that its passes
/// make.
pub(super) fn walk<T: de::DeserializeOwned>(
    human_readable: bool,
    mut made: impl FnMut(&T),
) -> Vec<Node> {
    let walk = RefCell::new(Walk::new());
    Walk::run(|| {
        let value = T::deserialize(Tracer { walk: &walk, at: 0, lazy: false, human_readable });
        let changes = walk.borrow_mut().end_pass(value.is_ok());
        if let Ok(value) = &value {
            made(value);
        }
        changes
    });
    walk.into_inner().into_nodes()
}

/// Ends a pass; why is in the [`Walk`], because a type may make an error of its own from this one.
#[derive(Debug)]
pub(super) struct Stop {
    /// The name of a field that came twice.
    pub(super) duplicate: Option<&'static str>,
}

impl Stop {
    pub(super) const PLAIN: Self = Self { duplicate: None };
}

impl fmt::Display for Stop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the type does not take this answer")
    }
}

impl std::error::Error for Stop {}

impl de::Error for Stop {
    fn custom<T: fmt::Display>(_cause: T) -> Self {
        Self::PLAIN
    }

    fn duplicate_field(field: &'static str) -> Self {
        Self { duplicate: Some(field) }
    }
}

/// The deserializer at one place.
#[derive(Clone, Copy)]
pub(super) struct Tracer<'w> {
    pub(super) walk: &'w RefCell<Walk>,
    pub(super) at: Id,
    /// Within a type that contains itself: the shortest value will do.
    pub(super) lazy: bool,
    human_readable: bool,
}

impl Tracer<'_> {
    fn leaf(self, kind: Kind, answers: usize) -> usize {
        self.walk.borrow_mut().leaf(self.at, kind, answers)
    }

    fn scalar<T: Copy, const N: usize>(self, word: &'static str, answers: [T; N]) -> T {
        answers[self.leaf(Kind::Scalar(word), N) % N]
    }

    fn text(self, kind: Kind) -> &'static str {
        SAMPLE_TEXTS[self.leaf(kind, SAMPLE_TEXTS.len()) % SAMPLE_TEXTS.len()]
    }

    fn bytes(self) -> &'static [u8] {
        const ZEROS: &[u8] = &[0; 64];
        let choice = self.leaf(Kind::Scalar("bytes"), SAMPLE_LENGTHS.len());
        &ZEROS[..SAMPLE_LENGTHS[choice % SAMPLE_LENGTHS.len()]]
    }

    /// Runs `visit` inside the type that is used here; it gets the tracer of the type's own place.
    fn within<T>(
        self,
        key: Key,
        make: impl FnOnce(&mut Walk) -> Kind,
        visit: impl FnOnce(Self) -> Result<T, Stop>,
    ) -> Result<T, Stop> {
        let entered = self.walk.borrow_mut().enter(self.at, key, make);
        let (own, within) = entered.ok_or(Stop::PLAIN)?;
        let lazy = self.lazy || within;
        let result = visit(Self { at: own, lazy, ..self });
        self.walk.borrow_mut().leave(own, within, lazy, result.is_ok());
        result
    }

    /// Runs `visit` at a place of this type. With `avoidable` the type can do without that place.
    pub(super) fn child<T>(
        self,
        at: Id,
        avoidable: bool,
        visit: impl FnOnce(Self) -> Result<T, Stop>,
    ) -> Result<T, Stop> {
        let result = visit(Self { at, ..self });
        self.walk.borrow_mut().leave_child(at, result.is_ok(), avoidable && !self.lazy);
        result
    }

    pub(super) fn seed<'de, S: DeserializeSeed<'de>>(
        self,
        at: Id,
        avoidable: bool,
        seed: S,
    ) -> Result<S::Value, Stop> {
        self.child(at, avoidable, |place| seed.deserialize(place))
    }

    fn children(self) -> Vec<Id> {
        self.walk.borrow().children(self.at)
    }

    /// The places of an element, if there is to be one.
    fn element(self) -> Vec<Id> {
        let wanted = self.walk.borrow_mut().wants(self.at, self.lazy);
        if wanted { self.children() } else { Vec::new() }
    }

    pub(super) fn tuple<'de, V: Visitor<'de>>(
        self,
        key: Key,
        len: usize,
        visitor: V,
    ) -> Result<V::Value, Stop> {
        let tuple = |walk: &mut Walk| walk.tuple(len);
        self.within(key, tuple, |own| visitor.visit_seq(Elements::new(own, own.children(), false)))
    }

    pub(super) fn fields<'de, V: Visitor<'de>>(
        self,
        key: Key,
        names: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Stop> {
        let fields = |walk: &mut Walk| walk.fields(names);
        self.within(key, fields, |own| {
            let positional = own.walk.borrow().is_positional(own.at);
            if positional {
                visitor.visit_seq(Elements::new(own, own.children(), false))
            } else {
                own.named(visitor)
            }
        })
    }

    fn named<'de, V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Stop> {
        let fields = self.walk.borrow().taken(self.at);
        let mut given = None;
        let result = visitor.visit_map(NamedFields::new(self, fields, &mut given));
        let Err(stop) = &result else { return result };
        match (given, stop.duplicate) {
            (Some(given), Some(canonical)) => {
                self.walk.borrow_mut().same_field(self.at, given, canonical)
            }
            (None, _) => self.walk.borrow_mut().took_no_name(self.at),
            (Some(_), None) => {}
        }
        result
    }

    fn variant<'de, V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Stop> {
        let picked = self.walk.borrow_mut().pick(self.at, self.lazy);
        let (variant, Member { name, at }) = picked.ok_or(Stop::PLAIN)?;
        let value = self.child(at, true, |place| visitor.visit_enum(Chosen { name, place }))?;
        if !self.lazy {
            self.walk.borrow_mut().made(self.at, variant, at);
        }
        Ok(value)
    }
}

macro_rules! scalars {
    ($($method:ident($word:literal) => $visit:ident($($answer:expr),+);)+) => {$(
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Stop> {
            visitor.$visit(self.scalar($word, [$($answer),+]))
        }
    )+};
}

/// The key of a type by its visitor; the lifetimes in it do not count, and a generic visitor names
/// what it is for.
fn key<V>(asks_for: &'static str, names: &'static [&'static str]) -> Key {
    Key::Type(type_name::<V>(), asks_for, names)
}

impl<'de> Deserializer<'de> for Tracer<'_> {
    type Error = Stop;

    // 1 comes before 0, for the types that are not zero.
    scalars! {
        deserialize_bool("bool") => visit_bool(false, true);
        deserialize_i8("i8") => visit_i8(1, 0);
        deserialize_i16("i16") => visit_i16(1, 0);
        deserialize_i32("i32") => visit_i32(1, 0);
        deserialize_i64("i64") => visit_i64(1, 0);
        deserialize_i128("i128") => visit_i128(1, 0);
        deserialize_u8("u8") => visit_u8(1, 0);
        deserialize_u16("u16") => visit_u16(1, 0);
        deserialize_u32("u32") => visit_u32(1, 0);
        deserialize_u64("u64") => visit_u64(1, 0);
        deserialize_u128("u128") => visit_u128(1, 0);
        deserialize_f32("f32") => visit_f32(1.0, 0.0, 0.5);
        deserialize_f64("f64") => visit_f64(1.0, 0.0, 0.5);
        deserialize_char("char") => visit_char('a', 'A', '1');
    }

    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Stop> {
        visitor.visit_str(self.text(Kind::Scalar("string")))
    }

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Stop> {
        visitor.visit_string(self.text(Kind::Scalar("string")).to_owned())
    }

    fn deserialize_bytes<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Stop> {
        visitor.visit_bytes(self.bytes())
    }

    fn deserialize_byte_buf<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Stop> {
        visitor.visit_byte_buf(self.bytes().to_vec())
    }

    fn deserialize_unit<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Stop> {
        self.leaf(Kind::Scalar("unit"), 1);
        visitor.visit_unit()
    }

    fn deserialize_unit_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        visitor: V,
    ) -> Result<V::Value, Stop> {
        self.deserialize_unit(visitor)
    }

    fn deserialize_identifier<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Stop> {
        visitor.visit_str(self.text(Kind::Identifier))
    }

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Stop> {
        match self.leaf(Kind::Any(SelfDescribing::of(type_name::<V>())), 6) {
            0 => visitor.visit_unit(),
            1 => visitor.visit_str("1"),
            2 => visitor.visit_u64(1),
            3 => visitor.visit_bool(false),
            4 => visitor.visit_map(Entries::none(self)),
            _ => visitor.visit_seq(Elements::none(self)),
        }
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Stop> {
        self.leaf(Kind::Any(SelfDescribing::Other), 1);
        visitor.visit_unit()
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Stop> {
        self.within(key::<V>("option", &[]), Walk::option, |own| match own.element().first() {
            Some(&value) => own.child(value, true, |place| visitor.visit_some(place)),
            None => visitor.visit_none(),
        })
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        visitor: V,
    ) -> Result<V::Value, Stop> {
        self.within(key::<V>("newtype", &[]), Walk::newtype, |own| match own.children().first() {
            Some(&inner) => own.child(inner, false, |place| visitor.visit_newtype_struct(place)),
            None => Err(Stop::PLAIN),
        })
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Stop> {
        self.within(key::<V>("seq", &[]), Walk::seq, |own| {
            visitor.visit_seq(Elements::new(own, own.element(), true))
        })
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Stop> {
        self.within(key::<V>("map", &[]), Walk::map, |own| {
            visitor.visit_map(Entries::new(own, own.element()))
        })
    }

    fn deserialize_tuple<V: Visitor<'de>>(self, len: usize, visitor: V) -> Result<V::Value, Stop> {
        self.tuple(key::<V>("tuple", &[]), len, visitor)
    }

    fn deserialize_tuple_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        len: usize,
        visitor: V,
    ) -> Result<V::Value, Stop> {
        self.deserialize_tuple(len, visitor)
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        names: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Stop> {
        if name == error::WIRE_NAME {
            self.leaf(Kind::Error, 1);
            return visitor.visit_seq(Elements::none(self));
        }
        self.fields(key::<V>("struct", names), names, visitor)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _name: &'static str,
        names: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Stop> {
        let variants = |walk: &mut Walk| walk.variants(names);
        self.within(key::<V>("enum", names), variants, |own| own.variant(visitor))
    }

    fn is_human_readable(&self) -> bool {
        self.human_readable
    }
}

/// Lets a visitor read a name.
pub(super) fn name<'de, S: DeserializeSeed<'de>>(
    seed: S,
    name: &'static str,
) -> Result<S::Value, Stop> {
    seed.deserialize(IntoDeserializer::<Stop>::into_deserializer(name))
}
