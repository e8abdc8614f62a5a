//! Malicious clients: each gets an error, or its session is closed with a reason. Other sessions
//! are not affected.

use std::time::Duration;

use connectivity_core::McpListener;
use quinn::{ConnectionError, VarInt};
use serde_json::{Value, json};
use tests::certificates::Files;

use super::client::*;

/// Returns the code and the reason of the server's close.
async fn reason(client: &Client) -> (u64, String) {
    let closed =
        tokio::time::timeout(Duration::from_secs(20), client.connection.closed()).await.unwrap();
    match closed {
        ConnectionError::ApplicationClosed(close) => {
            (close.error_code.into_inner(), String::from_utf8_lossy(&close.reason).into_owned())
        }
        other => panic!("{other}"),
    }
}

#[tokio::test]
async fn what_is_no_request_gets_an_error_and_the_session_lives() {
    let server = start_server().await;
    let mut client = Client::open(&server).await;
    let mut witness = Client::open(&server).await;
    let deep = format!("{}1{}", "[".repeat(100_000), "]".repeat(100_000));
    let deep_arguments = format!(
        r#"{{"jsonrpc":"2.0","id":2,"method":"tools/call","params":{{"name":"billing.quote","arguments":{{"order":{deep}}}}}}}"#
    );
    let crowd = format!("[{}0]", "0,".repeat(400_000));
    for (label, message, code) in [
        (
            "a batch",
            r#"[{"jsonrpc":"2.0","id":2,"method":"ping"},{"jsonrpc":"2.0","id":3,"method":"ping"}]"#,
            -32600,
        ),
        ("an empty batch", "[]", -32600),
        ("junk", "GET / HTTP/1.1", -32700),
        (
            "half a request",
            "{\"jsonrpc\":\"2.0\",\"id\":2,\"method\":\"ping\"
{\"jsonrpc\":\"2.0\",\"method\":\"odd\"}",
            -32700,
        ),
        ("half a text", r#"{"jsonrpc":"2.0","id":2,"method":"pi"#, -32700),
        ("no JSON in brackets", "{hello}", -32700),
        ("another version", r#"{"jsonrpc":"1.0","id":2,"method":"ping"}"#, -32600),
        ("no version", r#"{"id":2,"method":"ping"}"#, -32600),
        ("a fraction as id", r#"{"jsonrpc":"2.0","id":1.5,"method":"ping"}"#, -32600),
        ("an object as id", r#"{"jsonrpc":"2.0","id":{"a":1},"method":"ping"}"#, -32600),
        ("null as id", r#"{"jsonrpc":"2.0","id":null,"method":"ping"}"#, -32600),
        ("a large id", r#"{"jsonrpc":"2.0","id":99999999999999999999,"method":"ping"}"#, -32600),
        ("a number as method", r#"{"jsonrpc":"2.0","id":2,"method":7}"#, -32600),
        (
            "params of another form",
            r#"{"jsonrpc":"2.0","id":2,"method":"tools/call","params":{"name":7}}"#,
            -32602,
        ),
        (
            "arguments of another form",
            r#"{"jsonrpc":"2.0","id":2,"method":"tools/call","params":{"name":"billing.quote","arguments":[1]}}"#,
            -32602,
        ),
        ("depth", &deep, -32700),
        ("depth in arguments", &deep_arguments, -32700),
        ("a crowd", &crowd, -32600),
    ] {
        client.write(format!("{message}\n")).await;
        let response = client.next().await;
        assert_eq!(response["error"]["code"], code, "{label}: {response}");
        client.assert_alive(label).await;
    }
    client.write(b"{\"a\":\"\xff\"}\n").await;
    assert_eq!(client.next().await["error"]["code"], -32700);
    client.assert_alive("bytes that are no text").await;
    witness.assert_alive("all that").await;
}

#[tokio::test]
async fn names_and_arguments_are_data() {
    let server = start_server().await;
    let mut client = Client::open(&server).await;
    for name in [
        "'; DROP TABLE routes; --",
        "--help",
        "-rf",
        "../../etc/passwd",
        "billing.quote\n",
        "BILLING.quote",
        "\u{1b}[2J",
        "$(id)",
    ] {
        let response = client.call(name, json!({})).await;
        assert_eq!(response["error"]["code"], -32602, "{response}");
        assert!(!response["error"]["message"].as_str().unwrap().contains('\u{1b}'), "{response}");
    }
    let long = client.call(&"x".repeat(100_000), json!({})).await;
    assert!(
        long["error"]["message"].as_str().unwrap().len() < 1000,
        "what is told of a name is short"
    );
    let sql = "'; DROP TABLE routes; --";
    let response = client.call("billing.charge", json!({ "order": sql, "cents": 1 })).await;
    assert_eq!(response["result"]["structuredContent"]["id"], sql);
}

#[tokio::test]
async fn one_id_twice_is_refused_the_second_time() {
    let server = start_server().await;
    let mut client = Client::open(&server).await;
    let sleep = json!({ "jsonrpc": "2.0", "id": 5, "method": "tools/call",
        "params": { "name": "billing.sleep", "arguments": { "ms": 3_600_000 } } });
    client.write(format!("{sleep}\n{sleep}\n")).await;
    let response = client.next().await;
    assert_eq!(
        (&response["id"], &response["error"]["code"]),
        (&json!(5), &json!(-32600)),
        "{response}"
    );
    client.assert_alive("one id twice").await;
}

#[tokio::test]
async fn a_flood_is_refused_and_what_was_there_goes_on() {
    let server = start_server().await;
    let mut client = Client::open(&server).await;
    for id in 0..200 {
        let sleep = json!({ "jsonrpc": "2.0", "id": id, "method": "tools/call",
            "params": { "name": "billing.sleep", "arguments": { "ms": 3_600_000 } } });
        client.write(format!("{sleep}\n")).await;
    }
    for id in 128..200 {
        let response = client.next().await;
        assert_eq!(
            (&response["id"], &response["error"]["code"]),
            (&json!(id), &json!(-32000)),
            "{response}"
        );
    }
    Client::open(&server).await.assert_alive("the flood of another").await;
    let cancel = json!({ "jsonrpc": "2.0", "method": "notifications/cancelled", "params": { "requestId": 0 } });
    client.write(format!("{cancel}\n")).await;
    client.assert_alive("a flood").await;
}

#[tokio::test]
async fn an_endless_line_ends_its_session_with_a_reason() {
    let server = start_server().await;
    let mut witness = Client::open(&server).await;
    for start in ["{\"jsonrpc\":\"2.0\",\"id\":2,\"method\":\"", "x"] {
        let mut client = Client::open(&server).await;
        let mut sent = 0;
        client.write(start).await;
        // Flow control limits how much can be sent beyond what the server reads, so this ends
        // either way.
        while sent < (4 << 20) && client.send.write_all(&[b'x'; 1 << 14]).await.is_ok() {
            sent += 1 << 14;
        }
        let response = client.next().await;
        assert_eq!(response["error"]["code"], -32600, "{response}");
        assert_eq!(reason(&client).await, (3, "a message was too long".to_owned()));
    }
    witness.assert_alive("an endless line of another").await;
}

#[tokio::test]
async fn who_begins_otherwise_is_closed_with_a_reason() {
    let server = start_server().await;
    for beginning in ["MCP2", "GET / HTTP/1.1\r\n", "\0\0\0\0"] {
        let client = Client::connect(&server, beginning).await;
        assert_eq!(reason(&client).await, (3, "invalid magic bytes".to_owned()));
    }
    let mut short = Client::connect(&server, "MC").await;
    short.send.finish().unwrap();
    assert_eq!(reason(&short).await.0, 3);
    let error = Client::dial(&server, "mcp/0", None).await.err().unwrap();
    assert!(
        error.contains("no_application_protocol")
            || error.contains("known application protocol")
            || error.contains("120"),
        "{error}"
    );
    Client::open(&server).await.assert_alive("all that").await;
}

#[tokio::test]
async fn before_the_first_request_nothing_but_a_request_is_heard() {
    let server = start_server().await;
    let mut client = Client::connect(&server, &format!("MCP1{INITIALIZED}")).await;
    let early = client.call("billing.quote", json!({ "order": "abc" })).await;
    assert_eq!(early["error"]["code"], -32602, "{early}");
    client.write(INITIALIZE).await;
    assert_eq!(client.next().await["result"]["protocolVersion"], "2025-06-18");
    client.assert_alive("an early call").await;
}

#[tokio::test]
async fn a_client_that_goes_ends_its_calls() {
    let server = start_server().await;
    let mut client = Client::open(&server).await;
    let work = json!({ "jsonrpc": "2.0", "id": 5, "method": "tools/call",
        "params": { "name": "billing.work", "arguments": { "order": "17", "ms": 3_600_000 } } });
    client.write(format!("{work}\n")).await;
    while server.shop.journal.began() == 0 {
        tokio::task::yield_now().await;
    }
    client.connection.close(VarInt::from_u32(0), b"client closing");
    // A drain would wait an hour for the call.
    server.handle.shutdown(Duration::from_secs(3600)).await;
    assert_eq!(server.shop.journal.ended(), 0);
}

#[tokio::test]
async fn a_drain_lets_calls_end_and_takes_no_more() {
    let server = start_server().await;
    let mut client = Client::open(&server).await;
    let work = json!({ "jsonrpc": "2.0", "id": 5, "method": "tools/call",
        "params": { "name": "billing.work", "arguments": { "order": "17", "ms": 1500 } } });
    client.write(format!("{work}\n")).await;
    while server.shop.journal.began() == 0 {
        tokio::task::yield_now().await;
    }
    let (address, shutdown) =
        (server.address, tokio::spawn(server.handle.shutdown(Duration::from_secs(20))));
    assert_eq!(client.next().await["method"], "notifications/connectivity/leaving");
    let late = client.call("billing.quote", json!({ "order": "18" })).await;
    assert_eq!(
        (&late["error"]["code"], &late["error"]["data"]["kind"]),
        (&(-32000).into(), &"closed".into()),
        "{late}"
    );
    let response = client.next().await;
    assert_eq!(response["result"]["structuredContent"], json!({ "result": null }), "{response}");
    assert_eq!(client.line().await, None);
    client.connection.close(VarInt::from_u32(0), b"client closing");
    shutdown.await.unwrap();
    assert_eq!(server.shop.journal.ended(), 1);
    assert!(std::net::UdpSocket::bind(address).is_ok(), "the address is free");
}

#[tokio::test]
async fn sessions_are_bounded() {
    let server =
        start_server_with(&Files::new(), None, |listener: McpListener| listener.max_sessions(1))
            .await;
    let mut first = Client::open(&server).await;
    assert!(Client::dial(&server, "mcp-quic-v1", None).await.is_err());
    first.assert_alive("one too many").await;
    let response: Value = first.request(1, "ping", json!({})).await;
    assert_eq!(response["result"], json!({}));
}
