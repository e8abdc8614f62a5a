//! Calls over a link: a call that was not sent goes on the next connection; one that may have run
//! is never repeated.

use std::sync::Arc;

use bytes::Bytes;

use super::connection::Connection;
use super::request::{CallOutcome, Outgoing};
use crate::call::{BoxFuture, Call};
use crate::codec::Codec;
use crate::context::timed_out;
use crate::error::{Error, ErrorKind, Sent};
use crate::mux::frame::{CallFailure, MAX_SMALL_BODY};
use crate::transport::link::{Dial, DialError, Link};

/// The most connections that a call tries when each breaks before the call was sent. Every one of
/// them was established first, so only connections that break immediately reach this limit.
const MAX_CONNECTIONS: usize = 4;

/// Dials the shared connections of a link, and those for large bodies.
pub(crate) trait MuxDial: Dial<Connection = Connection> {
    /// Opens a stream for one call with a large body.
    fn single(&self) -> BoxFuture<'_, Result<Connection, DialError>>;
}

/// A reply that came over a link.
#[derive(Debug)]
pub(crate) enum LinkReply {
    Reply { codec: Option<Codec>, app_error: bool, body: Bytes },
    CallFailure(CallFailure),
}

impl<D: MuxDial> Link<D> {
    /// Sends a call; `outgoing` builds the request for each attempt. A call that was not sent when
    /// its connection broke goes on the next one. A call that may have run is never repeated here:
    /// retries are up to the row.
    ///
    /// # Cancel safety
    /// Dropping the future cancels the call on the server too, if its request was sent.
    pub(crate) async fn call(
        self: &Arc<Self>,
        call: &Call,
        outgoing: impl Fn() -> Result<Outgoing, Error>,
    ) -> Result<LinkReply, Error> {
        let fail = |kind, message: &str, sent| call.failed(kind, message).with_sent(sent);
        for _ in 0..MAX_CONNECTIONS {
            let outgoing = outgoing()?;
            let max_reply = outgoing.max_reply;
            let connection = self.connection_for(call, outgoing.body.len()).await?;
            let outcome = connection.call(outgoing).await;
            let result = match outcome {
                CallOutcome::NotSent => continue,
                CallOutcome::Lost(reason) => {
                    return Err(fail(ErrorKind::Closed, &reason, Sent::Maybe));
                }
                CallOutcome::CutOff(reason) => {
                    return Err(fail(ErrorKind::Closed, &reason, Sent::No));
                }
                CallOutcome::Overloaded => {
                    return Err(fail(
                        ErrorKind::Overloaded,
                        "too many calls wait on this connection",
                        Sent::No,
                    ));
                }
                CallOutcome::TooLarge => Err(fail(
                    ErrorKind::TooLarge,
                    &format!("the reply is over {max_reply} bytes"),
                    Sent::Yes,
                )),
                CallOutcome::Reply { codec, app_error, body } => {
                    Ok(LinkReply::Reply { codec, app_error, body })
                }
                CallOutcome::CallFailure(failure) => Ok(LinkReply::CallFailure(failure)),
            };
            self.record_reply();
            return result;
        }
        Err(fail(ErrorKind::Closed, "connections break as soon as they are made", Sent::No))
    }

    /// Returns a connection for a call, within the call's deadline. If the deadline passes first,
    /// nothing was sent.
    async fn connection_for(
        self: &Arc<Self>,
        call: &Call,
        body: usize,
    ) -> Result<Arc<Connection>, Error> {
        let is_small = body <= MAX_SMALL_BODY;
        if let Some(connection) = self.usable().filter(|_| is_small) {
            return Ok(connection);
        }
        let dialled = async {
            // Needed for a large body too: on the connection of small calls the server announces
            // its shutdown.
            let shared = self.connection().await?;
            if is_small {
                Ok(shared)
            } else {
                self.record_outcome(self.dial().single().await).map(Arc::new)
            }
        };
        let dialled = match call.context().deadline() {
            Some(deadline) => tokio::time::timeout_at(deadline, dialled).await,
            None => Ok(dialled.await),
        };
        let not_sent =
            |cause: DialError| call.failed(cause.kind, cause.message).with_sent(Sent::No);
        dialled.map_err(|_elapsed| timed_out(call.name()).with_sent(Sent::No))?.map_err(not_sent)
    }
}
