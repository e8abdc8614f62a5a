//! What a walk has found: a graph of places, each with what a type asks for there.

/// The number of a place in the graph.
pub(super) type Id = usize;

/// What stands at a place. A type that contains itself leads back to a place before it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// A number, a text, bytes or nothing, by the word that [`text`](super::MethodShape::text)
    /// shows.
    Scalar(&'static str),
    /// The error of this crate: one leaf, so that a new kind of error breaks no contract.
    Error,
    /// The type asks the data what it is.
    Any(SelfDescribing),
    /// The key of a map that is a field's name.
    Identifier,
    /// A use of the type that stands elsewhere in the graph.
    Is(Id),
    /// A newtype: what it wraps, on every wire.
    Newtype(Id),
    Option(Id),
    Seq(Id),
    Map(Id, Id),
    Tuple(Vec<Id>),
    Struct(Vec<Member>),
    Enum(Vec<Member>),
}

/// A field or a variant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Member {
    pub(super) name: &'static str,
    pub(super) at: Id,
}

/// Why a type asks the data what it is, as far as the name of its visitor tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SelfDescribing {
    Untagged,
    InternallyTagged,
    JsonValue,
    Other,
}

impl SelfDescribing {
    /// Guesses by the visitor's type name. It is a hint for people only, so a guess that goes wrong
    /// does no harm.
    pub(super) fn of(visitor: &str) -> Self {
        if visitor.contains("TaggedContentVisitor") {
            Self::InternallyTagged
        } else if visitor.contains("ContentVisitor") {
            Self::Untagged
        } else if visitor.contains("serde_json") {
            Self::JsonValue
        } else {
            Self::Other
        }
    }
}

/// A place; nothing is known of it until a walk came by.
#[derive(Clone, Debug, Default)]
pub(super) struct Node {
    pub(super) kind: Option<Kind>,
    /// What else can stand here: the content of an adjacently tagged enum depends on its tag.
    pub(super) others: Vec<Id>,
}

impl Node {
    /// The places within this one, in order, without the alternatives.
    pub(super) fn children(&self) -> Vec<Id> {
        match &self.kind {
            Some(Kind::Is(at) | Kind::Newtype(at) | Kind::Option(at) | Kind::Seq(at)) => vec![*at],
            Some(Kind::Map(key, value)) => vec![*key, *value],
            Some(Kind::Tuple(places)) => places.clone(),
            Some(Kind::Struct(members) | Kind::Enum(members)) => {
                members.iter().map(|member| member.at).collect()
            }
            Some(Kind::Scalar(_) | Kind::Error | Kind::Any(_) | Kind::Identifier) | None => {
                Vec::new()
            }
        }
    }

    /// The place that says what this one is, for a place that only points on.
    pub(super) fn points_to(&self) -> Option<Id> {
        match self.kind {
            Some(Kind::Is(at) | Kind::Newtype(at)) if self.others.is_empty() => Some(at),
            _ => None,
        }
    }
}

/// Follows places that only point on. A newtype of nothing but itself points in a circle; it ends
/// wherever it is by then.
pub(super) fn resolve(nodes: &[Node], at: Id) -> Id {
    let mut place = at;
    for _ in 0..nodes.len() {
        match nodes[place].points_to() {
            Some(next) => place = next,
            None => break,
        }
    }
    place
}
