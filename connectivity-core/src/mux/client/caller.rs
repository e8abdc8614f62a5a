//! Client of one route: encodes its calls and sends them over a shared connection.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::link::{LinkReply, MuxDial};
use super::request::Outgoing;
use crate::call::{Call, CallService, Reply};
use crate::codec::Codec;
use crate::error::{Error, ErrorKind, Sent};
use crate::mux::frame::CallFailure;
use crate::routes::Route;
use crate::transport::Remote;
use crate::transport::contract::{Contracts, Encoding};
use crate::transport::link::Link;
use crate::transport::remote_name::RemoteName;

/// Client of one route, over a link that other routes may share.
pub(crate) struct MuxRemote<D: MuxDial> {
    link: Arc<Link<D>>,
    contracts: Contracts,
    /// The number of the connection that `contracts` was learned from.
    learned_from: AtomicUsize,
    codec: Codec,
    name: RemoteName,
    max_request: usize,
    max_reply: usize,
}

impl<D: MuxDial> MuxRemote<D> {
    /// Builds the remote of a route from the link to its endpoint.
    pub(crate) fn remote(route: &Route, link: Arc<Link<D>>) -> Remote {
        let config = route.config();
        let sender = Arc::new(Self {
            link,
            contracts: Contracts::default(),
            learned_from: AtomicUsize::new(0),
            codec: config.codec.unwrap_or(Codec::Bincode),
            name: RemoteName::of(route),
            max_request: config.max_request_bytes,
            max_reply: config.max_reply_bytes,
        });
        let (codec, state, warnings) = (sender.codec, Arc::clone(&sender), Arc::clone(&sender));
        let service = CallService::from_fn(move |call| Arc::clone(&sender).send(call));
        let remote = Remote::new(service).with_codec(codec).with_state(move || state.link.state());
        remote.with_warnings(move || warnings.contracts.warnings())
    }

    async fn send(self: Arc<Self>, call: Call) -> Result<Reply, Error> {
        let connection = self.link.connection_number();
        // Load first: an unconditional store would make all threads contend for the cache line.
        if self.learned_from.load(Ordering::Relaxed) != connection {
            self.learned_from.store(connection, Ordering::Relaxed);
            self.contracts.forget_differences();
        }
        let encoding = self.contracts.encoding(&call, self.codec);
        match self.attempt(&call, &encoding).await {
            // The row's codec does not suit both contracts. Now `contracts` knows the difference
            // and selects another encoding.
            Err(error) if self.contracts.record_refusal(&call, &encoding, &error) => {
                let encoding = self.contracts.encoding(&call, self.codec);
                encoding.annotate(&call, self.attempt(&call, &encoding).await)
            }
            result => encoding.annotate(&call, result),
        }
    }

    async fn attempt(&self, call: &Call, encoding: &Encoding) -> Result<Reply, Error> {
        match self.link.call(call, || self.outgoing(call, encoding)).await? {
            LinkReply::Reply { codec: Some(codec), app_error, body } => {
                Ok(Reply::encoded(codec, body, app_error))
            }
            LinkReply::Reply { codec: None, body, .. } => Ok(Reply::raw(body)),
            LinkReply::CallFailure(CallFailure { kind, sent, message, .. }) => {
                Err(call.failed(kind, message.escape_debug()).with_sent(sent))
            }
        }
    }

    fn outgoing(&self, call: &Call, encoding: &Encoding) -> Result<Outgoing, Error> {
        let outgoing =
            Outgoing::new(call, self.name.of_call(call)?, encoding.codec, self.max_reply)?;
        let (length, limit) = (outgoing.body.len(), self.max_request);
        if length > limit {
            let message = format_args!("the request has {length} bytes, the route allows {limit}");
            return Err(call.failed(ErrorKind::TooLarge, message).with_sent(Sent::No));
        }
        Ok(outgoing)
    }
}
