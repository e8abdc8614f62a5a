//! What a visitor reads from while a type is walked: elements, entries, fields and variants.

use serde::de::{DeserializeSeed, EnumAccess, MapAccess, SeqAccess, VariantAccess, Visitor};

use super::node::{Id, Member};
use super::tracer::{self, Stop, Tracer};
use super::walk::Key;

/// The elements of a sequence, a tuple, or a struct that is read by position.
pub(super) struct Elements<'w> {
    own: Tracer<'w>,
    places: std::vec::IntoIter<Id>,
    avoidable: bool,
}

impl<'w> Elements<'w> {
    pub(super) fn new(own: Tracer<'w>, places: Vec<Id>, avoidable: bool) -> Self {
        Self { own, places: places.into_iter(), avoidable }
    }

    pub(super) fn none(own: Tracer<'w>) -> Self {
        Self::new(own, Vec::new(), false)
    }
}

impl<'de> SeqAccess<'de> for Elements<'_> {
    type Error = Stop;

    fn next_element_seed<S: DeserializeSeed<'de>>(
        &mut self,
        seed: S,
    ) -> Result<Option<S::Value>, Stop> {
        self.places.next().map(|at| self.own.seed(at, self.avoidable, seed)).transpose()
    }
}

/// The one entry of a map, or none.
pub(super) struct Entries<'w> {
    own: Tracer<'w>,
    places: std::vec::IntoIter<Id>,
}

impl<'w> Entries<'w> {
    pub(super) fn new(own: Tracer<'w>, places: Vec<Id>) -> Self {
        Self { own, places: places.into_iter() }
    }

    pub(super) fn none(own: Tracer<'w>) -> Self {
        Self::new(own, Vec::new())
    }
}

impl<'de> MapAccess<'de> for Entries<'_> {
    type Error = Stop;

    fn next_key_seed<S: DeserializeSeed<'de>>(
        &mut self,
        seed: S,
    ) -> Result<Option<S::Value>, Stop> {
        self.places.next().map(|at| self.own.seed(at, true, seed)).transpose()
    }

    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value, Stop> {
        let at = self.places.next().ok_or(Stop::PLAIN)?;
        self.own.seed(at, true, seed)
    }
}

/// The fields of a struct under their names, so that one that takes no answer can be left out and
/// hides no other.
pub(super) struct NamedFields<'w, 'g> {
    own: Tracer<'w>,
    fields: std::vec::IntoIter<Member>,
    place: Option<Id>,
    given: &'g mut Option<&'static str>,
}

impl<'w, 'g> NamedFields<'w, 'g> {
    /// Notes in `given` which name was read last.
    pub(super) fn new(
        own: Tracer<'w>,
        fields: Vec<Member>,
        given: &'g mut Option<&'static str>,
    ) -> Self {
        Self { own, fields: fields.into_iter(), place: None, given }
    }
}

impl<'de> MapAccess<'de> for NamedFields<'_, '_> {
    type Error = Stop;

    fn next_key_seed<S: DeserializeSeed<'de>>(
        &mut self,
        seed: S,
    ) -> Result<Option<S::Value>, Stop> {
        let Some(Member { name, at }) = self.fields.next() else {
            // A struct without fields takes no name, and is none the worse for it.
            self.given.get_or_insert("");
            return Ok(None);
        };
        *self.given = Some(name);
        self.place = Some(at);
        tracer::name(seed, name).map(Some)
    }

    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value, Stop> {
        let at = self.place.take().ok_or(Stop::PLAIN)?;
        self.own.seed(at, true, seed)
    }
}

/// One variant of an enum.
pub(super) struct Chosen<'w> {
    pub(super) name: &'static str,
    pub(super) place: Tracer<'w>,
}

impl<'de, 'w> EnumAccess<'de> for Chosen<'w> {
    type Error = Stop;
    type Variant = Tracer<'w>;

    fn variant_seed<S: DeserializeSeed<'de>>(
        self,
        seed: S,
    ) -> Result<(S::Value, Tracer<'w>), Stop> {
        Ok((tracer::name(seed, self.name)?, self.place))
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
