//! The result of a walk: a graph of nodes, one for each value that a type requests.

/// The index of a node in the graph.
pub(super) type Id = usize;

/// The kind of a node. A recursive type refers back to an earlier node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// A number, a string, bytes or unit, by the name that [`text`](super::MethodShape::text)
    /// shows.
    Scalar(&'static str),
    /// The error of this crate. It is a single leaf, so that a new kind of error breaks no
    /// contract.
    Error,
    /// A type that is read with `deserialize_any`: the data has to describe itself.
    Any(SelfDescribing),
    /// A map key that is a field name.
    Identifier,
    /// A use of the type at another node.
    Is(Id),
    /// A newtype, which is its content in every wire format.
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

/// Why a type needs self-describing data, guessed from the name of its visitor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SelfDescribing {
    Untagged,
    InternallyTagged,
    JsonValue,
    Other,
}

impl SelfDescribing {
    /// Guesses from the type name of the visitor. The result is only a hint in messages, so a wrong
    /// guess does no harm.
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

/// A node of the graph. Its kind is unknown until a walk reaches it.
#[derive(Clone, Debug, Default)]
pub(super) struct Node {
    pub(super) kind: Option<Kind>,
    /// Alternatives to `kind`: the content of an adjacently tagged enum depends on its tag.
    pub(super) others: Vec<Id>,
}

impl Node {
    /// Returns the child nodes in order, without the alternatives.
    pub(super) fn children(&self) -> Vec<Id> {
        match &self.kind {
            Some(Kind::Is(at) | Kind::Newtype(at) | Kind::Option(at) | Kind::Seq(at)) => vec![*at],
            Some(Kind::Map(key, value)) => vec![*key, *value],
            Some(Kind::Tuple(elements)) => elements.clone(),
            Some(Kind::Struct(members) | Kind::Enum(members)) => {
                members.iter().map(|member| member.at).collect()
            }
            Some(Kind::Scalar(_) | Kind::Error | Kind::Any(_) | Kind::Identifier) | None => {
                Vec::new()
            }
        }
    }

    /// Returns the node that this one refers to, if it is a mere reference or newtype.
    pub(super) fn target(&self) -> Option<Id> {
        match self.kind {
            Some(Kind::Is(at) | Kind::Newtype(at)) if self.others.is_empty() => Some(at),
            _ => None,
        }
    }
}

/// Follows references and newtypes to the node they refer to. A newtype of only itself is a cycle;
/// for it, the result is any node of the cycle.
pub(super) fn resolve(nodes: &[Node], at: Id) -> Id {
    let mut node = at;
    for _ in 0..nodes.len() {
        match nodes[node].target() {
            Some(next) => node = next,
            None => break,
        }
    }
    node
}
