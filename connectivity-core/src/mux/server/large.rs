//! Resources of a large request's call: its memory, and its share of a limited number of streams.

use std::fmt;
use std::sync::Arc;

use crate::transport::large_requests::LargePermit;

/// A connection that limits its client's streams. A stream whose request has been read no longer
/// counts: it only waits for its call, which may take arbitrarily long.
pub(crate) trait Streams: fmt::Debug + Send + Sync {
    /// Records that the call of one more stream runs.
    fn call_started(&self);

    /// Records that such a call has ended.
    fn call_ended(&self);
}

/// Holds the memory of a large request until its call has ended.
#[derive(Debug)]
pub(super) struct LargeCall {
    _memory: LargePermit,
    streams: Option<Arc<dyn Streams>>,
}

impl LargeCall {
    /// Records that the request has been read as a whole and its call runs.
    pub(super) fn start(memory: LargePermit, streams: Option<&Arc<dyn Streams>>) -> Self {
        let streams = streams.map(Arc::clone);
        streams.as_ref().inspect(|streams| streams.call_started());
        Self { _memory: memory, streams }
    }
}

impl Drop for LargeCall {
    fn drop(&mut self) {
        if let Some(streams) = &self.streams {
            streams.call_ended();
        }
    }
}
