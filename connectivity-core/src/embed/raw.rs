//! The raw services of the original Go package.

use bytes::Bytes;

use super::request::Request;
use super::response;
use super::service::Embedder;
use crate::context::OrInternal;
use crate::error::{Error, ErrorKind, Sent};
use crate::router::{RegisterError, Router};

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
        router.register_raw(name, move |bytes: Bytes| {
            let embedder = embedder.clone();
            async move { answer(name, &embedder, &bytes).await }
        })?;
    }
    Ok(())
}

async fn answer(name: &str, embedder: &impl Embedder, json: &[u8]) -> Result<Bytes, Error> {
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
