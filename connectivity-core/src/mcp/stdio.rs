//! A session over the standard input and output of this process: an agent's host has started it.

use std::io;
use std::sync::Arc;

use super::Inner;
use super::session::{self, Limits};
use super::wire::End;

/// Serves the one session that there is.
pub(super) async fn serve(inner: Arc<Inner>) -> io::Result<()> {
    let limits = Limits { opening: None, stall: None, message: inner.max_message };
    let streams = (tokio::io::stdin(), tokio::io::stdout());
    match session::serve(inner, None, streams, limits, None).await {
        End::Closed => Ok(()),
        End::TooLong => Err(io::Error::new(io::ErrorKind::InvalidData, "a message was longer than the limit")),
        End::Broken => Err(io::ErrorKind::BrokenPipe.into()),
    }
}
