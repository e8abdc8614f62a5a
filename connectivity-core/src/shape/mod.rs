//! The shape of a contract's types, found by walking them through their own `Deserialize`, so that
//! users derive nothing beyond serde.
//!
//! The [`tracer`] is a deserializer without input. It records what a type requests and
//! returns sample values, in as many passes as it takes to visit every variant. Each value that a
//! pass produces is encoded, decoded and encoded again. That reveals what only `Serialize` does: a
//! field or variant that is not written, or written in another form than it is read.
//!
//! A walk cannot see:
//!
//! - behavior that depends on the value, such as `#[serde(skip_serializing_if)]` with a condition
//!   that no sample meets (encoding detects it, for each value);
//! - types behind a validated element of a tuple that rejects all samples;
//! - the inside of types that need self-describing data.
//!
//! # Example
//!
//! ```
//! # use connectivity_core::{Codec, Shape};
//! #[derive(serde::Serialize, serde::Deserialize)]
//! struct Line {
//!     sku: String,
//!     count: u32,
//!     note: Option<u8>,
//! }
//!
//! let shape = Shape::of::<Line>(Codec::Json);
//! assert_eq!(shape.text(), "{sku: string, count: u32, note: option<u8>}");
//! assert_eq!(shape.fingerprint(), 0x676b_f1a5_b424_1d7f);
//! # #[cfg(feature = "mcp")]
//! assert_eq!(shape.json_schema(), serde_json::json!({
//!     "type": "object",
//!     "properties": {
//!         "sku": { "type": "string" },
//!         "count": { "type": "integer", "minimum": 0, "maximum": u32::MAX },
//!         "note": { "anyOf": [
//!             { "type": "integer", "minimum": 0, "maximum": 255 },
//!             { "type": "null" },
//!         ] },
//!     },
//!     "required": ["sku", "count"],
//! }));
//! ```
//!
//! `Walk` (in [`walk`]) starts with node 0, whose kind is unknown, and calls `Line::deserialize`
//! with a `Tracer` at node 0. In the first pass:
//!
//! 1. `Line` calls `deserialize_struct("Line", ["sku", "count", "note"])`. The walk has not seen
//!    this type, so it creates node 1 for it and nodes 2 to 4 for its fields, and makes node 0 a
//!    reference to node 1. The tracer calls `visit_map` of the visitor, which requests keys and
//!    values; the keys are `"sku"`, `"count"` and `"note"`.
//! 2. The value of `sku` calls `deserialize_string`. Node 2 becomes `Scalar("string")`, and the
//!    tracer returns the first sample, `""`. If the type of `sku` rejected it, the next pass would
//!    try `"a"`.
//! 3. The value of `count` calls `deserialize_u32`. Node 3 becomes `Scalar("u32")`, and the tracer
//!    returns 1.
//! 4. The value of `note` calls `deserialize_option`. The walk creates node 5 for the type
//!    `Option<u8>` and node 6 for its content, and makes node 4 a reference to node 5. Node 6 is
//!    unexplored, so the tracer calls `visit_some` with a tracer at node 6, where `deserialize_u8`
//!    returns 1.
//!
//! The first pass produces `Line { sku: "", count: 1, note: Some(1) }`. In the second pass every
//! node is explored, so the option is left empty: `Line { sku: "", count: 1, note: None }`. That
//! pass discovers nothing, so the walk ends. The result:
//!
//! ```text
//! 0  Is(1)
//! 1  Struct
//!    |- sku    2  Scalar("string")
//!    |- count  3  Scalar("u32")
//!    `- note   4  Is(5)
//! 5  Option(6)
//! 6  Scalar("u8")
//! ```
//!
//! The [`fingerprint`] hashes these bytes, where `\0` is a zero byte and `<n>` is the
//! digest of node n as eight bytes, little endian. References are followed first, so node 0 has the
//! digest of node 1, and node 4 that of node 5:
//!
//! ```text
//! 6: fnv("u8\0")             = 0x4d3ccb193e937808
//! 5: fnv("option\0" <6>)     = 0xef639486698bbbfe
//! 3: fnv("u32\0")            = 0xa6b2e8e53c40f523
//! 2: fnv("string\0")         = 0x80eb68b1f909c988
//! 1: fnv("struct\0" "sku\0" <2> "count\0" <3> "note\0" <5>)
//!                            = 0x676bf1a5b4241d7f
//! ```
//!
//! The JSON Schema is written from the same nodes. `note` is not required, because its node is an
//! option.

mod access;
mod contract;
mod fingerprint;
mod node;
#[cfg(feature = "mcp")]
mod schema;
mod text;
mod tracer;
mod unsupported;
mod walk;

use std::fmt;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::codec::Codec;

use fingerprint::Fnv;
use node::Node;
use text::Writer;

pub use unsupported::Unsupported;

pub(crate) use contract::Contract;

/// Maximum length of a shape's text in bytes: it has to fit into an error message.
const MAX_TEXT: usize = 800;

/// Version of the fingerprint format; it is part of every method fingerprint.
const FORM: &str = "1";

/// The wire structure of a type: its fields, variants and scalars by name and kind, without type
/// names.
#[derive(Clone)]
pub struct Shape(Vec<Node>);

impl Shape {
    /// Walks a type as `codec` decodes it.
    #[must_use]
    pub fn of<T: DeserializeOwned>(codec: Codec) -> Self {
        Self(tracer::walk::<T>(codec == Codec::Json, |_| {}))
    }

    /// Walks a type as `codec` decodes it. Also returns whether all values of the walk round-trip.
    pub(crate) fn of_both<T: Serialize + DeserializeOwned + 'static>(codec: Codec) -> (Self, bool) {
        let mut round_trips = true;
        let nodes = tracer::walk::<T>(codec == Codec::Json, |value| {
            round_trips = round_trips && codec.round_trips(value)
        });
        (Self(nodes), round_trips)
    }

    /// Returns a digest of the shape. Equal shapes have equal digests in every program and build.
    #[must_use]
    pub fn fingerprint(&self) -> u64 {
        fingerprint::digest(&self.0)
    }

    /// Returns the shape as short text: `{id: string, lines: seq<(string, u32)>}`. Text beyond 800
    /// bytes is cut.
    #[must_use]
    pub fn text(&self) -> String {
        let mut writer = Writer::new(MAX_TEXT);
        writer.node(&self.0, 0);
        writer.finish()
    }

    /// Returns the first part that bincode cannot represent, if any.
    #[must_use]
    pub fn unsupported_by_bincode(&self) -> Option<Unsupported> {
        unsupported::find(&self.0, "")
    }
}

impl fmt::Debug for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text())
    }
}

/// The wire structure of a method's arguments, value and error.
#[derive(Clone)]
pub struct MethodShape {
    name: &'static str,
    arguments: Shape,
    ok: Shape,
    err: Shape,
    /// The part with a type that does not round-trip, if any.
    asymmetric: Option<&'static str>,
}

impl MethodShape {
    /// Creates the shape of a method from the shapes of its arguments, its value and its error,
    /// each with whether it round-trips.
    pub(crate) fn new(name: &'static str, parts: [(Shape, bool); 3]) -> Self {
        let part_names = ["the arguments", "the reply", "the error"];
        let asymmetric =
            parts.iter().position(|(_, round_trips)| !round_trips).map(|part| part_names[part]);
        let [arguments, ok, err] = parts.map(|(shape, _)| shape);
        Self { name, arguments, ok, err, asymmetric }
    }

    /// Returns the shape of the arguments: a struct with one field per argument.
    #[must_use]
    pub fn arguments(&self) -> &Shape {
        &self.arguments
    }

    /// Returns the shape of the value that the method returns on success.
    #[must_use]
    pub fn ok(&self) -> &Shape {
        &self.ok
    }

    /// Returns the shape of the contract's error type.
    #[must_use]
    pub fn err(&self) -> &Shape {
        &self.err
    }

    /// Returns a digest of the names and types of the arguments, the value and the error. The
    /// method's own name is not part of it.
    ///
    /// It is the FNV-1a 64 of `1`, a zero byte, and the [digests](Shape::fingerprint) of the three
    /// as eight bytes each, little endian. It changes when a field or variant is added, removed,
    /// moved, renamed or changes its type, and not when a type is renamed, boxed or aliased.
    #[must_use]
    pub fn fingerprint(&self) -> u64 {
        let mut fnv = Fnv::new();
        fnv.string(FORM);
        [&self.arguments, &self.ok, &self.err]
            .into_iter()
            .for_each(|shape| fnv.number(shape.fingerprint()));
        fnv.0
    }

    /// Returns the method as short text, cut beyond 800 bytes: `charge(order: string, cents: u64)
    /// -> {id: string, cents: u64} ! enum{Declined}`.
    #[must_use]
    pub fn text(&self) -> String {
        self.text_within(MAX_TEXT)
    }

    /// Returns the method as short text of at most `limit` bytes.
    pub(crate) fn text_within(&self, limit: usize) -> String {
        let mut writer = Writer::new(limit);
        writer.push(self.name).push("(").fields(&self.arguments.0, 0);
        writer.push(") -> ").node(&self.ok.0, 0);
        writer.push(" ! ").node(&self.err.0, 0);
        writer.finish()
    }

    /// Returns the first part that bincode cannot represent, if any.
    #[must_use]
    pub fn unsupported_by_bincode(&self) -> Option<Unsupported> {
        let replies = [(&self.ok, "the reply"), (&self.err, "the error")];
        let reply =
            || replies.into_iter().find_map(|(shape, path)| unsupported::find(&shape.0, path));
        let asymmetric = || self.asymmetric.map(Unsupported::asymmetric);
        self.arguments.unsupported_by_bincode().or_else(reply).or_else(asymmetric)
    }
}

impl fmt::Debug for MethodShape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text())
    }
}

#[cfg(test)]
mod tests;
