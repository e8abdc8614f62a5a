//! A deserializer without input: it records what a type requests, and returns sample values.

use std::any::type_name;
use std::cell::RefCell;
use std::fmt;

use serde::de::{self, DeserializeSeed, Deserializer, IntoDeserializer, Visitor};

use super::access::{Chosen, Elements, Entries, NamedFields};
use super::node::{Id, Kind, Member, Node, SelfDescribing};
use super::walk::{Key, Walk};
use crate::error;

/// Sample strings, from those that every type accepts to those that common validated types accept.
/// Types that validate reject most samples, so there are several.
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

/// Lengths of the sample byte strings: empty, a UUID, keys and hashes, addresses, a timestamp.
const SAMPLE_LENGTHS: &[usize] = &[0, 16, 32, 4, 12, 20, 24, 64, 8];

/// Walks a type from the root until there is nothing left to learn. Passes each value that a pass
/// produces to `observe`.
pub(super) fn walk<T: de::DeserializeOwned>(
    human_readable: bool,
    mut observe: impl FnMut(&T),
) -> Vec<Node> {
    let walk = RefCell::new(Walk::new());
    Walk::run(|| {
        let value = T::deserialize(Tracer { walk: &walk, at: 0, minimal: false, human_readable });
        let discoveries = walk.borrow_mut().end_pass(value.is_ok());
        if let Ok(value) = &value {
            observe(value);
        }
        discoveries
    });
    walk.into_inner().into_nodes()
}

/// The error that ends a pass. The reason is kept in [`Walk`], because a type may replace this
/// error by its own.
#[derive(Debug)]
pub(super) struct Stop {
    /// The name of a duplicate field.
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

/// The deserializer at one node.
#[derive(Clone, Copy)]
pub(super) struct Tracer<'w> {
    pub(super) walk: &'w RefCell<Walk>,
    pub(super) at: Id,
    /// Whether to produce the shortest value: the pass is inside a type that contains itself.
    pub(super) minimal: bool,
    human_readable: bool,
}

impl Tracer<'_> {
    fn leaf(self, kind: Kind, samples: usize) -> usize {
        self.walk.borrow_mut().leaf(self.at, kind, samples)
    }

    fn scalar<T: Copy, const N: usize>(self, word: &'static str, samples: [T; N]) -> T {
        samples[self.leaf(Kind::Scalar(word), N) % N]
    }

    fn text(self, kind: Kind) -> &'static str {
        SAMPLE_TEXTS[self.leaf(kind, SAMPLE_TEXTS.len()) % SAMPLE_TEXTS.len()]
    }

    fn bytes(self) -> &'static [u8] {
        const ZEROS: &[u8] = &[0; 64];
        let choice = self.leaf(Kind::Scalar("bytes"), SAMPLE_LENGTHS.len());
        &ZEROS[..SAMPLE_LENGTHS[choice % SAMPLE_LENGTHS.len()]]
    }

    /// Runs `visit` inside the type used at this node. `visit` receives a tracer at the node of the
    /// type itself.
    fn enter_type<T>(
        self,
        key: Key,
        make: impl FnOnce(&mut Walk) -> Kind,
        visit: impl FnOnce(Self) -> Result<T, Stop>,
    ) -> Result<T, Stop> {
        let entered = self.walk.borrow_mut().enter(self.at, key, make);
        let (type_id, was_active) = entered.ok_or(Stop::PLAIN)?;
        let minimal = self.minimal || was_active;
        let result = visit(Self { at: type_id, minimal, ..self });
        self.walk.borrow_mut().leave(type_id, was_active, minimal, result.is_ok());
        result
    }

    /// Runs `visit` at a child node of this type. `skippable` says whether the type can do without
    /// it.
    pub(super) fn child<T>(
        self,
        at: Id,
        skippable: bool,
        visit: impl FnOnce(Self) -> Result<T, Stop>,
    ) -> Result<T, Stop> {
        let result = visit(Self { at, ..self });
        self.walk.borrow_mut().leave_child(at, result.is_ok(), skippable && !self.minimal);
        result
    }

    pub(super) fn seed<'de, S: DeserializeSeed<'de>>(
        self,
        at: Id,
        skippable: bool,
        seed: S,
    ) -> Result<S::Value, Stop> {
        self.child(at, skippable, |child| seed.deserialize(child))
    }

    fn children(self) -> Vec<Id> {
        self.walk.borrow().children(self.at)
    }

    /// Returns the nodes of an element, or none if this pass produces no element.
    fn element(self) -> Vec<Id> {
        let fill = self.walk.borrow_mut().should_fill(self.at, self.minimal);
        if fill { self.children() } else { Vec::new() }
    }

    pub(super) fn tuple<'de, V: Visitor<'de>>(
        self,
        key: Key,
        len: usize,
        visitor: V,
    ) -> Result<V::Value, Stop> {
        let tuple = |walk: &mut Walk| walk.tuple(len);
        self.enter_type(key, tuple, |tracer| {
            visitor.visit_seq(Elements::new(tracer, tracer.children(), false))
        })
    }

    pub(super) fn fields<'de, V: Visitor<'de>>(
        self,
        key: Key,
        names: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Stop> {
        let fields = |walk: &mut Walk| walk.fields(names);
        self.enter_type(key, fields, |tracer| {
            let positional = tracer.walk.borrow().is_positional(tracer.at);
            if positional {
                visitor.visit_seq(Elements::new(tracer, tracer.children(), false))
            } else {
                tracer.named(visitor)
            }
        })
    }

    fn named<'de, V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Stop> {
        let fields = self.walk.borrow().usable_fields(self.at);
        let mut last_name = None;
        let result = visitor.visit_map(NamedFields::new(self, fields, &mut last_name));
        let Err(stop) = &result else { return result };
        match (last_name, stop.duplicate) {
            (Some(given), Some(canonical)) => {
                self.walk.borrow_mut().remove_alias(self.at, given, canonical)
            }
            (None, _) => self.walk.borrow_mut().switch_to_positional(self.at),
            (Some(_), None) => {}
        }
        result
    }

    fn variant<'de, V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Stop> {
        let picked = self.walk.borrow_mut().pick_variant(self.at, self.minimal);
        let (variant, Member { name, at }) = picked.ok_or(Stop::PLAIN)?;
        let value = self.child(at, true, |content| visitor.visit_enum(Chosen { name, content }))?;
        if !self.minimal {
            self.walk.borrow_mut().record_variant(self.at, variant, at);
        }
        Ok(value)
    }
}

macro_rules! scalars {
    ($($method:ident($word:literal) => $visit:ident($($sample:expr),+);)+) => {$(
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Stop> {
            visitor.$visit(self.scalar($word, [$($sample),+]))
        }
    )+};
}

/// Returns the key of a type by its visitor. Lifetimes are not part of it; the type parameters of a
/// generic visitor are.
fn key<V>(request: &'static str, names: &'static [&'static str]) -> Key {
    Key::Type(type_name::<V>(), request, names)
}

impl<'de> Deserializer<'de> for Tracer<'_> {
    type Error = Stop;

    // 1 comes before 0 for the sake of non-zero types.
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
        self.enter_type(key::<V>("option", &[]), Walk::option, |tracer| {
            match tracer.element().first() {
                Some(&value) => tracer.child(value, true, |child| visitor.visit_some(child)),
                None => visitor.visit_none(),
            }
        })
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        visitor: V,
    ) -> Result<V::Value, Stop> {
        self.enter_type(key::<V>("newtype", &[]), Walk::newtype, |tracer| {
            match tracer.children().first() {
                Some(&inner) => {
                    tracer.child(inner, false, |child| visitor.visit_newtype_struct(child))
                }
                None => Err(Stop::PLAIN),
            }
        })
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Stop> {
        self.enter_type(key::<V>("seq", &[]), Walk::seq, |tracer| {
            visitor.visit_seq(Elements::new(tracer, tracer.element(), true))
        })
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Stop> {
        self.enter_type(key::<V>("map", &[]), Walk::map, |tracer| {
            visitor.visit_map(Entries::new(tracer, tracer.element()))
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
        self.enter_type(key::<V>("enum", names), variants, |tracer| tracer.variant(visitor))
    }

    fn is_human_readable(&self) -> bool {
        self.human_readable
    }
}

/// Deserializes a field or variant name with `seed`.
pub(super) fn name<'de, S: DeserializeSeed<'de>>(
    seed: S,
    name: &'static str,
) -> Result<S::Value, Stop> {
    seed.deserialize(IntoDeserializer::<Stop>::into_deserializer(name))
}
