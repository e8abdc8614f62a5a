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

use super::refusal::{NO_SESSION, initialize_refusal, quoted};
use super::requests::Requests;
use super::response_filter::ToolsChanged;
use super::session::{MAX_IN_FLIGHT, ReplyPath, Session};
use crate::error::{ErrorKind, Sent};
use crate::http::client::guard::Guard;
use crate::http::client::{Endpoint, guarded_client, kind_of, not_answered, row_headers};
use crate::routes::{RouteConfig, RouteError};
use crate::transport::link::DialError;

/// Headers that the protocol sets itself.
const RESERVED: &[&str] = &["mcp-session-id", "mcp-protocol-version", "last-event-id"];

/// Opens sessions at one URL.
pub(super) struct HttpDial {
    client: Client,
    url: Arc<str>,
    headers: HashMap<HeaderName, HeaderValue>,
    max_message: usize,
    pub(super) tools_changed: ToolsChanged,
}

impl HttpDial {
    pub(super) fn new(
        endpoint: &str,
        config: &RouteConfig,
        guard: &Guard,
        max_message: usize,
    ) -> Result<Self, RouteError> {
        // The path is part of the URL: no method name is appended.
        let endpoint = Endpoint::of_row(endpoint, "mcp", &config.tls, guard)?;
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
            client: guarded_client(guard, &endpoint, &config.tls)?,
            url: endpoint.url("mcp").as_str().into(),
            headers: headers.into_iter().filter_map(|(name, value)| Some((name?, value))).collect(),
            max_message,
            tools_changed: ToolsChanged::default(),
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
        Session::open(
            transport,
            self.tools_changed.clone(),
            ReplyPath::HttpResponses,
            map_initialize_error,
            || None,
        )
        .await
    }
}

fn map_initialize_error(cause: &ClientInitializeError) -> DialError {
    match cause {
        ClientInitializeError::TransportError { error, .. } => {
            let (kind, message, _sent) = map_failure(error.error.as_ref());
            DialError { kind, ..DialError::connect(message) }
        }
        ClientInitializeError::LegacyFallbackFailed { fallback, .. } => {
            map_initialize_error(fallback)
        }
        _ => DialError::connect(initialize_refusal(cause).unwrap_or_else(|| NO_SESSION.to_owned())),
    }
}

/// Maps a failed request to the error of a call. The message leaves out the body of a foreign
/// server's response.
pub(super) fn map_failure(
    cause: &(dyn StdError + Send + Sync + 'static),
) -> (ErrorKind, String, Sent) {
    let maybe_sent = |kind, message: &str| (kind, message.to_owned(), Sent::Maybe);
    match cause.downcast_ref::<StreamableHttpError<reqwest::Error>>() {
        Some(StreamableHttpError::Client(cause)) => not_answered(cause),
        Some(StreamableHttpError::HttpStatus(status)) => status_failure(status.status),
        Some(
            StreamableHttpError::Deserialize(_) | StreamableHttpError::UnexpectedServerResponse(_),
        ) => maybe_sent(ErrorKind::Decode, "the answer is no message of JSON-RPC"),
        Some(StreamableHttpError::ResponseBodyTooLarge { max_size }) => {
            (ErrorKind::TooLarge, format!("the answer is over {max_size} bytes"), Sent::Yes)
        }
        Some(StreamableHttpError::UnexpectedContentType(_)) => {
            maybe_sent(ErrorKind::Decode, "the answer is neither JSON nor a stream of events")
        }
        _ => maybe_sent(ErrorKind::Closed, &quoted(&cause.to_string())),
    }
}

fn status_failure(status: u16) -> (ErrorKind, String, Sent) {
    let kind = StatusCode::from_u16(status).map_or(ErrorKind::Remote, kind_of);
    (kind, format!("status {status}"), Sent::Maybe)
}
