//! The typed service over the strategy, and the raw services of the original Go package.

use serde::{Deserialize, Serialize};

use crate::context::OrInternal;
use crate::error::{Error, ErrorKind, Sent};
use crate::router::{RegisterError, Router};
use crate::service;

use super::request::Request;
use super::response;

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

/// Turns texts into vectors. Call it through [`EmbedderClient`]; a row with strategy `embed` sends
/// its calls to an embedding server, and an implementation of this trait serves them in a process.
///
/// ```sql
/// INSERT INTO routes(service_name, strategy, endpoint, config)
/// VALUES('embedder', 'embed', 'https://api.openai.com', json_object(
///     'model', 'text-embedding-3-small', 'dimension', 1536, 'api_key', 'env:OPENAI_API_KEY'));
/// ```
///
/// ```no_run
/// use connectivity_core::Router;
/// use connectivity_core::embed::{EmbedderClient, vector};
///
/// # async fn run() -> Result<(), Box<dyn std::error::Error>> {
/// let embedder = EmbedderClient::new(&Router::open("routes.db").await?);
/// let pair = embedder.batch(&["a cat", "a kitten"]).await?.vectors;
/// println!("{:?}", vector::cosine(&pair[0], &pair[1]));
/// # Ok(())
/// # }
/// ```
#[service(crate = crate)]
pub trait Embedder {
    /// Returns the vector of a text.
    #[readonly]
    async fn embed(&self, text: &str) -> Result<Embedding, Error>;

    /// Returns the vectors of several texts, in their order.
    #[readonly]
    async fn batch(&self, texts: &[&str]) -> Result<Embeddings, Error>;
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

/// Registers the raw services `horosembed_embed` and `horosembed_batch` of the original Go package,
/// with its JSON: `{"text": ..}` gives `{"vector", "dimension", "model"}`, and `{"texts": [..]}`
/// gives `{"vectors", "count", "dimension", "model"}`.
///
/// # Errors
/// Returns an error if one of the names is registered already, or if the router is closed.
pub fn register_raw(
    router: &Router,
    embedder: &(impl Embedder + Clone),
) -> Result<(), RegisterError> {
    for name in ["horosembed_embed", "horosembed_batch"] {
        let embedder = embedder.clone();
        router.register_raw(name, move |bytes: bytes::Bytes| {
            let embedder = embedder.clone();
            async move { answer(name, &embedder, &bytes).await }
        })?;
    }
    Ok(())
}

async fn answer(name: &str, embedder: &impl Embedder, json: &[u8]) -> Result<bytes::Bytes, Error> {
    let invalid = |text: String| Error::new(ErrorKind::Decode, name, text).with_sent(Sent::No);
    match (Request::parse(json).map_err(invalid)?, name) {
        (Request::One(text), "horosembed_embed") => {
            response::one(&embedder.embed(&text).await?).or_internal()
        }
        (Request::Many(texts), "horosembed_batch") => {
            let texts: Vec<_> = texts.iter().map(String::as_str).collect();
            response::many(&embedder.batch(&texts).await?).or_internal()
        }
        (Request::One(_), _) => Err(invalid("`texts` is missing".to_owned())),
        (Request::Many(_), _) => Err(invalid("`text` is missing".to_owned())),
    }
}
