//! The typed service over the strategy.

use super::embedding::{Embedding, Embeddings};
use crate::error::Error;
use crate::service;

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
