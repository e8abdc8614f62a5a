//! serde's access traits during a walk: elements, entries, fields and variants.
//!
//! `tracer` and this module use each other: serde's visitors call back into the deserializer.

use serde::de::{DeserializeSeed, EnumAccess, MapAccess, SeqAccess, VariantAccess, Visitor};

use super::node::{Id, Member};
use super::tracer::{self, Stop, Tracer};
use super::walk::Key;

/// The elements of a sequence or a tuple, or the fields of a struct by position.
pub(super) struct Elements<'w> {
    parent: Tracer<'w>,
    nodes: std::vec::IntoIter<Id>,
    skippable: bool,
}

impl<'w> Elements<'w> {
    pub(super) fn new(parent: Tracer<'w>, nodes: Vec<Id>, skippable: bool) -> Self {
        Self { parent, nodes: nodes.into_iter(), skippable }
    }

    pub(super) fn none(parent: Tracer<'w>) -> Self {
        Self::new(parent, Vec::new(), false)
    }
}

impl<'de> SeqAccess<'de> for Elements<'_> {
    type Error = Stop;

    fn next_element_seed<S: DeserializeSeed<'de>>(
        &mut self,
        seed: S,
    ) -> Result<Option<S::Value>, Stop> {
        self.nodes.next().map(|at| self.parent.seed(at, self.skippable, seed)).transpose()
    }
}

/// The entries of a map: one or none.
pub(super) struct Entries<'w> {
    parent: Tracer<'w>,
    nodes: std::vec::IntoIter<Id>,
}

impl<'w> Entries<'w> {
    pub(super) fn new(parent: Tracer<'w>, nodes: Vec<Id>) -> Self {
        Self { parent, nodes: nodes.into_iter() }
    }

    pub(super) fn none(parent: Tracer<'w>) -> Self {
        Self::new(parent, Vec::new())
    }
}

impl<'de> MapAccess<'de> for Entries<'_> {
    type Error = Stop;

    fn next_key_seed<S: DeserializeSeed<'de>>(
        &mut self,
        seed: S,
    ) -> Result<Option<S::Value>, Stop> {
        self.nodes.next().map(|at| self.parent.seed(at, true, seed)).transpose()
    }

    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value, Stop> {
        let at = self.nodes.next().ok_or(Stop::PLAIN)?;
        self.parent.seed(at, true, seed)
    }
}

/// The fields of a struct by name. A field that rejects all samples can be left out, so that it
/// does not hide the others.
pub(super) struct NamedFields<'w, 'g> {
    parent: Tracer<'w>,
    fields: std::vec::IntoIter<Member>,
    current: Option<Id>,
    last_name: &'g mut Option<&'static str>,
}

impl<'w, 'g> NamedFields<'w, 'g> {
    /// Stores the name that was read last in `last_name`.
    pub(super) fn new(
        parent: Tracer<'w>,
        fields: Vec<Member>,
        last_name: &'g mut Option<&'static str>,
    ) -> Self {
        Self { parent, fields: fields.into_iter(), current: None, last_name }
    }
}

impl<'de> MapAccess<'de> for NamedFields<'_, '_> {
    type Error = Stop;

    fn next_key_seed<S: DeserializeSeed<'de>>(
        &mut self,
        seed: S,
    ) -> Result<Option<S::Value>, Stop> {
        let Some(Member { name, at }) = self.fields.next() else {
            // A struct without fields reads no names; it must not be switched to positional.
            self.last_name.get_or_insert("");
            return Ok(None);
        };
        *self.last_name = Some(name);
        self.current = Some(at);
        tracer::name(seed, name).map(Some)
    }

    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value, Stop> {
        let at = self.current.take().ok_or(Stop::PLAIN)?;
        self.parent.seed(at, true, seed)
    }
}

/// The picked variant of an enum.
pub(super) struct Chosen<'w> {
    pub(super) name: &'static str,
    pub(super) content: Tracer<'w>,
}

impl<'de, 'w> EnumAccess<'de> for Chosen<'w> {
    type Error = Stop;
    type Variant = Tracer<'w>;

    fn variant_seed<S: DeserializeSeed<'de>>(
        self,
        seed: S,
    ) -> Result<(S::Value, Tracer<'w>), Stop> {
        Ok((tracer::name(seed, self.name)?, self.content))
    }
}

impl<'de> VariantAccess<'de> for Tracer<'_> {
    type Error = Stop;

    fn unit_variant(self) -> Result<(), Stop> {
        serde::Deserialize::deserialize(self)
    }

    fn newtype_variant_seed<S: DeserializeSeed<'de>>(self, seed: S) -> Result<S::Value, Stop> {
        seed.deserialize(self)
    }

    fn tuple_variant<V: Visitor<'de>>(self, len: usize, visitor: V) -> Result<V::Value, Stop> {
        self.tuple(Key::Content(self.at), len, visitor)
    }

    fn struct_variant<V: Visitor<'de>>(
        self,
        names: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Stop> {
        self.fields(Key::Content(self.at), names, visitor)
    }
}
