//! Refusals: the errors of a server, as texts, and the error that stands for a reply that cannot be
//! read.

use rmcp::model::{ErrorCode, ErrorData, RequestId, ServerJsonRpcMessage};
use rmcp::service::ClientInitializeError;

/// Error text for a server that neither starts a session nor gives a reason.
pub(super) const NO_SESSION: &str = "the server does not begin a session of MCP";

/// Returns the server's own reason for not starting a session, if it gave one.
pub(super) fn initialize_refusal(cause: &ClientInitializeError) -> Option<String> {
    match cause {
        ClientInitializeError::JsonRpcError(error) => {
            Some(rpc_error_text(error.code.0, &error.message))
        }
        ClientInitializeError::LegacyFallbackFailed { fallback, .. } => {
            initialize_refusal(fallback)
        }
        ClientInitializeError::NoCompatibleProtocolVersion { .. } => {
            Some("the server speaks no version of MCP that is known here".to_owned())
        }
        _ => None,
    }
}

/// Formats a JSON-RPC error.
pub(super) fn rpc_error_text(code: i32, message: &str) -> String {
    format!("the server refuses it with code {code}: {}", quoted(message))
}

/// Escapes text that a server wrote, which is untrusted data, and truncates it to a readable
/// length.
pub(super) fn quoted(text: &str) -> String {
    const LIMIT: usize = 500;
    let mut quoted: String = text.chars().take(LIMIT).flat_map(char::escape_debug).collect();
    if text.chars().nth(LIMIT).is_some() {
        quoted.push('…');
    }
    quoted
}

/// Error code that stands for an unreadable reply. It is neither a JSON-RPC code nor one that a
/// server uses.
pub(super) const UNREADABLE: ErrorCode = ErrorCode(i32::MIN);

/// Returns the error that takes the place of an unreadable reply.
pub(super) fn unreadable(id: RequestId, reason: &'static str) -> ServerJsonRpcMessage {
    ServerJsonRpcMessage::error(ErrorData::new(UNREADABLE, reason, None), Some(id))
}
