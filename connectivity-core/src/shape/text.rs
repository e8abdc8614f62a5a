//! The readable text of a shape: `{id: string, cents: u64}`.

use super::fingerprint::kind_name;
use super::node::{Id, Kind, Member, Node, resolve};

/// Writes text of limited length; a longer text is truncated and ends with `…`.
pub(super) struct Writer {
    out: String,
    limit: usize,
}

impl Writer {
    pub(super) fn new(limit: usize) -> Self {
        Self { out: String::new(), limit }
    }

    pub(super) fn push(&mut self, text: &str) -> &mut Self {
        if !self.is_full() {
            self.out.push_str(text);
        }
        self
    }

    /// Returns whether all further text would be cut. A shape can be much larger than its text, so
    /// writing stops then.
    fn is_full(&self) -> bool {
        self.out.len() > self.limit
    }

    pub(super) fn finish(mut self) -> String {
        if self.is_full() {
            self.out
                .truncate(self.out.floor_char_boundary(self.limit.saturating_sub('…'.len_utf8())));
            self.out.push('…');
        }
        self.out
    }

    /// Writes the node at `at`.
    pub(super) fn node(&mut self, nodes: &[Node], at: Id) {
        Text { nodes, writer: self, inside: Vec::new() }.node(at);
    }

    /// Writes the fields of the struct at node `at`, without the braces, as for the arguments of a
    /// method.
    pub(super) fn fields(&mut self, nodes: &[Node], at: Id) {
        let mut text = Text { nodes, writer: self, inside: Vec::new() };
        match &nodes[resolve(nodes, at)].kind {
            Some(Kind::Struct(fields)) => text.fields(fields),
            _ => text.node(at),
        }
    }
}

struct Text<'a> {
    nodes: &'a [Node],
    writer: &'a mut Writer,
    /// The nodes being written. A node inside itself is written as `recursive`.
    inside: Vec<Id>,
}

impl Text<'_> {
    fn node(&mut self, at: Id) {
        let at = resolve(self.nodes, at);
        if self.inside.contains(&at) {
            self.writer.push("recursive");
        } else if !self.writer.is_full() {
            self.inside.push(at);
            self.kind(&self.nodes[at]);
            self.inside.pop();
        }
    }

    fn kind(&mut self, node: &Node) {
        match &node.kind {
            Some(Kind::Is(at) | Kind::Newtype(at)) => self.node(*at),
            Some(Kind::Option(at)) => self.around("option<", &[*at], ">"),
            Some(Kind::Seq(at)) => self.around("seq<", &[*at], ">"),
            Some(Kind::Map(key, value)) => self.around("map<", &[*key, *value], ">"),
            Some(Kind::Tuple(nodes)) => self.tuple(nodes),
            Some(Kind::Struct(fields)) => {
                self.writer.push("{");
                self.fields(fields);
                self.writer.push("}");
            }
            Some(Kind::Enum(variants)) => self.variants(variants),
            _ => {
                self.writer.push(kind_name(node));
            }
        }
        for &other in &node.others {
            self.writer.push(" | ");
            self.node(other);
        }
    }

    fn around(&mut self, open: &str, nodes: &[Id], close: &str) {
        self.writer.push(open);
        self.list(nodes, |text, &at| text.node(at));
        self.writer.push(close);
    }

    fn list<T>(&mut self, items: &[T], mut write: impl FnMut(&mut Self, &T)) {
        for (at, item) in items.iter().enumerate() {
            if self.writer.is_full() {
                return;
            }
            if at > 0 {
                self.writer.push(", ");
            }
            write(self, item);
        }
    }

    /// Writes a tuple: `(u8, string)`, or `[u8; 32]` if all elements are equal.
    fn tuple(&mut self, nodes: &[Id]) {
        let kind = |at: &Id| &self.nodes[resolve(self.nodes, *at)].kind;
        let first = nodes.first().map(kind);
        let array =
            nodes.len() > 3 && first.is_some_and(|first| nodes.iter().all(|at| kind(at) == first));
        match nodes.first() {
            Some(&first) if array => {
                let close = format!("; {}]", nodes.len());
                self.around("[", &[first], &close);
            }
            _ => self.around("(", nodes, ")"),
        }
    }

    fn fields(&mut self, fields: &[Member]) {
        self.list(fields, |text, field| {
            text.writer.push(field.name).push(": ");
            text.node(field.at);
        });
    }

    fn variants(&mut self, variants: &[Member]) {
        self.writer.push("enum{");
        self.list(variants, |text, variant| {
            text.writer.push(variant.name);
            text.content(variant.at);
        });
        self.writer.push("}");
    }

    /// Writes the content of a variant: nothing, `{x: u8}`, `(u8, u8)`, or one value in
    /// parentheses.
    fn content(&mut self, at: Id) {
        match &self.nodes[resolve(self.nodes, at)].kind {
            Some(Kind::Scalar("unit")) => {}
            Some(Kind::Tuple(_) | Kind::Struct(_)) => self.node(at),
            _ => self.around("(", &[at], ")"),
        }
    }
}
