//! A shape as people read it: `{id: string, cents: u64}`.

use super::fingerprint::word;
use super::node::{Id, Kind, Member, Node, resolve};

/// Writes up to a number of bytes; what is longer ends with `…`.
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

    /// Everything after this would be cut: a shape can be much larger than its text, so nobody goes
    /// on.
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

    /// Writes what stands at a place.
    pub(super) fn place(&mut self, nodes: &[Node], at: Id) {
        Text { nodes, writer: self, inside: Vec::new() }.place(at);
    }

    /// Writes the fields of the struct at a place, without the braces: the arguments of a method.
    pub(super) fn fields(&mut self, nodes: &[Node], at: Id) {
        let mut text = Text { nodes, writer: self, inside: Vec::new() };
        match &nodes[resolve(nodes, at)].kind {
            Some(Kind::Struct(fields)) => text.fields(fields),
            _ => text.place(at),
        }
    }
}

struct Text<'a> {
    nodes: &'a [Node],
    writer: &'a mut Writer,
    /// The places being written: one that comes again within itself is not written again.
    inside: Vec<Id>,
}

impl Text<'_> {
    fn place(&mut self, at: Id) {
        let at = resolve(self.nodes, at);
        if self.inside.contains(&at) {
            self.writer.push("recursive");
        } else if !self.writer.is_full() {
            self.inside.push(at);
            self.node(&self.nodes[at]);
            self.inside.pop();
        }
    }

    fn node(&mut self, node: &Node) {
        match &node.kind {
            Some(Kind::Is(at) | Kind::Newtype(at)) => self.place(*at),
            Some(Kind::Option(at)) => self.around("option<", &[*at], ">"),
            Some(Kind::Seq(at)) => self.around("seq<", &[*at], ">"),
            Some(Kind::Map(key, value)) => self.around("map<", &[*key, *value], ">"),
            Some(Kind::Tuple(places)) => self.tuple(places),
            Some(Kind::Struct(fields)) => {
                self.writer.push("{");
                self.fields(fields);
                self.writer.push("}");
            }
            Some(Kind::Enum(variants)) => self.variants(variants),
            _ => {
                self.writer.push(word(node));
            }
        }
        for &other in &node.others {
            self.writer.push(" | ");
            self.place(other);
        }
    }

    fn around(&mut self, open: &str, places: &[Id], close: &str) {
        self.writer.push(open);
        self.list(places, |text, &at| text.place(at));
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

    /// `(u8, string)`, or `[u8; 32]`.
    fn tuple(&mut self, places: &[Id]) {
        let kind = |at: &Id| &self.nodes[resolve(self.nodes, *at)].kind;
        let first = places.first().map(kind);
        let array = places.len() > 3
            && first.is_some_and(|first| places.iter().all(|at| kind(at) == first));
        match places.first() {
            Some(&first) if array => {
                let close = format!("; {}]", places.len());
                self.around("[", &[first], &close);
            }
            _ => self.around("(", places, ")"),
        }
    }

    fn fields(&mut self, fields: &[Member]) {
        self.list(fields, |text, field| {
            text.writer.push(field.name).push(": ");
            text.place(field.at);
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

    /// The content of a variant: nothing, `{x: u8}`, `(u8, u8)`, or one value in parentheses.
    fn content(&mut self, at: Id) {
        match &self.nodes[resolve(self.nodes, at)].kind {
            Some(Kind::Scalar("unit")) => {}
            Some(Kind::Tuple(_) | Kind::Struct(_)) => self.place(at),
            _ => self.around("(", &[at], ")"),
        }
    }
}
