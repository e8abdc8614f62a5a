//! Finding what a positional codec cannot carry.

use std::fmt;

use super::node::{Id, Kind, Member, Node, SelfDescribing};

/// Says where a contract holds what bincode cannot carry, and why.
///
/// bincode writes values without saying what they are, so a type that asks the data what it is
/// cannot be read back. Such a method goes as JSON, where the strategy can do that.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unsupported {
    path: String,
    why: &'static str,
}

impl Unsupported {
    /// Says where: `order.note`, `the reply.items[]`.
    #[must_use]
    pub fn path(&self) -> &str {
        &self.path
    }

    /// Says why, as far as a shape can tell: which attribute of serde, or which type, it probably
    /// is.
    #[must_use]
    pub fn why(&self) -> &str {
        self.why
    }
}

impl Unsupported {
    /// Something in this part of a contract is written in another shape than it is read.
    pub(super) fn uneven(part: &'static str) -> Self {
        Self { path: part.to_owned(), why: UNEVEN }
    }
}

impl fmt::Display for Unsupported {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.path, self.why)
    }
}

/// Looks for the first place that bincode cannot carry.
pub(super) fn find(nodes: &[Node], path: &str) -> Option<Unsupported> {
    Search { nodes, seen: vec![false; nodes.len()] }.place(0, path.to_owned())
}

struct Search<'a> {
    nodes: &'a [Node],
    seen: Vec<bool>,
}

impl Search<'_> {
    fn place(&mut self, at: Id, path: String) -> Option<Unsupported> {
        if std::mem::replace(&mut self.seen[at], true) {
            return None;
        }
        let nodes = self.nodes;
        let node = &nodes[at];
        match &node.kind {
            Some(Kind::Any(why)) => return Some(Unsupported { path, why: told(*why) }),
            Some(Kind::Map(key, _)) if nodes[*key].kind == Some(Kind::Identifier) => {
                return Some(Unsupported { path, why: FLATTEN });
            }
            _ => {}
        }
        let within = children(node, &path);
        let others = node.others.iter().map(|&other| (other, path.clone()));
        within.into_iter().chain(others).find_map(|(at, path)| self.place(at, path))
    }
}

/// The places within a place, with their paths.
fn children(node: &Node, path: &str) -> Vec<(Id, String)> {
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
        Some(Kind::Tuple(places)) => {
            places.iter().enumerate().map(|(i, &at)| (at, format!("{path}.{i}"))).collect()
        }
        _ => node.children().into_iter().map(|at| (at, path.to_owned())).collect(),
    }
}

const UNEVEN: &str = "a type that is written in another shape than it is read, as `#[serde(skip_serializing_if)]`, `skip`, \
    `skip_serializing`, `skip_deserializing` and `serialize_with` can make it";

const FLATTEN: &str = "a struct with `#[serde(flatten)]`";

fn told(why: SelfDescribing) -> &'static str {
    match why {
        SelfDescribing::Untagged => "an enum with `#[serde(untagged)]`",
        SelfDescribing::InternallyTagged => "an enum with `#[serde(tag = \"..\")]`",
        SelfDescribing::JsonValue => "a value of `serde_json`",
        SelfDescribing::Other => {
            "a type that asks the data what it is (`deserialize_any`), as `#[serde(tag = \"..\", content = \"..\")]` does for some variants"
        }
    }
}
