//! Threads that run the sockets of a listener, and go on when an implementation blocks one of them.
//!
//! Every listener has some: [`IoThreads`]. A call that came in on one of them runs on the user's
//! runtime, until its method has [proven quick](inline_policy); then it is polled inline, on the
//! thread that has read its request:
//!
//! ```text
//! runtime: read requests -> queue calls ─┐                          ┌─> write replies, read requests -> ..
//! thread:                                └─> poll a call, and another ┘
//! watchdog:      .    .    .    .    .   the same poll as at the last look? another thread takes the runtime over
//! ```
//!
//! A thread that only lacks a processor keeps the runtime: on a busy machine another would wait for
//! one as well.
//!
//! The calls of `mux` streams are [`InlineCall`]s of their own kind; those of HTTP and MCP are
//! futures, which a [`Workplace`] runs.

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
