//! Decode errors that never quote the sender's data: only kinds, paths and expected types.

use std::fmt::{self, Write};

use serde::de::{self, Expected, Unexpected};

/// Longer paths lose their innermost steps.
const MAX_STEPS: usize = 16;

pub(super) const TOO_DEEP: &str = "values are nested too deeply";
pub(super) const TOO_MANY: &str = "more elements than a body of its length may hold";

/// A decode error and its path. The text of `de::Error::custom` is dropped, because it may quote
/// the value.
#[derive(Debug)]
pub(super) struct Fault(Box<Parts>);

#[derive(Debug)]
struct Parts {
    message: String,
    /// Innermost step first.
    steps: Vec<Step>,
    /// Line and column, for JSON only.
    position: Option<(usize, usize)>,
}

/// One step of the path into a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// A field of a struct, as spelled by the decoding program.
    Field(&'static str),
    /// An element of a sequence.
    Element(usize),
    /// A value of a map. The key is left out: it is the sender's data.
    Value,
    /// A key of a map.
    Key,
}

impl Fault {
    pub(super) fn new(message: impl Into<String>) -> Self {
        Self(Box::new(Parts { message: message.into(), steps: Vec::new(), position: None }))
    }

    /// Creates a fault from an error of the decoder itself, removing what it quotes.
    pub(super) fn from_decoder(error: &impl fmt::Display) -> Self {
        let text = error.to_string();
        let (text, position) = split_position(&text);
        let mut fault = Self::new(translate(text));
        fault.0.position = position;
        fault
    }

    /// Adds the line and column of a decoder error, unless the fault has a position already.
    pub(super) fn with_position_of(mut self, error: &impl fmt::Display) -> Self {
        if self.0.position.is_none() {
            self.0.position = split_position(&error.to_string()).1;
        }
        self
    }

    /// Adds the enclosing step to the path.
    #[cold]
    #[inline(never)]
    pub(super) fn at(mut self, step: Step) -> Self {
        if self.0.steps.len() == MAX_STEPS {
            self.0.steps.remove(0);
        }
        self.0.steps.push(step);
        self
    }

    /// Returns the message, with line and column if known, and the path, which is empty at the
    /// root.
    pub(super) fn into_message_and_path(self) -> (String, String) {
        let Parts { mut message, steps, position } = *self.0;
        if let Some((line, column)) = position {
            let _ = write!(message, " at line {line} column {column}");
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
        (message, path)
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.message)
    }
}

impl std::error::Error for Fault {}

impl de::Error for Fault {
    fn custom<T: fmt::Display>(_may_quote: T) -> Self {
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

/// Returns the kind of a value, without the value.
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

/// The field or variant names that a type accepts.
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

/// Splits off the position that `serde_json` appends to its messages.
fn split_position(text: &str) -> (&str, Option<(usize, usize)>) {
    let split = || {
        let (message, position) = text.rsplit_once(" at line ")?;
        let (line, column) = position.split_once(" column ")?;
        Some((message, (line.parse().ok()?, column.parse().ok()?)))
    };
    split().map_or((text, None), |(message, position)| (message, Some(position)))
}

/// Rewrites a message of `serde_json` itself. It quotes values only in `invalid type` errors; its
/// other messages are about JSON syntax and pass unchanged.
fn translate(text: &str) -> String {
    if let Some(rest) = text.strip_prefix("invalid type: ") {
        // The expected type comes last, and is the decoding program's own text.
        let expected =
            rest.rsplit_once(", expected ").map_or("something else", |(_, expected)| expected);
        return format!("{}, where {expected} is expected", quoted_kind(rest));
    }
    text.to_owned()
}

/// Returns the kind from an `invalid type` message, in which `serde_json` quotes the value after
/// its kind.
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
