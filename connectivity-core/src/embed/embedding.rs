//! Vectors of texts.

use serde::{Deserialize, Serialize};

use crate::error::{Error, ErrorKind};

/// The vector of a text.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Embedding {
    /// The vector.
    pub vector: Vec<f32>,
    /// Its length.
    pub dimension: usize,
    /// The model that computed it, as the server or the row names it.
    pub model: String,
}

/// The vectors of several texts, in their order.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Embeddings {
    /// The vectors; all have the same length.
    pub vectors: Vec<Vec<f32>>,
    /// The number of vectors.
    pub count: usize,
    /// The length of each.
    pub dimension: usize,
    /// The model that computed them, as the server or the row names it.
    pub model: String,
}

impl Embedding {
    /// Wraps a vector that `model` computed.
    #[must_use]
    pub fn new(vector: Vec<f32>, model: impl Into<String>) -> Self {
        Self { dimension: vector.len(), vector, model: model.into() }
    }
}

impl Embeddings {
    /// Wraps vectors that `model` computed.
    ///
    /// # Errors
    /// [`Internal`](ErrorKind::Internal) if their lengths differ.
    pub fn new(vectors: Vec<Vec<f32>>, model: impl Into<String>) -> Result<Self, Error> {
        let dimension = vectors.first().map_or(0, Vec::len);
        if vectors.iter().any(|vector| vector.len() != dimension) {
            let text = "vectors of one model that differ in length";
            return Err(Error::new(ErrorKind::Internal, "embedder", text));
        }
        Ok(Self { count: vectors.len(), vectors, dimension, model: model.into() })
    }
}
