//! Sessions as byte sequences: what the Go original's client sends, and the replies it gets.

use serde_json::{Value, json};

use super::client::*;
use tests::certificates::Files;

/// Opens a stream with these bytes and reads `count` replies.
async fn responses(server: &TestServer, sent: &str, count: usize) -> Vec<Value> {
    let mut client = Client::connect(server, sent).await;
    let mut responses = Vec::new();
    for _ in 0..count {
        responses.push(client.next().await);
    }
    responses
}

/// Returns the `_meta` of a request of the newest protocol version.
fn newest_meta() -> Value {
    json!({
        "io.modelcontextprotocol/protocolVersion": "2026-07-28",
        "io.modelcontextprotocol/clientInfo": { "name": "test", "version": "1" },
        "io.modelcontextprotocol/clientCapabilities": {},
    })
}

#[tokio::test]
async fn the_session_of_the_original() {
    let server = start_server().await;
    let call = r#"{"jsonrpc":"2.0","id":2,"method":"tools/call","params":{"arguments":{"cents":4200,"order":"a\u003cb"},"name":"billing.charge"}}"#;
    let sent = format!("MCP1{INITIALIZE}{INITIALIZED}{call}\n");
    let mut client = Client::connect(&server, &sent).await;
    let hello = concat!(
        r#"{"jsonrpc":"2.0","id":1,"result":{"protocolVersion":"2025-06-18","capabilities":{"experimental":{"connectivity":{}},"#,
        r#""tools":{"listChanged":true}},"serverInfo":{"name":"connectivity","version":"0.1.0"}}}"#,
        "\n"
    );
    assert_eq!(client.line().await.unwrap(), hello);
    let receipt = r#"{"cents":4200,"id":"a<b","served_by":"far"}"#;
    let response = format!(
        r#"{{"jsonrpc":"2.0","id":2,"result":{{"content":[{{"type":"text","text":{}}}],"structuredContent":{receipt},"isError":false}}}}"#,
        Value::from(receipt)
    );
    assert_eq!(client.line().await.unwrap(), response + "\n");
    assert_eq!(*server.shop.journal.orders.lock().unwrap(), ["a<b"]);
}

#[tokio::test]
async fn odd_forms_that_the_original_reads() {
    let server = start_server().await;
    let quote = r#"{"jsonrpc":"2.0","id":2,"method":"tools/call","params":{"name":"billing.quote","arguments":{"order":"abc"}}}"#;
    let pretty =
        serde_json::to_string_pretty(&serde_json::from_str::<Value>(quote).unwrap()).unwrap();
    for (label, text) in [
        ("CRLF", format!("{quote}\r\n")),
        ("pretty-printed", format!("{pretty}\n")),
        ("pretty-printed with CRLF", format!("{}\r\n", pretty.replace('\n', "\r\n"))),
        ("blank lines", format!("\n\r\n  \n{quote}\n")),
        ("no newline yet", quote.to_owned()),
        (
            "an answer with code 0 to a question of nobody",
            format!(
                r#"{{"jsonrpc":"2.0","id":9,"error":{{"code":0,"message":"x"}}}}{}{quote}{}"#,
                "\n", "\n"
            ),
        ),
        (
            "an answer to a question of nobody",
            format!("{{\"jsonrpc\":\"2.0\",\"id\":9,\"result\":{{}}}}\n{quote}\n"),
        ),
        (
            "an unknown notification",
            format!("{{\"jsonrpc\":\"2.0\",\"method\":\"notifications/odd\"}}\n{quote}\n"),
        ),
    ] {
        let responses =
            responses(&server, &format!("MCP1{INITIALIZE}{INITIALIZED}{text}"), 2).await;
        assert_eq!(
            responses[1]["result"]["structuredContent"],
            json!({ "result": 3 }),
            "{label}: {responses:?}"
        );
    }
}

#[tokio::test]
async fn arguments_may_be_null_or_missing_where_there_are_none() {
    let server = start_server().await;
    let mut client = Client::open(&server).await;
    for params in
        [json!({ "name": "billing.seen", "arguments": null }), json!({ "name": "billing.seen" })]
    {
        let response = client.request(2, "tools/call", params).await;
        assert_eq!(response["result"]["structuredContent"]["peer"], Value::Null, "{response}");
        let left = response["result"]["structuredContent"]["remaining_ms"].as_u64().unwrap();
        assert!((1..=30_000).contains(&left), "calls have 30 s: {left}");
    }
    let asks_for =
        json!({ "name": "billing.seen", "_meta": { "connectivity/timeout-ms": 600_000 } });
    let left =
        client.request(3, "tools/call", asks_for).await["result"]["structuredContent"]["remaining_ms"]
            .as_u64()
            .unwrap();
    assert!((30_001..=300_000).contains(&left), "or what they ask for, to a limit: {left}");
    let response = client.call("billing.charge", Value::Null).await;
    assert_eq!(response["result"]["isError"], true, "{response}");
    assert!(
        response["result"]["content"][0]["text"]
            .as_str()
            .unwrap()
            .starts_with(r#"{"kind":"decode","name":"billing.charge""#)
    );
}

#[tokio::test]
async fn every_version_with_a_handshake_is_echoed_and_any_other_answered() {
    let server = start_server().await;
    for (offered, answered) in [
        ("2025-11-25", "2025-11-25"),
        ("2025-06-18", "2025-06-18"),
        ("2025-03-26", "2025-03-26"),
        ("2024-11-05", "2024-11-05"),
        ("1999-01-01", "2025-06-18"),
        ("", "2025-06-18"),
    ] {
        let hello = INITIALIZE.replace("2025-06-18", offered);
        let responses = responses(&server, &format!("MCP1{hello}"), 1).await;
        assert_eq!(responses[0]["result"]["protocolVersion"], answered, "{offered}: {responses:?}");
    }
}

#[tokio::test]
async fn the_newest_version_needs_no_handshake() {
    let server = start_server().await;
    let mut client = Client::connect(&server, "MCP1").await;
    let meta = newest_meta();
    let discovered = client.request(1, "server/discover", json!({ "_meta": meta })).await;
    assert!(
        discovered["result"]["supportedVersions"]
            .as_array()
            .unwrap()
            .contains(&json!("2026-07-28")),
        "{discovered}"
    );
    let response = client
        .request(
            2,
            "tools/call",
            json!({ "_meta": meta, "name": "billing.quote", "arguments": { "order": "ab" } }),
        )
        .await;
    assert_eq!(response["result"]["structuredContent"], json!({ "result": 2 }), "{response}");
    assert_eq!(response["result"]["resultType"], "complete", "{response}");
    client
        .write(format!(
            "{}\n",
            json!({ "jsonrpc": "2.0", "id": 3, "method": "subscriptions/listen",
        "params": { "_meta": meta, "notifications": { "toolsListChanged": true } } })
        ))
        .await;
    assert_eq!(client.next().await["method"], "notifications/subscriptions/acknowledged");
    server.routes.set("billing.charge", "noop", None, "{}");
    assert_eq!(client.next().await["method"], "notifications/tools/list_changed");
}

#[tokio::test]
async fn plain_names_are_for_hosts_that_take_no_dots() {
    let server = start_server_with(&Files::new(), None, |listener| {
        listener.mcp(connectivity_core::Mcp::plain_names)
    })
    .await;
    let mut client = Client::open(&server).await;
    let listed = client.request(2, "tools/list", json!({})).await;
    let names: Vec<_> = listed["result"]["tools"]
        .as_array()
        .unwrap()
        .iter()
        .map(|tool| tool["name"].as_str().unwrap())
        .collect();
    let is_plain = |name: &&str| {
        name.len() <= 64 && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"_-".contains(&b))
    };
    assert!(names.iter().all(is_plain) && names.contains(&"billing__charge"), "{names:?}");
    let quoted = client.call("billing__quote", json!({ "order": "abc" })).await;
    assert_eq!(quoted["result"]["structuredContent"], json!({ "result": 3 }), "{quoted}");
    let unknown = client.call("billing.quote", json!({ "order": "abc" })).await;
    assert!(
        unknown["error"]["message"].as_str().unwrap().contains("there is no tool"),
        "{unknown}"
    );
}

#[tokio::test]
async fn who_listens_hears_of_what_has_changed_since_the_list_was_told() {
    let server = start_server().await;
    let mut client = Client::connect(&server, "MCP1").await;
    let meta = newest_meta();
    let text = client.request(1, "tools/list", json!({ "_meta": meta })).await;
    assert!(text.to_string().contains("billing.charge"), "{text}");
    server.routes.set("billing.charge", "noop", None, "{}");
    let listen = json!({ "_meta": meta, "notifications": { "toolsListChanged": true } });
    let listen =
        json!({ "jsonrpc": "2.0", "id": 2, "method": "subscriptions/listen", "params": listen });
    client.write(format!("{listen}\n")).await;
    assert_eq!(client.next().await["method"], "notifications/subscriptions/acknowledged");
    assert_eq!(client.next().await["method"], "notifications/tools/list_changed");
}

#[tokio::test]
async fn errors_of_a_contract_and_of_ours_are_results_and_unknown_names_errors() {
    let server = start_server().await;
    let mut client = Client::open(&server).await;
    let declined = client.call("billing.fail", json!({ "how": "Declined" })).await;
    assert_eq!(
        declined["result"],
        json!({ "content": [{ "type": "text", "text": "\"Declined\"" }], "isError": true })
    );
    let panic = client.call("billing.fail", json!({ "how": "Panic" })).await;
    let text = panic["result"]["content"][0]["text"].as_str().unwrap();
    assert!(text.contains(r#""kind":"panicked""#) && !text.contains("secret"), "{text}");
    let late = json!({ "name": "billing.sleep", "arguments": { "ms": 60_000 }, "_meta": { "connectivity/timeout-ms": 1 } });
    let late = client.request(7, "tools/call", late).await;
    assert!(
        late["result"]["content"][0]["text"].as_str().unwrap().contains(r#""kind":"timeout""#),
        "{late}"
    );
    for unknown in ["billing.nothing", "billing", "unlisted", "routes.list", ""] {
        let response = client.call(unknown, json!({})).await;
        assert_eq!(response["error"]["code"], -32602, "{unknown}: {response}");
    }
    let response = client.request(7, "no/such/method", json!({})).await;
    assert_eq!(response["error"]["code"], -32601, "{response}");
    client.assert_alive("errors").await;
}

#[tokio::test]
async fn a_cancelled_call_ends_its_work_and_gets_no_answer() {
    let server = start_server().await;
    let mut client = Client::open(&server).await;
    let journal = &server.shop.journal;
    let work = json!({ "jsonrpc": "2.0", "id": 5, "method": "tools/call",
        "params": { "name": "billing.work", "arguments": { "order": "17", "ms": 3_600_000 } } });
    client.write(format!("{work}\n")).await;
    while journal.began() == 0 {
        tokio::task::yield_now().await;
    }
    let cancel = json!({ "jsonrpc": "2.0", "method": "notifications/cancelled", "params": { "requestId": 5, "reason": "context canceled" } });
    client.write(format!("{cancel}\n")).await;
    client.assert_alive("a cancelled call").await;
    // The work was dropped: it takes an hour, and the session cannot end while it runs.
    client.send.finish().unwrap();
    assert_eq!(client.line().await, None);
    assert_eq!((journal.began(), journal.ended()), (1, 0));
}

#[tokio::test]
async fn calls_of_a_session_run_at_the_same_time() {
    let server = start_server().await;
    let mut client = Client::open(&server).await;
    for id in 0..32 {
        let work = json!({ "jsonrpc": "2.0", "id": id, "method": "tools/call",
            "params": { "name": "billing.sleep", "arguments": { "ms": 3_600_000 } } });
        client.write(format!("{work}\n")).await;
    }
    while server.shop.journal.began() < 32 {
        tokio::task::yield_now().await;
    }
    client.assert_alive("32 calls").await;
}

#[tokio::test]
async fn what_is_listed() {
    let server = start_server().await;
    let mut client = Client::open(&server).await;
    let listed = client.request(2, "tools/list", json!({})).await;
    let tools = listed["result"]["tools"].as_array().unwrap();
    let names: Vec<_> = tools.iter().map(|tool| tool["name"].as_str().unwrap()).collect();
    let mut sorted = names.clone();
    sorted.sort_unstable();
    assert_eq!(names, sorted);
    assert!(
        names.contains(&"billing.charge")
            && names.contains(&"echo")
            && !names.contains(&"unlisted"),
        "{names:?}"
    );
    let tool = |name: &str| tools.iter().find(|tool| tool["name"] == name).unwrap();
    let charge = tool("billing.charge");
    assert_eq!(charge["description"], "Charges an order.");
    assert_eq!(charge["annotations"], json!({ "readOnlyHint": false, "idempotentHint": false }));
    let cents = json!({ "type": "integer", "minimum": 0 });
    let input = json!({ "type": "object", "properties": { "order": { "type": "string" }, "cents": cents }, "required": ["order", "cents"] });
    assert_eq!(charge["inputSchema"], input);
    let text = json!({ "type": "string" });
    assert_eq!(
        charge["outputSchema"],
        json!({ "type": "object", "properties": { "id": text, "cents": cents, "served_by": text } })
    );
    let quote = tool("billing.quote");
    assert_eq!(quote["annotations"], json!({ "readOnlyHint": false, "idempotentHint": true }));
    assert_eq!(
        quote["outputSchema"],
        json!({ "type": "object", "properties": { "result": cents }, "required": ["result"] })
    );
    assert_eq!(
        tool("billing.seen")["annotations"],
        json!({ "readOnlyHint": true, "destructiveHint": false, "idempotentHint": true })
    );
    assert_eq!(
        client.request(3, "tools/list", json!({})).await["result"],
        listed["result"],
        "always the same"
    );
}

#[tokio::test]
async fn a_client_hears_of_tools_that_come_and_go() {
    let server = start_server().await;
    let mut client = Client::open(&server).await;
    assert!(client.request(2, "tools/list", json!({})).await["result"]["tools"].is_array());
    // A change of rows that changes no tool sends no notification, so the next message is about the
    // second change.
    server.routes.set("billing.charge", "local", None, r#"{"timeout_ms":1000}"#);
    server.router.reload().await.unwrap();
    server.routes.set("billing.charge", "noop", None, "{}");
    server.router.reload().await.unwrap();
    assert_eq!(client.next().await["method"], "notifications/tools/list_changed");
    assert_eq!(client.call("billing.charge", json!({})).await["error"]["code"], -32602);
    server.router.register_raw("late", async |bytes| Ok(bytes)).unwrap();
    assert_eq!(client.next().await["method"], "notifications/tools/list_changed");
    assert_eq!(
        client.call("late", json!({ "text": "a" })).await["result"]["structuredContent"],
        json!({ "text": "a" })
    );
    server.routes.set("billing.quote", "noop", None, "{}");
    server.router.reload().await.unwrap();
    let switched_off = client.call("billing.quote", json!({ "order": "abc" })).await;
    assert_eq!(
        switched_off["result"]["structuredContent"],
        json!({ "result": 7 }),
        "it has an answer: {switched_off}"
    );
}

#[tokio::test]
async fn raw_services_in_both_forms() {
    let server = start_server().await;
    let mut client = Client::open(&server).await;
    let payload = json!({ "b": 1, "a": [null] });
    assert_eq!(client.call("echo", payload.clone()).await["result"]["structuredContent"], payload);
    for bytes in [json!({ "text": "grüß" }), json!({ "base64": "/wA=" })] {
        assert_eq!(client.call("bytes", bytes.clone()).await["result"]["structuredContent"], bytes);
    }
    assert_eq!(
        client.call("bytes", json!({ "base64": "YQ==" })).await["result"]["structuredContent"],
        json!({ "text": "a" })
    );
    for wrong in [
        json!({}),
        json!({ "text": 1 }),
        json!({ "text": "a", "base64": "" }),
        json!({ "base64": "?" }),
    ] {
        assert_eq!(client.call("bytes", wrong.clone()).await["result"]["isError"], true, "{wrong}");
    }
}
