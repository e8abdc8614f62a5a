//! The shape of a contract's types, found by walking them through their own `Deserialize`: nobody
//! has to derive anything more.
//!
//! A deserializer without data notes what a type asks for and answers something, in as many passes
//! as it takes to have seen every variant. The values that it makes are written and read again,
//! which shows what only `Serialize` does: a field or a variant that is not written, or written in
//! another form than it is read. What it cannot see: what depends on the value, such as
//! `#[serde(skip_serializing_if)]` with a condition that none of those values meets (encoding
//! notices it, each time), what stands behind a check that refuses all answers within a tuple, and
//! the inside of types that ask the data what it is.

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

/// The longest text of a shape, in bytes: it has to fit into an error's message.
const MAX_TEXT: usize = 800;

/// Counts up when the form of fingerprints changes.
const FORM: &str = "1";

/// What a type looks like on a wire: its fields, variants and scalars by name and kind, without the
/// names of types.
#[derive(Clone)]
pub struct Shape(Vec<Node>);

impl Shape {
    /// Walks a type as this codec reads it.
    #[must_use]
    pub fn of<T: DeserializeOwned>(codec: Codec) -> Self {
        Self(tracer::walk::<T>(codec == Codec::Json, |_| {}))
    }

    /// The same; says too whether what is written is what is read.
    pub(crate) fn of_both<T: Serialize + DeserializeOwned>(codec: Codec) -> (Self, bool) {
        let mut returns = true;
        let nodes = tracer::walk::<T>(codec == Codec::Json, |value| {
            returns = returns && codec.round_trips(value)
        });
        (Self(nodes), returns)
    }

    /// Digests the shape; equal shapes have equal digests, in every program and build.
    #[must_use]
    pub fn fingerprint(&self) -> u64 {
        fingerprint::digest(&self.0)
    }

    /// Writes the shape in short: `{id: string, lines: seq<(string, u32)>}`. Texts over 800 bytes
    /// are cut.
    #[must_use]
    pub fn text(&self) -> String {
        let mut writer = Writer::new(MAX_TEXT);
        writer.place(&self.0, 0);
        writer.finish()
    }

    /// Finds the first place that bincode cannot carry, if there is one.
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

/// What a method's arguments, value and error look like on a wire.
#[derive(Clone)]
pub struct MethodShape {
    name: &'static str,
    arguments: Shape,
    ok: Shape,
    err: Shape,
    /// What is written in another shape than it is read.
    uneven: Option<&'static str>,
}

impl MethodShape {
    /// Makes the shape of a method from the shapes of its arguments, its value and its error, each
    /// with whether what is written is what is read.
    pub(crate) fn new(name: &'static str, parts: [(Shape, bool); 3]) -> Self {
        let words = ["the arguments", "the reply", "the error"];
        let uneven = parts.iter().position(|(_, returns)| !returns).map(|part| words[part]);
        let [arguments, ok, err] = parts.map(|(shape, _)| shape);
        Self { name, arguments, ok, err, uneven }
    }

    /// Shows the arguments: a struct with a field for each.
    #[must_use]
    pub fn arguments(&self) -> &Shape {
        &self.arguments
    }

    /// Shows what the method returns when it succeeds.
    #[must_use]
    pub fn ok(&self) -> &Shape {
        &self.ok
    }

    /// Shows the error type of the contract.
    #[must_use]
    pub fn err(&self) -> &Shape {
        &self.err
    }

    /// Digests names and types of the arguments, the value and the error; the method's own name is
    /// not in it.
    ///
    /// It is the FNV-1a 64 of `1`, a zero byte, and the [digests](Shape::fingerprint) of the three
    /// as eight bytes each, little endian. It changes when a field or variant comes, goes, moves or
    /// changes its name or type, and not when a type is renamed, boxed or aliased.
    #[must_use]
    pub fn fingerprint(&self) -> u64 {
        let mut fnv = Fnv::new();
        fnv.word(FORM);
        [&self.arguments, &self.ok, &self.err]
            .into_iter()
            .for_each(|shape| fnv.number(shape.fingerprint()));
        fnv.0
    }

    /// Writes the method in short: `charge(order: string, cents: u64) -> {id: string, cents: u64} !
    /// enum{Declined}`. Texts over 800 bytes are cut.
    #[must_use]
    pub fn text(&self) -> String {
        self.text_within(MAX_TEXT)
    }

    /// The same, within a limit.
    pub(crate) fn text_within(&self, limit: usize) -> String {
        let mut writer = Writer::new(limit);
        writer.push(self.name).push("(").fields(&self.arguments.0, 0);
        writer.push(") -> ").place(&self.ok.0, 0);
        writer.push(" ! ").place(&self.err.0, 0);
        writer.finish()
    }

    /// Finds the first place that bincode cannot carry, if there is one.
    #[must_use]
    pub fn unsupported_by_bincode(&self) -> Option<Unsupported> {
        let replies = [(&self.ok, "the reply"), (&self.err, "the error")];
        let reply =
            || replies.into_iter().find_map(|(shape, path)| unsupported::find(&shape.0, path));
        let uneven = || self.uneven.map(Unsupported::uneven);
        self.arguments.unsupported_by_bincode().or_else(reply).or_else(uneven)
    }
}

impl fmt::Debug for MethodShape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text())
    }
}

#[cfg(test)]
mod tests;
