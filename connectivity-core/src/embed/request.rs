//! The texts of a call, and the requests to the server that carry them.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::codec::{Codec, CodecError};

/// The texts of a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Request {
    One(String),
    Many(Vec<String>),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Arguments {
    text: Option<String>,
    texts: Option<Vec<String>>,
}

impl Request {
    /// Parses `{"text": ..}` or `{"texts": [..]}`.
    ///
    /// # Errors
    /// Returns what is wrong, without quoting the texts.
    pub(super) fn parse(json: &[u8]) -> Result<Self, String> {
        let arguments = Codec::Json.decode::<Arguments>(json).map_err(|cause| cause.to_string())?;
        match (arguments.text, arguments.texts) {
            (Some(text), None) => Ok(Self::One(text)),
            (None, Some(texts)) => Ok(Self::Many(texts)),
            _ => Err("`text`, or else `texts`, is what an embedding is computed of".to_owned()),
        }
    }

    /// Returns the texts.
    pub(super) fn texts(&self) -> &[String] {
        match self {
            Self::One(text) => std::slice::from_ref(text),
            Self::Many(texts) => texts,
        }
    }
}

#[derive(Serialize)]
struct Body<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    model: Option<&'a str>,
    input: &'a [String],
}

/// Returns the body of one request to the server.
pub(super) fn body(model: Option<&str>, input: &[String]) -> Result<Bytes, CodecError> {
    Codec::Json.encode(&Body { model, input })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_text_or_several_are_read_and_nothing_else() {
        let parse = |json: &str| Request::parse(json.as_bytes());
        assert_eq!(parse(r#"{"text":"a"}"#), Ok(Request::One("a".into())));
        assert_eq!(parse(r#"{"texts":[]}"#), Ok(Request::Many(Vec::new())));
        for bad in [
            "",
            "{}",
            "[]",
            r#"{"text":"hunter2","texts":["hunter2"]}"#,
            r#"{"text":1}"#,
            r#"{"texts":["hunter2",1]}"#,
            r#"{"text":"hunter2","model":"b"}"#,
        ] {
            let text = parse(bad).unwrap_err();
            assert!(!text.contains("hunter2"), "{bad}: {text}");
        }
    }

    #[test]
    fn a_body_has_the_form_of_the_api() {
        let texts = ["a".to_owned(), "b".to_owned()];
        let json = |model| String::from_utf8(body(model, &texts).unwrap().to_vec()).unwrap();
        assert_eq!(json(Some("m")), r#"{"model":"m","input":["a","b"]}"#);
        assert_eq!(json(None), r#"{"input":["a","b"]}"#);
    }
}
