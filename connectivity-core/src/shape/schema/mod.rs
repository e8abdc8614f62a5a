//! The JSON Schema (dialect 2020-12) of the JSON that a type reads or writes.
//!
//! A shape does not show what a type does only in `Serialize`, so an output schema makes no field
//! required: the type may skip it. A type that needs self-describing data (an untagged enum, a
//! flattened struct) gets a permissive schema that is never wrong.

use serde_json::{Map, Value, json};

use super::Shape;
use super::node::{Id, Kind, Member, Node, SelfDescribing, resolve};

/// Types nested deeper than this move to `$defs`, so that the nesting of the schema stays far below
/// the limits of parsers.
const MAX_INLINE: usize = 16;

impl Shape {
    /// Returns the JSON Schema (2020-12) of the JSON that the type reads. The shape should have
    /// been walked as JSON.
    ///
    /// Every field that is not an `Option` is required, even one with `#[serde(default)]`: a sender
    /// that sends all fields is always understood. Types that are used more than once are defined
    /// under `$defs`.
    #[must_use]
    pub fn json_schema(&self) -> Value {
        Writer::new(&self.0, true).finish()
    }

    /// Returns the JSON Schema of the JSON that the type writes; no field is required.
    pub(crate) fn json_schema_of_output(&self) -> Value {
        Writer::new(&self.0, false).finish()
    }

    /// Returns whether every value of the type is a JSON object.
    pub(crate) fn is_object(&self) -> bool {
        let node = &self.0[resolve(&self.0, 0)];
        let object =
            matches!(node.kind, Some(Kind::Struct(_) | Kind::Map(..) | Kind::Error | TAGGED));
        object && node.others.is_empty()
    }

    /// Returns whether every value of the type is a JSON string.
    pub(crate) fn is_text(&self) -> bool {
        let node = &self.0[resolve(&self.0, 0)];
        node.kind == Some(Kind::Scalar("string")) && node.others.is_empty()
    }
}

const TAGGED: Kind = Kind::Any(SelfDescribing::InternallyTagged);

struct Writer<'a> {
    nodes: &'a [Node],
    required: bool,
    /// Whether a node is defined under `$defs`: it is used more than once, or recursive.
    shared: Vec<bool>,
    definitions: Map<String, Value>,
    depth: usize,
}

impl<'a> Writer<'a> {
    fn new(nodes: &'a [Node], required: bool) -> Self {
        Self { nodes, required, shared: Uses::count(nodes), definitions: Map::new(), depth: 0 }
    }

    fn finish(mut self) -> Value {
        let mut root = self.node(0);
        if let Value::Object(root) = &mut root
            && !self.definitions.is_empty()
        {
            root.insert("$defs".to_owned(), Value::Object(self.definitions));
        }
        root
    }

    fn node(&mut self, at: Id) -> Value {
        let at = resolve(self.nodes, at);
        let deep = self.depth >= MAX_INLINE && !self.nodes[at].children().is_empty();
        if !self.shared[at] && !deep {
            return self.inline(at);
        }
        let name = format!("T{at}");
        if !self.definitions.contains_key(&name) {
            // Inserted before its content, which may refer to it.
            self.definitions.insert(name.clone(), Value::Bool(true));
            let depth = std::mem::take(&mut self.depth);
            let definition = self.inline(at);
            self.depth = depth;
            self.definitions.insert(name.clone(), definition);
        }
        json!({ "$ref": format!("#/$defs/{name}") })
    }

    fn inline(&mut self, at: Id) -> Value {
        self.depth += 1;
        let nodes = self.nodes;
        let node = &nodes[at];
        let schema = self.kind(node);
        let schema = match node.others.as_slice() {
            [] => schema,
            others => {
                let others: Vec<_> = others.iter().map(|&other| self.node(other)).collect();
                any_of(std::iter::once(schema).chain(others).collect())
            }
        };
        self.depth -= 1;
        schema
    }

    fn kind(&mut self, node: &Node) -> Value {
        match &node.kind {
            Some(Kind::Scalar(word)) => scalar(word),
            Some(Kind::Error) => error(),
            Some(Kind::Any(SelfDescribing::InternallyTagged)) => json!({ "type": "object" }),
            Some(Kind::Identifier) => json!({ "type": "string" }),
            // A node with alternatives, or a newtype of only itself.
            Some(Kind::Is(at) | Kind::Newtype(at)) if !node.others.is_empty() => self.node(*at),
            Some(Kind::Is(_) | Kind::Newtype(_) | Kind::Any(_)) | None => json!({}),
            Some(Kind::Option(at)) => nullable(self.node(*at)),
            Some(Kind::Seq(at)) => json!({ "type": "array", "items": self.node(*at) }),
            Some(Kind::Map(key, value)) => self.map(*key, *value),
            Some(Kind::Tuple(elements)) => self.tuple(elements),
            Some(Kind::Struct(fields)) => self.fields(fields),
            Some(Kind::Enum(variants)) => self.variants(variants),
        }
    }

    /// Returns the schema of a map. A map whose keys are field names is a struct with
    /// `#[serde(flatten)]`.
    fn map(&mut self, key: Id, value: Id) -> Value {
        match self.nodes[key].kind {
            Some(Kind::Identifier) => json!({ "type": "object" }),
            _ => json!({ "type": "object", "additionalProperties": self.node(value) }),
        }
    }

    fn tuple(&mut self, elements: &[Id]) -> Value {
        let len = elements.len();
        let first = elements.first().map(|&at| resolve(self.nodes, at));
        let same = |at: &Id| {
            Some(&self.nodes[resolve(self.nodes, *at)].kind) == first.map(|at| &self.nodes[at].kind)
        };
        match elements.first() {
            Some(&first) if len > 3 && elements.iter().all(same) => {
                json!({ "type": "array", "items": self.node(first), "minItems": len, "maxItems": len })
            }
            Some(_) => {
                let items: Vec<_> = elements.iter().map(|&at| self.node(at)).collect();
                json!({ "type": "array", "prefixItems": items, "minItems": len, "maxItems": len })
            }
            None => json!({ "type": "array", "maxItems": 0 }),
        }
    }

    fn fields(&mut self, fields: &[Member]) -> Value {
        let properties: Map<_, _> =
            fields.iter().map(|field| (field.name.to_owned(), self.node(field.at))).collect();
        let required: Vec<_> = fields
            .iter()
            .filter(|field| self.is_required(field.at))
            .map(|field| field.name)
            .collect();
        if required.is_empty() {
            json!({ "type": "object", "properties": properties })
        } else {
            json!({ "type": "object", "properties": properties, "required": required })
        }
    }

    /// Returns whether a field is required. An option may be missing, but a newtype of an option
    /// may not: that is how serde reads them.
    fn is_required(&self, field: Id) -> bool {
        let mut at = field;
        for _ in 0..self.nodes.len() {
            match &self.nodes[at] {
                Node { kind: Some(Kind::Is(next)), others } if others.is_empty() => at = *next,
                Node { kind: Some(Kind::Option(_)) | None, .. } => return false,
                _ => break,
            }
        }
        self.required
    }

    /// Returns the schema of an enum: variants without content are strings, the others are objects
    /// with one key.
    fn variants(&mut self, variants: &[Member]) -> Value {
        let is_result = matches!(variants, [ok, err] if ok.name == "Ok" && err.name == "Err");
        let unit = |at: Id| {
            !is_result && self.nodes[resolve(self.nodes, at)].kind == Some(Kind::Scalar("unit"))
        };
        let (units, others): (Vec<_>, Vec<_>) =
            variants.iter().partition(|variant| unit(variant.at));
        let mut forms = Vec::new();
        if !units.is_empty() {
            let names: Vec<_> = units.iter().map(|unit| unit.name).collect();
            forms.push(json!({ "type": "string", "enum": names }));
        }
        for Member { name, at } in others {
            let content = self.node(*at);
            let properties = Map::from_iter([((*name).to_owned(), content)]);
            forms.push(json!({
                "type": "object", "properties": properties, "required": [name], "additionalProperties": false
            }));
        }
        any_of(forms)
    }
}

fn scalar(word: &str) -> Value {
    match word {
        "bool" => json!({ "type": "boolean" }),
        "u8" => json!({ "type": "integer", "minimum": 0, "maximum": u8::MAX }),
        "u16" => json!({ "type": "integer", "minimum": 0, "maximum": u16::MAX }),
        "u32" => json!({ "type": "integer", "minimum": 0, "maximum": u32::MAX }),
        // No bounds for wider integers: not every JSON reader represents them exactly.
        "u64" | "u128" => json!({ "type": "integer", "minimum": 0 }),
        "i8" => json!({ "type": "integer", "minimum": i8::MIN, "maximum": i8::MAX }),
        "i16" => json!({ "type": "integer", "minimum": i16::MIN, "maximum": i16::MAX }),
        "i32" => json!({ "type": "integer", "minimum": i32::MIN, "maximum": i32::MAX }),
        "i64" | "i128" => json!({ "type": "integer" }),
        "f32" | "f64" => json!({ "type": "number" }),
        "char" => json!({ "type": "string", "minLength": 1, "maxLength": 1 }),
        "string" => json!({ "type": "string" }),
        "bytes" => json!({ "type": "array", "items": scalar("u8") }),
        "unit" => json!({ "type": "null" }),
        _ => json!({}),
    }
}

/// Returns the schema of the error of this crate.
fn error() -> Value {
    let text = scalar("string");
    json!({ "type": "object", "properties": { "kind": text, "name": text, "message": text }, "required": ["kind"] })
}

fn nullable(schema: Value) -> Value {
    match &schema {
        Value::Object(plain) if plain.is_empty() => schema,
        _ => any_of(vec![schema, scalar("unit")]),
    }
}

fn any_of(mut forms: Vec<Value>) -> Value {
    match forms.len() {
        1 => forms.remove(0),
        // An enum without variants has no values.
        0 => json!({ "not": {} }),
        _ => json!({ "anyOf": forms }),
    }
}

/// Finds the nodes that are defined once under `$defs` and referred to.
struct Uses<'a> {
    nodes: &'a [Node],
    seen: Vec<bool>,
    inside: Vec<bool>,
    shared: Vec<bool>,
}

impl<'a> Uses<'a> {
    fn count(nodes: &'a [Node]) -> Vec<bool> {
        let none = vec![false; nodes.len()];
        let mut uses = Self { nodes, seen: none.clone(), inside: none.clone(), shared: none };
        uses.visit(0);
        uses.shared
    }

    fn visit(&mut self, at: Id) {
        let at = resolve(self.nodes, at);
        if std::mem::replace(&mut self.seen[at], true) {
            // The schema of a leaf, or of a list of numbers and the like, is as short as a
            // reference.
            let is_leaf =
                |&child: &Id| self.nodes[resolve(self.nodes, child)].children().is_empty();
            let is_named = matches!(self.nodes[at].kind, Some(Kind::Struct(_) | Kind::Enum(_)));
            let is_long = is_named || !self.nodes[at].children().iter().all(is_leaf);
            self.shared[at] |= self.inside[at] || is_long;
            return;
        }
        self.inside[at] = true;
        let nodes = self.nodes;
        let children = nodes[at].children();
        children
            .into_iter()
            .chain(nodes[at].others.iter().copied())
            .for_each(|child| self.visit(child));
        self.inside[at] = false;
    }
}

#[cfg(test)]
mod tests;
