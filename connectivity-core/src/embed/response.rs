//! The answers of the server, and the replies of the strategy.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::embedding::{Embedding, Embeddings};
use crate::codec::{Codec, CodecError};

/// An answer of the server. It has more fields, which are of no use here.
#[derive(Deserialize)]
struct Answer {
    data: Vec<Item>,
}

#[derive(Deserialize)]
struct Item {
    index: usize,
    embedding: Vec<f32>,
}

/// Reads the vectors of a request with `count` texts, in the order of the texts.
///
/// # Errors
/// Returns what is wrong with the answer, which is never quoted.
pub(super) fn read(json: &[u8], count: usize) -> Result<Vec<Vec<f32>>, String> {
    let answer = Codec::Json.decode::<Answer>(json).map_err(|cause| cause.to_string())?;
    if answer.data.len() != count {
        return Err(format!("{} vectors came for {count} texts", answer.data.len()));
    }
    let mut vectors = vec![Vec::new(); count];
    for Item { index, embedding } in answer.data {
        let slot =
            vectors.get_mut(index).ok_or_else(|| format!("the index {index} of a vector"))?;
        if !slot.is_empty() {
            return Err(format!("two vectors for the text at {index}"));
        }
        if embedding.is_empty() {
            return Err(format!("an empty vector for the text at {index}"));
        }
        *slot = embedding;
    }
    Ok(vectors)
}

/// Returns the reply to one text.
pub(super) fn one(embedding: &Embedding) -> Result<Bytes, CodecError> {
    Codec::Json.encode(embedding)
}

/// Returns the reply to several texts. For none, the original Go package writes `null`.
pub(super) fn many(embeddings: &Embeddings) -> Result<Bytes, CodecError> {
    #[derive(Serialize)]
    struct Many<'a> {
        vectors: Option<&'a [Vec<f32>]>,
        count: usize,
        dimension: usize,
        model: &'a str,
    }
    let Embeddings { vectors, count, dimension, model } = embeddings;
    let vectors = Some(&vectors[..]).filter(|vectors| !vectors.is_empty());
    Codec::Json.encode(&Many { vectors, count: *count, dimension: *dimension, model })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn vectors_come_in_the_order_of_the_texts() {
        let json = br#"{"object":"list","data":[{"index":1,"embedding":[3.0,4.5]},{"index":0,"embedding":[1,2e-3]}]}"#;
        assert_eq!(read(json, 2), Ok(vec![vec![1.0, 0.002], vec![3.0, 4.5]]));
    }

    #[test]
    fn an_answer_that_lies_is_an_error() {
        for (json, says) in [
            ("{}", "data"),
            (r#"{"data":[]}"#, "0 vectors came for 2 texts"),
            (
                r#"{"data":[{"index":0,"embedding":[1]},{"index":0,"embedding":[1]}]}"#,
                "two vectors",
            ),
            (r#"{"data":[{"index":0,"embedding":[1]},{"index":2,"embedding":[1]}]}"#, "index 2"),
            (r#"{"data":[{"index":0,"embedding":[1]},{"embedding":[1]}]}"#, "index"),
            (r#"{"data":[{"index":0,"embedding":[1]},{"index":1,"embedding":[]}]}"#, "empty"),
            (
                r#"{"data":[{"index":0,"embedding":[1]},{"index":1,"embedding":[1e300]}]}"#,
                "does not fit",
            ),
            (r#"{"data":[{"index":0,"embedding":[1]},{"index":1,"embedding":[null]}]}"#, "data"),
        ] {
            let text = read(json.as_bytes(), 2).unwrap_err();
            assert!(text.contains(says), "{json}: {text}");
        }
    }

    #[test]
    fn replies_are_those_of_the_original() {
        let text = |bytes: Result<Bytes, CodecError>| String::from_utf8(bytes.unwrap().to_vec());
        let embedding = Embedding::new(vec![1.0, 0.1], "m");
        assert_eq!(
            text(one(&embedding)).unwrap(),
            r#"{"vector":[1.0,0.1],"dimension":2,"model":"m"}"#
        );
        let none = Embeddings::new(Vec::new(), "m").unwrap();
        assert_eq!(
            text(many(&none)).unwrap(),
            r#"{"vectors":null,"count":0,"dimension":0,"model":"m"}"#
        );
        let two = Embeddings::new(vec![vec![1.0], vec![2.0]], "m").unwrap();
        assert_eq!(
            text(many(&two)).unwrap(),
            r#"{"vectors":[[1.0],[2.0]],"count":2,"dimension":1,"model":"m"}"#
        );
    }
}
