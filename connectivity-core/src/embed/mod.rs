//! Strategy `embed`: turns texts into vectors, by a server with the API of OpenAI's embeddings
//! (`POST /v1/embeddings`), which most embedding servers speak.
//!
//! The endpoint of a row is the server's base URL. The config names the `model`, the `dimension` to
//! insist on, the `batch_size`, and the `api_key` as a reference to a secret. A row without an
//! endpoint answers every text with a vector of zeros, as the original Go package does.

mod client;
mod embedding;
mod raw;
mod request;
mod response;
mod service;
mod transport;
pub mod vector;

pub use embedding::{Embedding, Embeddings};
pub use raw::register_raw;
pub use service::{Embedder, EmbedderClient, EmbedderService};
pub use transport::EmbedTransport;
