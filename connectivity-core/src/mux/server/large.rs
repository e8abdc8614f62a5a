//! The calls of large requests, on connections whose client may have a limited number of streams.

use std::fmt;
use std::sync::Arc;

use crate::transport::large_requests::LargePermit;

/// A connection whose client may have a limited number of streams. A stream whose request has been
/// read does not count: it only waits for its call, which may take as long as it likes.
pub(crate) trait Streams: fmt::Debug + Send + Sync {
    /// The call of one more stream runs.
    fn begin(&self);

    /// Such a call has ended.
    fn end(&self);
}

/// The memory of a large request, until its call has ended.
#[derive(Debug)]
pub(super) struct LargeCall {
    _memory: LargePermit,
    streams: Option<Arc<dyn Streams>>,
}

impl LargeCall {
    /// The request has been read as a whole: from now on its call runs.
    pub(super) fn run(memory: LargePermit, streams: Option<&Arc<dyn Streams>>) -> Self {
        let streams = streams.map(Arc::clone);
        streams.as_ref().inspect(|streams| streams.begin());
        Self { _memory: memory, streams }
    }
}

impl Drop for LargeCall {
    fn drop(&mut self) {
        if let Some(streams) = &self.streams {
            streams.end();
        }
    }
}
