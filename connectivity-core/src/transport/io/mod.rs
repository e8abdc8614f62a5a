//! Threads that run the sockets of a listener, and keep them running when an implementation blocks
//! one of the threads.
//!
//! Every listener has its own [`IoThreads`]. A call that arrives on one of them runs on the user's
//! runtime until its method has [proven quick](inline_policy). Then it is polled inline, on the
//! thread that read its request:
//!
//! ```text
//! runtime:  read requests -> queue calls -+                       +-> write replies, read requests
//! thread:                                 +-> poll queued calls --+
//! watchdog:    .     .     .     .     .     same poll as at the last check?
//!                                            then another thread takes over the runtime
//! ```
//!
//! A thread that merely waits for a CPU keeps the runtime: on a busy machine, another thread would
//! have to wait for one too.
//!
//! Calls of `mux` streams implement [`InlineCall`] themselves. Those of HTTP and MCP are futures,
//! which a [`Workplace`] runs.

mod driver;
mod inline_policy;
mod thread;
mod watchdog;
#[cfg(feature = "gateway")]
mod workplace;

pub(crate) use inline_policy::{InlinePolicies, InlinePolicy};
#[cfg(feature = "quic")]
pub(crate) use thread::Ended;
pub(crate) use thread::{InlineCall, InlineQueue, IoThread, IoThreads, Waiter};
#[cfg(feature = "gateway")]
pub(crate) use workplace::{Work, Workplace};
