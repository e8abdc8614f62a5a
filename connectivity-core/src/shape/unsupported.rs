//! Finds types that a positional codec cannot represent.

use std::fmt;

use super::node::{Id, Kind, Member, Node, SelfDescribing};

/// A part of a contract that bincode cannot represent, and the reason.
///
/// bincode is not self-describing, so a type that asks the data for its type cannot be decoded from
/// it. Calls of such a method are sent as JSON, if the strategy supports it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unsupported {
    path: String,
    reason: &'static str,
}

impl Unsupported {
    /// Returns the path of the part: `order.note`, `the reply.items[]`.
    #[must_use]
    pub fn path(&self) -> &str {
        &self.path
    }

    /// Returns the probable reason, as far as the shape shows it: an attribute of serde, or a type.
    #[must_use]
    pub fn why(&self) -> &str {
        self.reason
    }
}

impl Unsupported {
    /// Creates the reason for a part of a contract with a type that does not round-trip.
    pub(super) fn asymmetric(part: &'static str) -> Self {
        Self { path: part.to_owned(), reason: ASYMMETRIC }
    }
}

impl fmt::Display for Unsupported {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.path, self.reason)
    }
}

/// Returns the first part that bincode cannot represent, if any.
pub(super) fn find(nodes: &[Node], path: &str) -> Option<Unsupported> {
    Search { nodes, seen: vec![false; nodes.len()] }.node(0, path.to_owned())
}

struct Search<'a> {
    nodes: &'a [Node],
    seen: Vec<bool>,
}

impl Search<'_> {
    fn node(&mut self, at: Id, path: String) -> Option<Unsupported> {
        if std::mem::replace(&mut self.seen[at], true) {
            return None;
        }
        let nodes = self.nodes;
        let node = &nodes[at];
        match &node.kind {
            Some(Kind::Any(kind)) => return Some(Unsupported { path, reason: describe(*kind) }),
            Some(Kind::Map(key, _)) if nodes[*key].kind == Some(Kind::Identifier) => {
                return Some(Unsupported { path, reason: FLATTEN });
            }
            _ => {}
        }
        let children = children_with_paths(node, &path);
        let others = node.others.iter().map(|&other| (other, path.clone()));
        children.into_iter().chain(others).find_map(|(at, path)| self.node(at, path))
    }
}

/// Returns the child nodes of a node with their paths.
fn children_with_paths(node: &Node, path: &str) -> Vec<(Id, String)> {
    let member = |Member { name, at }: &Member| {
        let dot = if path.is_empty() { "" } else { "." };
        (*at, format!("{path}{dot}{name}"))
    };
    match &node.kind {
        Some(Kind::Struct(members) | Kind::Enum(members)) => members.iter().map(member).collect(),
        Some(Kind::Seq(at)) => vec![(*at, format!("{path}[]"))],
        Some(Kind::Map(key, value)) => {
            vec![(*key, format!("{path}{{key}}")), (*value, format!("{path}{{}}"))]
        }
        Some(Kind::Tuple(elements)) => {
            elements.iter().enumerate().map(|(i, &at)| (at, format!("{path}.{i}"))).collect()
        }
        _ => node.children().into_iter().map(|at| (at, path.to_owned())).collect(),
    }
}

const ASYMMETRIC: &str = "a type that is written in another shape than it is read, as `#[serde(skip_serializing_if)]`, `skip`, \
    `skip_serializing`, `skip_deserializing` and `serialize_with` can make it";

const FLATTEN: &str = "a struct with `#[serde(flatten)]`";

fn describe(kind: SelfDescribing) -> &'static str {
    match kind {
        SelfDescribing::Untagged => "an enum with `#[serde(untagged)]`",
        SelfDescribing::InternallyTagged => "an enum with `#[serde(tag = \"..\")]`",
        SelfDescribing::JsonValue => "a value of `serde_json`",
        SelfDescribing::Other => {
            "a type that asks the data what it is (`deserialize_any`), as `#[serde(tag = \"..\", content = \"..\")]` does for some variants"
        }
    }
}
