//! Why a body cannot be decoded, in words that hold nothing of what the sender wrote: kinds, places
//! and expected types.

use std::fmt::{self, Write};

use serde::de::{self, Expected, Unexpected};

/// A path longer than this is cut at its inner end.
const MAX_STEPS: usize = 16;

pub(super) const TOO_DEEP: &str = "values are nested too deeply";
pub(super) const TOO_MANY: &str = "more elements than a body of its length may hold";

/// What a visitor or a decoder complains of, and where. What a type says of itself
/// (`de::Error::custom`) is not kept: it may quote.
#[derive(Debug)]
pub(super) struct Fault(Box<Parts>);

#[derive(Debug)]
struct Parts {
    what: String,
    /// From the inside to the outside.
    steps: Vec<Step>,
    /// Line and column of JSON.
    position: Option<(usize, usize)>,
}

/// One step into a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// A field of a struct, as its own program spells it.
    Field(&'static str),
    /// An element of a sequence.
    Element(usize),
    /// A value of a map, whose key is the sender's.
    Value,
    /// A key of a map.
    Key,
}

impl Fault {
    pub(super) fn new(what: impl Into<String>) -> Self {
        Self(Box::new(Parts { what: what.into(), steps: Vec::new(), position: None }))
    }

    /// Translates what a decoder says of bytes that it cannot read.
    pub(super) fn of(decoder: &impl fmt::Display) -> Self {
        let text = decoder.to_string();
        let (text, position) = split_position(&text);
        let mut fault = Self::new(translate(text));
        fault.0.position = position;
        fault
    }

    /// Adds where the decoder stood, if it knows and nobody has said so before.
    pub(super) fn seen_by(mut self, decoder: &impl fmt::Display) -> Self {
        if self.0.position.is_none() {
            self.0.position = split_position(&decoder.to_string()).1;
        }
        self
    }

    /// Notes a step further out.
    #[cold]
    #[inline(never)]
    pub(super) fn at(mut self, step: Step) -> Self {
        if self.0.steps.len() == MAX_STEPS {
            self.0.steps.remove(0);
        }
        self.0.steps.push(step);
        self
    }

    /// Takes it apart: what is wrong with its position, and the path to it, which is empty at the
    /// root.
    pub(super) fn into_words(self) -> (String, String) {
        let Parts { mut what, steps, position } = *self.0;
        if let Some((line, column)) = position {
            let _ = write!(what, " at line {line} column {column}");
        }
        let mut path = String::new();
        for step in steps.iter().rev() {
            let _ = match step {
                Step::Field(name) if path.is_empty() => write!(path, "{name}"),
                Step::Field(name) => write!(path, ".{name}"),
                Step::Element(at) => write!(path, "[{at}]"),
                Step::Value => write!(path, "{{}}"),
                Step::Key => write!(path, "{{key}}"),
            };
        }
        (what, path)
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.what)
    }
}

impl std::error::Error for Fault {}

impl de::Error for Fault {
    fn custom<T: fmt::Display>(_quotes: T) -> Self {
        Self::new("its type refuses the value")
    }

    fn invalid_type(found: Unexpected<'_>, expected: &dyn Expected) -> Self {
        Self::new(format!("{}, where {expected} is expected", kind(&found)))
    }

    fn invalid_value(found: Unexpected<'_>, expected: &dyn Expected) -> Self {
        Self::new(format!("{} that does not fit, where {expected} is expected", kind(&found)))
    }

    fn invalid_length(_found: usize, expected: &dyn Expected) -> Self {
        Self::new(format!("another number of elements, where {expected} is expected"))
    }

    fn unknown_variant(_found: &str, expected: &'static [&'static str]) -> Self {
        Self::new(format!("unknown variant, {}", Names(expected)))
    }

    fn unknown_field(_found: &str, expected: &'static [&'static str]) -> Self {
        Self::new(format!("unknown field, {}", Names(expected)))
    }

    fn missing_field(field: &'static str) -> Self {
        Self::new(format!("missing field `{field}`"))
    }

    fn duplicate_field(field: &'static str) -> Self {
        Self::new(format!("duplicate field `{field}`"))
    }
}

/// What a value is, without the value.
fn kind(found: &Unexpected<'_>) -> &'static str {
    match found {
        Unexpected::Bool(_) => "a boolean",
        Unexpected::Unsigned(_) | Unexpected::Signed(_) => "an integer",
        Unexpected::Float(_) => "a number with a fraction or beyond 64 bits",
        Unexpected::Char(_) => "a character",
        Unexpected::Str(_) => "a string",
        Unexpected::Bytes(_) => "bytes",
        Unexpected::Unit => "null",
        Unexpected::Option => "an optional value",
        Unexpected::NewtypeStruct => "a newtype",
        Unexpected::Seq => "a sequence",
        Unexpected::Map => "a map",
        Unexpected::Enum => "an enum",
        Unexpected::UnitVariant => "a variant without content",
        Unexpected::NewtypeVariant | Unexpected::TupleVariant | Unexpected::StructVariant => {
            "a variant with content"
        }
        Unexpected::Other(_) => "another value",
    }
}

/// The names that a type knows.
struct Names(&'static [&'static str]);

impl fmt::Display for Names {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            [] => f.write_str("there are none"),
            [only] => write!(f, "expected `{only}`"),
            [one, other] => write!(f, "expected `{one}` or `{other}`"),
            [first, rest @ ..] => {
                write!(f, "expected one of `{first}`")?;
                rest.iter().try_for_each(|name| write!(f, ", `{name}`"))
            }
        }
    }
}

/// Splits the position off that `serde_json` puts at the end of its texts.
fn split_position(text: &str) -> (&str, Option<(usize, usize)>) {
    let split = || {
        let (what, position) = text.rsplit_once(" at line ")?;
        let (line, column) = position.split_once(" column ")?;
        Some((what, (line.parse().ok()?, column.parse().ok()?)))
    };
    split().map_or((text, None), |(what, position)| (what, Some(position)))
}

/// Says in words of ours what `serde_json` itself has said: it quotes values where a type does not
/// match, and otherwise speaks of JSON.
fn translate(text: &str) -> String {
    if let Some(rest) = text.strip_prefix("invalid type: ") {
        // What is expected stands last, and is the reader's.
        let expected =
            rest.rsplit_once(", expected ").map_or("something else", |(_, expected)| expected);
        return format!("{}, where {expected} is expected", quoted_kind(rest));
    }
    text.to_owned()
}

/// The kind of a value that `serde_json` quotes after its kind.
fn quoted_kind(text: &str) -> &'static str {
    let kinds = [
        ("string", "a string"),
        ("integer", "an integer"),
        ("floating point", "a number with a fraction or beyond 64 bits"),
        ("number", "a number"),
        ("boolean", "a boolean"),
        ("null", "null"),
        ("sequence", "a sequence"),
        ("map", "a map"),
    ];
    kinds.iter().find(|(word, _)| text.starts_with(word)).map_or("another value", |(_, kind)| kind)
}
