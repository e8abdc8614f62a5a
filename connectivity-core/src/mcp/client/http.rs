//! Sessions over Streamable HTTP.

use std::collections::HashMap;
use std::error::Error as StdError;
use std::sync::Arc;

use reqwest::header::{ACCEPT, HeaderName, HeaderValue};
use reqwest::{Client, StatusCode};
use rmcp::service::ClientInitializeError;
use rmcp::transport::streamable_http_client::{
    StreamableHttpClientTransport, StreamableHttpClientTransportConfig, StreamableHttpError,
};

use super::dial::{NO_SESSION, quoted, refusal};
use super::requests::Requests;
use super::response_filter::ToolsChanged;
use super::session::{Answers, MAX_IN_FLIGHT, Session};
use crate::error::{ErrorKind, Sent};
use crate::http::client::guard::Guard;
use crate::http::client::{Endpoint, guarded_client, kind_of, not_answered, row_headers};
use crate::routes::{RouteConfig, RouteError};
use crate::transport::link::DialError;

/// Headers that the protocol uses itself.
const RESERVED: &[&str] = &["mcp-session-id", "mcp-protocol-version", "last-event-id"];

/// Begins sessions at one URL.
pub(super) struct HttpDial {
    client: Client,
    url: Arc<str>,
    headers: HashMap<HeaderName, HeaderValue>,
    max_message: usize,
    pub(super) changed: ToolsChanged,
}

impl HttpDial {
    pub(super) fn new(
        endpoint: &str,
        config: &RouteConfig,
        guard: &Guard,
        max_message: usize,
    ) -> Result<Self, RouteError> {
        // Whatever stands behind the host is the URL's: no name of a method follows it.
        let endpoint = Endpoint::of_row(endpoint, "mcp", config.tls(), guard)?;
        let headers = row_headers(config)?;
        if let Some(name) =
            headers.keys().find(|name| **name == ACCEPT || RESERVED.contains(&name.as_str()))
        {
            return Err(RouteError::config(
                "headers",
                format_args!("`{name}` is the protocol's own"),
            ));
        }
        Ok(Self {
            client: guarded_client(guard, &endpoint, config.tls())?,
            url: endpoint.url("mcp").as_str().into(),
            headers: headers.into_iter().filter_map(|(name, value)| Some((name?, value))).collect(),
            max_message,
            changed: ToolsChanged::default(),
        })
    }

    pub(super) async fn dial(&self) -> Result<Session, DialError> {
        let config = StreamableHttpClientTransportConfig::with_uri(Arc::clone(&self.url))
            .max_concurrent_requests(MAX_IN_FLIGHT)
            .custom_headers(self.headers.clone())
            .max_sse_event_size(self.max_message)
            .max_json_response_size(self.max_message);
        let transport =
            StreamableHttpClientTransport::with_client(Requests(self.client.clone()), config);
        Session::open(transport, self.changed.clone(), Answers::InResponses, explain, || None).await
    }
}

fn explain(cause: &ClientInitializeError) -> DialError {
    match cause {
        ClientInitializeError::TransportError { error, .. } => {
            let (kind, message, _sent) = failure(error.error.as_ref());
            DialError { kind, ..DialError::connect(message) }
        }
        ClientInitializeError::LegacyFallbackFailed { fallback, .. } => explain(fallback),
        _ => DialError::connect(refusal(cause).unwrap_or_else(|| NO_SESSION.to_owned())),
    }
}

/// What a failed request means for a call. What a foreign server wrote in place of an answer stays
/// out of it.
pub(super) fn failure(cause: &(dyn StdError + Send + Sync + 'static)) -> (ErrorKind, String, Sent) {
    let answered = |kind, message: &str| (kind, message.to_owned(), Sent::Maybe);
    match cause.downcast_ref::<StreamableHttpError<reqwest::Error>>() {
        Some(StreamableHttpError::Client(cause)) => not_answered(cause),
        Some(StreamableHttpError::HttpStatus(status)) => of_status(status.status),
        Some(
            StreamableHttpError::Deserialize(_) | StreamableHttpError::UnexpectedServerResponse(_),
        ) => answered(ErrorKind::Decode, "the answer is no message of JSON-RPC"),
        Some(StreamableHttpError::ResponseBodyTooLarge { max_size }) => {
            (ErrorKind::TooLarge, format!("the answer is over {max_size} bytes"), Sent::Yes)
        }
        Some(StreamableHttpError::UnexpectedContentType(_)) => {
            answered(ErrorKind::Decode, "the answer is neither JSON nor a stream of events")
        }
        _ => answered(ErrorKind::Closed, &quoted(&cause.to_string())),
    }
}

fn of_status(status: u16) -> (ErrorKind, String, Sent) {
    let kind = StatusCode::from_u16(status).map_or(ErrorKind::Remote, kind_of);
    (kind, format!("status {status}"), Sent::Maybe)
}
