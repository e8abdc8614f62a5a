//! One body limit with the same meaning on every strategy: a body at the limit passes, one more
//! byte is refused, and the error names the limit.

use bytes::Bytes;
use connectivity_core::{
    Error, ErrorKind, HttpListener, HttpTransport, McpListener, McpTransport, MemoryRoutes,
    RawForm, Router, Sent, Server, Tls,
};

/// Maximum size of a request body, and of a reply body unless the row overrides it.
const LIMIT: usize = 16 << 20;

/// Maximum size of an MCP message: a body and its envelope.
const MCP_MESSAGE: usize = 10 << 20;

/// Maximum size of an MCP envelope.
const MCP_ENVELOPE: usize = 4096;

const STRATEGIES: [&str; 5] = ["http", "unix", "quic", "mcp by quic", "mcp by http"];

/// A server on every strategy. `count` replies with the size of its request, `fill` with a body of
/// the requested size.
struct TestServer {
    server: Server,
    pin: String,
    _dir: tempfile::TempDir,
}

impl TestServer {
    async fn start() -> Self {
        let router = Router::builder().source(MemoryRoutes::new()).build().unwrap();
        router
            .register_raw("count", async |bytes: Bytes| Ok(Bytes::from(bytes.len().to_string())))
            .unwrap();
        router
            .register_raw("fill", async |bytes: Bytes| Ok(object(requested_length(&bytes))))
            .unwrap();
        let tls = Tls::self_signed(["localhost"]).unwrap();
        let (dir, pin) = (tempfile::tempdir().unwrap(), tls.pin_sha256());
        let raw = |mcp: connectivity_core::Mcp| {
            mcp.raw("count", RawForm::Json).raw("fill", RawForm::Json)
        };
        let server = Server::builder(&router)
            .expose(["count", "fill"])
            .unix(dir.path().join("far.sock").display().to_string())
            .quic("127.0.0.1:0", tls.clone())
            .listener("mcp", McpListener::new("127.0.0.1:0", tls).mcp(raw))
            .listener("http", HttpListener::new("127.0.0.1:0").mcp(raw));
        Self { server: server.start().await.unwrap(), pin, _dir: dir }
    }

    /// Returns a router whose rows lead to this server by one strategy.
    fn client(&self, strategy: &str, config: &str) -> Router {
        let (routes, word) = (MemoryRoutes::new(), strategy.split(' ').next().unwrap());
        for name in ["count", "fill"] {
            let address = |word| self.server.address(word).unwrap();
            let (endpoint, keys) = match strategy {
                "http" => (format!("http://{}/{name}", address("http")), String::new()),
                "mcp by http" => {
                    (format!("http://{}/mcp", address("http")), format!(r#","tool_name":"{name}""#))
                }
                "mcp by quic" => (
                    address("mcp").to_owned(),
                    format!(r#","tool_name":"{name}","pin_sha256":"{}""#, self.pin),
                ),
                "quic" => (address("quic").to_owned(), format!(r#","pin_sha256":"{}""#, self.pin)),
                _ => (address("unix").to_owned(), String::new()),
            };
            routes.set(
                name,
                word,
                Some(&endpoint),
                &format!(r#"{{"timeout_ms":600000{config}{keys}}}"#),
            );
        }
        let builder = Router::builder().transport("http", HttpTransport::new().allow_internal());
        builder
            .transport("mcp", McpTransport::new().allow_internal())
            .source(routes)
            .build()
            .unwrap()
    }
}

/// Returns a JSON object of `length` bytes, which every strategy carries unchanged.
fn object(length: usize) -> Bytes {
    let mut object = br#"{"x":""#.to_vec();
    object.resize(length - 2, b'x');
    object.extend_from_slice(br#""}"#);
    object.into()
}

fn requested_length(bytes: &[u8]) -> usize {
    std::str::from_utf8(bytes)
        .unwrap()
        .trim_start_matches(r#"{"length":"#)
        .trim_end_matches('}')
        .parse()
        .unwrap()
}

async fn count(client: &Router, length: usize) -> Result<(), Error> {
    let counted = client.call("count", object(length)).await?;
    assert_eq!(counted, length.to_string());
    Ok(())
}

async fn fill(client: &Router, length: usize) -> Result<(), Error> {
    let filled = client.call("fill", format!(r#"{{"length":{length}}}"#)).await?;
    assert!(filled == object(length), "{} bytes", filled.len());
    Ok(())
}

/// Asserts that the error names the limit and that later calls succeed.
async fn assert_refused(
    strategy: &str,
    client: &Router,
    result: Result<(), Error>,
    sent: Sent,
    limit: usize,
) {
    let error = result.expect_err(strategy);
    assert_eq!((error.kind(), error.sent()), (ErrorKind::TooLarge, sent), "{strategy}: {error}");
    assert!(error.message().contains(&limit.to_string()), "{strategy}: {error}");
    assert_eq!(count(client, 100).await, Ok(()), "{strategy}: the next call goes through");
}

/// Returns the largest request that a server accepts whatever the row allows, the smallest that it
/// refuses, and the limit that its error names.
fn request_limits(strategy: &str) -> (usize, usize, usize) {
    match strategy {
        "http" | "unix" | "quic" => (LIMIT, LIMIT + 1, LIMIT),
        _ => (MCP_MESSAGE - MCP_ENVELOPE, MCP_MESSAGE, MCP_MESSAGE),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_over_the_limit_of_its_row_does_not_leave() {
    let server = TestServer::start().await;
    for strategy in STRATEGIES {
        let client = server.client(strategy, "");
        let (accepted, _, _) = request_limits(strategy);
        assert_eq!(count(&client, accepted).await, Ok(()), "{strategy}");
        assert_refused(strategy, &client, count(&client, LIMIT + 1).await, Sent::No, LIMIT).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_over_the_limit_of_the_server_does_not_run() {
    let server = TestServer::start().await;
    for strategy in STRATEGIES {
        let client = server.client(strategy, r#","max_request_bytes":67108864"#);
        let (accepted, too_large, limit) = request_limits(strategy);
        assert_eq!(count(&client, accepted).await, Ok(()), "{strategy}");
        assert_refused(strategy, &client, count(&client, too_large).await, Sent::No, limit).await;
        assert_refused(strategy, &client, count(&client, LIMIT + (1 << 20)).await, Sent::No, limit)
            .await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reply_over_the_limit_is_refused_where_it_is_read() {
    let server = TestServer::start().await;
    for strategy in ["http", "unix", "quic"] {
        let client = server.client(strategy, "");
        assert_eq!(fill(&client, LIMIT).await, Ok(()), "{strategy}");
        assert_refused(strategy, &client, fill(&client, LIMIT + 1).await, Sent::Yes, LIMIT).await;
        assert_refused(strategy, &client, fill(&client, 2 * LIMIT).await, Sent::Yes, LIMIT).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_row_says_how_large_a_reply_may_be() {
    let server = TestServer::start().await;
    for strategy in STRATEGIES {
        // Larger than the default, on strategies where that is fast.
        let limit = if strategy.starts_with("mcp") { 1 << 20 } else { LIMIT + 1 };
        let client = server.client(strategy, &format!(r#","max_reply_bytes":{limit}"#));
        assert_eq!(fill(&client, limit).await, Ok(()), "{strategy}");
        assert_refused(strategy, &client, fill(&client, limit + 1).await, Sent::Yes, limit).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_of_mcp_that_is_far_over_the_limit_of_its_reply_is_not_read() {
    let server = TestServer::start().await;
    for strategy in ["mcp by quic", "mcp by http"] {
        let client = server.client(strategy, r#","max_reply_bytes":1048576"#);
        // A message contains its result twice. A message of three times the limit is skipped, so it
        // cannot be matched to its call.
        let error = fill(&client, 2 << 20).await.expect_err(strategy);
        assert_eq!(error.kind(), ErrorKind::TooLarge, "{strategy}: {error}");
        assert_eq!(count(&client, 100).await, Ok(()), "{strategy}: the next call goes through");
    }
}
