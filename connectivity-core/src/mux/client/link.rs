//! A call over a link of many calls: on the next connection where it was not sent, and never twice
//! where it may have run.

use std::sync::Arc;

use bytes::Bytes;

use super::connection::{CallOutcome, Connection};
use super::request::Outgoing;
use crate::call::{BoxFuture, Call};
use crate::codec::Codec;
use crate::context::timed_out;
use crate::error::{Error, ErrorKind, Sent};
use crate::mux::frame::{CallFailure, MAX_SMALL_BODY};
use crate::transport::link::{Dial, DialError, Link};

/// How often a call looks for another connection after one broke before the call was sent. Each
/// time a connection had been made, so this ends with whatever breaks connections, not with this
/// number, unless they break at once.
const CONNECTIONS: usize = 4;

/// Makes the connections of many calls, and those of large bodies.
pub(crate) trait MuxDial: Dial<Connection = Connection> {
    /// Gets a stream for one call with a large body.
    fn single(&self) -> BoxFuture<'_, Result<Connection, DialError>>;
}

/// An answer that came over a link.
#[derive(Debug)]
pub(crate) enum LinkReply {
    Reply { codec: Option<Codec>, app_error: bool, body: Bytes },
    CallFailure(CallFailure),
}

impl<D: MuxDial> Link<D> {
    /// Sends a call, as `outgoing` makes it for each attempt. One that was not sent when its
    /// connection broke goes on the next. One that may have run is never repeated here: retries are
    /// the row's.
    pub(crate) async fn call(
        self: &Arc<Self>,
        call: &Call,
        outgoing: impl Fn() -> Result<Outgoing, Error>,
    ) -> Result<LinkReply, Error> {
        let fail = |kind, message: &str, sent| call.failed(kind, message).with_sent(sent);
        for _ in 0..CONNECTIONS {
            let outgoing = outgoing()?;
            let max_reply = outgoing.max_reply;
            let connection = self.connection_for(call, outgoing.body.len()).await?;
            let outcome = connection.call(outgoing).await;
            let answer = match outcome {
                CallOutcome::NotSent => continue,
                CallOutcome::Lost(why) => return Err(fail(ErrorKind::Closed, &why, Sent::Maybe)),
                CallOutcome::CutOff(why) => return Err(fail(ErrorKind::Closed, &why, Sent::No)),
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
            self.answered();
            return answer;
        }
        Err(fail(ErrorKind::Closed, "connections break as soon as they are made", Sent::No))
    }

    /// Gets the connection of a call within its deadline: nothing was sent when that ends first.
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
            // Also where a large body goes elsewhere: on the connection of small calls a server
            // says that it leaves.
            let shared = self.connection().await?;
            if is_small { Ok(shared) } else { self.noted(self.dial().single().await).map(Arc::new) }
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
