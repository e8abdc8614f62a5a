//! A call over a link of many calls: on the next connection where it was not sent, and not twice where it may have run.

use std::sync::Arc;

use bytes::Bytes;

use super::connection::{Connection, Outcome};
use super::request::Outgoing;
use crate::call::{BoxFuture, Call};
use crate::codec::Codec;
use crate::error::{Error, ErrorKind, Sent};
use crate::transport::link::{Dial, DialError, Link};
use crate::transport::wire::{Failure, MAX_SMALL_BODY};

/// How often a call looks for another connection after one broke before the call was sent. Each time a connection had been
/// made, so this ends with whatever breaks connections, not with this number, unless they break at once.
const CONNECTIONS: usize = 4;

/// Makes the connections of many calls, and those of large bodies.
pub(crate) trait MuxDial: Dial<Connection = Connection> {
    /// Gets a stream for one call with a large body.
    fn single(&self) -> BoxFuture<'_, Result<Connection, DialError>>;
}

/// An answer that came over a link.
#[derive(Debug)]
pub(crate) enum Answer {
    Reply { codec: Option<Codec>, app_error: bool, body: Bytes },
    Failure(Failure),
}

impl<D: MuxDial> Link<D> {
    /// Sends a call, as `outgoing` makes it for each attempt. One that was not sent when its connection broke goes on the next;
    /// one that may have run is repeated only if it is idempotent.
    pub(crate) async fn call(
        self: &Arc<Self>,
        call: &Call,
        outgoing: impl Fn() -> Result<Outgoing, Error>,
    ) -> Result<Answer, Error> {
        let fail = |kind, message: &str, sent| call.failed(kind, message).with_sent(sent);
        let mut lost = None;
        for _ in 0..CONNECTIONS {
            let outgoing = outgoing()?;
            let max_reply = outgoing.max_reply;
            let connection = self.connection_for(outgoing.body.len()).await;
            // A repeated call that finds nobody has still been sent once.
            let sent = if lost.is_some() { Sent::Maybe } else { Sent::No };
            let connection = connection.map_err(|cause| fail(cause.kind, &cause.message, sent))?;
            match connection.call(outgoing).await {
                Outcome::Reply { codec, app_error, body } => return Ok(Answer::Reply { codec, app_error, body }),
                Outcome::Failure(failure) => return Ok(Answer::Failure(failure)),
                Outcome::TooLarge => {
                    let message = format!("the reply is over {max_reply} bytes");
                    return Err(fail(ErrorKind::TooLarge, &message, Sent::Yes));
                }
                Outcome::Overloaded => {
                    return Err(fail(ErrorKind::Overloaded, "too many calls wait on this connection", sent));
                }
                Outcome::NotSent => {}
                Outcome::Lost(why) if call.is_idempotent() => lost = Some(why),
                Outcome::Lost(why) => return Err(fail(ErrorKind::Closed, &why, Sent::Maybe)),
            }
        }
        let sent = if lost.is_some() { Sent::Maybe } else { Sent::No };
        let why = lost.as_deref().unwrap_or("connections break as soon as they are made");
        Err(fail(ErrorKind::Closed, why, sent))
    }

    async fn connection_for(self: &Arc<Self>, body: usize) -> Result<Arc<Connection>, DialError> {
        // Also where a large body goes elsewhere: on the connection of small calls a server says that it leaves.
        let shared = self.connection().await?;
        if body <= MAX_SMALL_BODY {
            return Ok(shared);
        }
        self.noted(self.dial().single().await).map(Arc::new)
    }
}
