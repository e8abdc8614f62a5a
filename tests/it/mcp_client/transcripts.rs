//! Sessions with servers that answer like the Go original, and with other servers that the protocol
//! allows.

use connectivity_core::{ErrorKind, Sent};
use serde_json::{Value, json};
use tests::shop::*;

use super::harness::*;
use super::scripted_server::*;

#[tokio::test]
async fn what_the_original_is_sent() {
    let server = ScriptedServer::start(|mut wire| {
        Box::pin(async move {
            wire.handshake().await;
            let line = wire.line().await.unwrap();
            // Fields that the original reads, in any order. Fields that only this framework
            // understands are in `_meta`.
            let mut call: Value = serde_json::from_str(&line).unwrap();
            assert!(line.ends_with("}\n") && !line.contains('\r'), "{line}");
            let meta = call["params"].as_object_mut().unwrap().remove("_meta").unwrap();
            assert!(
                meta["connectivity/timeout-ms"]
                    .as_u64()
                    .is_some_and(|ms| (1..=30_000).contains(&ms)),
                "{meta}"
            );
            let params =
                json!({ "name": "billing.charge", "arguments": { "order": "a<b", "cents": 4200 } });
            let expected = json!({ "jsonrpc": "2.0", "id": call["id"], "method": "tools/call", "params": params });
            let receipt = r#"{"cents":4200,"id":"a<b","served_by":"far"}"#;
            let content = format!(
                r#""result":{{"content":[{{"text":{},"type":"text"}}]}}}}"#,
                Value::from(receipt)
            );
            let response =
                if call == expected { reply(&call, &content) } else { reply(&call, NO_DISCOVERY) };
            wire.write(response + "\n").await;
            wire.wait_closed().await;
        })
    });
    let client = TestClient::to(&server.address(), &server.trust()).await;
    let receipt = client.billing.charge("a<b", 4200).await.unwrap();
    assert_eq!(receipt, Receipt { id: "a<b".into(), cents: 4200, served_by: "far".into() });
}

#[tokio::test]
async fn odd_forms_that_the_original_writes() {
    let scripts: &[(&str, Script)] = &[
        ("CRLF", |wire| reply_formatted_by(wire, |response| format!("{response}\r\n"))),
        ("pretty-printed", |wire| {
            reply_formatted_by(wire, |response| format!("{}\n", pretty(response)))
        }),
        ("pretty-printed with CRLF", |wire| {
            reply_formatted_by(wire, |response| pretty(response).replace('\n', "\r\n") + "\r\n")
        }),
        ("blank lines", |wire| {
            reply_formatted_by(wire, |response| format!("\r\n\n  {response}\n"))
        }),
        ("no newline yet", |wire| reply_formatted_by(wire, str::to_owned)),
        ("an error for nobody, with code 0", |wire| {
            reply_formatted_by(wire, |response| {
                format!(
                    "{{\"jsonrpc\":\"2.0\",\"id\":null,\"error\":{{\"code\":0,\"message\":\"x\"}}}}\n{response}\n"
                )
            })
        }),
    ];
    for (label, script) in scripts {
        let server = ScriptedServer::start(*script);
        let client = TestClient::to(&server.address(), &server.trust()).await;
        assert_eq!(client.billing.quote("abc").await.unwrap(), 3, "{label}");
    }
}

fn reply_formatted_by(
    mut wire: Wire,
    write: fn(&str) -> String,
) -> connectivity_core::BoxFuture<'static, ()> {
    Box::pin(async move {
        let call = wire.first_call().await;
        wire.write(write(&reply(&call, r#""result":{"content":[{"type":"text","text":"3"}]}}"#)))
            .await;
        wire.wait_closed().await;
    })
}

fn pretty(response: &str) -> String {
    serde_json::to_string_pretty(&serde_json::from_str::<Value>(response).unwrap()).unwrap()
}

/// Maps results of tools to results of calls of a method and of a raw service. Each session answers
/// one call of each.
#[tokio::test]
async fn what_results_mean() {
    let quote = |response: &'static str| async move {
        let client = client_of_results(response).await;
        let typed = client.billing.quote("abc").await;
        (typed.map_err(connectivity), client.router.call("tool", "{}").await)
    };
    for (label, response, typed, raw) in [
        (
            "a wrapped value",
            r#"{"structuredContent":{"result":3},"content":[]}"#,
            Ok(3),
            Ok(r#"{"result":3}"#),
        ),
        ("a bare value", r#"{"structuredContent":3,"content":[]}"#, Ok(3), Ok("3")),
        ("a text", r#"{"content":[{"type":"text","text":" 3 "}]}"#, Ok(3), Ok(" 3 ")),
        (
            "the value before the text",
            r#"{"content":[{"type":"text","text":"4"}],"structuredContent":{"result":3}}"#,
            Ok(3),
            Ok(r#"{"result":3}"#),
        ),
        ("nothing", r#"{"content":[]}"#, Err(ErrorKind::Decode), Ok(r#"{"content":[]}"#)),
        (
            "a text that is no number",
            r#"{"content":[{"type":"text","text":"three"}]}"#,
            Err(ErrorKind::Decode),
            Ok("three"),
        ),
        (
            "a picture",
            r#"{"content":[{"type":"image","data":"AA==","mimeType":"image/png"}]}"#,
            Err(ErrorKind::Decode),
            Ok(r#"{"content":[{"type":"image","data":"AA==","mimeType":"image/png"}]}"#),
        ),
        (
            "an error",
            r#"{"content":[{"type":"text","text":"no \u0007 funds"}],"isError":true}"#,
            Err(ErrorKind::Remote),
            Err(ErrorKind::Remote),
        ),
        (
            "words of ours by another server",
            r#"{"content":[{"type":"text","text":"{\"kind\":\"overloaded\",\"name\":\"x\",\"message\":\"later\",\"sent\":\"no\"}"}],"isError":true}"#,
            Err(ErrorKind::Remote),
            Err(ErrorKind::Remote),
        ),
        (
            "a question",
            r#"{"resultType":"input_required","inputRequests":{}}"#,
            Err(ErrorKind::Remote),
            Err(ErrorKind::Remote),
        ),
        ("no result of a tool", "17", Err(ErrorKind::Remote), Err(ErrorKind::Remote)),
    ] {
        let (seen_typed, seen_raw) = quote(response).await;
        assert_eq!(
            seen_typed.as_ref().map_err(|error| error.kind()),
            typed.as_ref().map_err(|kind| *kind),
            "{label}: {seen_typed:?}"
        );
        let seen_raw = seen_raw.map(|bytes| String::from_utf8(bytes.to_vec()).unwrap());
        assert_eq!(seen_raw.as_deref().map_err(|error| error.kind()), raw, "{label}: {seen_raw:?}");
        if let Err(error) = seen_raw {
            assert!(!error.message().contains('\u{7}'), "{label}: {error}");
        }
    }
}

/// Returns a client of a server that answers each call with `result`.
async fn client_of_results(result: &'static str) -> TestClient {
    // A script is a plain function and cannot capture `result`, so the tool name carries it.
    let server = ScriptedServer::start(|mut wire| {
        Box::pin(async move {
            wire.handshake().await;
            loop {
                let call = wire.next().await;
                let Some(tool) = call["params"]["name"].as_str().map(str::to_owned) else { return };
                wire.write(reply(&call, &format!("\"result\":{tool}}}\n"))).await;
            }
        })
    });
    let named = format!(r#"{},"tool_name":{}"#, server.trust(), Value::from(result));
    let client = TestClient::to(&server.address(), &server.trust()).await;
    for name in ["billing.quote", "tool"] {
        client.set(name, &server.address(), &named).await;
    }
    client
}

#[tokio::test]
async fn an_error_of_the_contract_is_the_callers_own() {
    let client =
        client_of_results(r#"{"content":[{"type":"text","text":"\"Declined\""}],"isError":true}"#)
            .await;
    assert_eq!(client.billing.quote("abc").await.unwrap_err(), BillingError::Declined);
}

#[tokio::test]
async fn errors_of_the_protocol() {
    let scripts: &[(&str, Script, ErrorKind, Sent)] = &[
        (
            "code 0",
            |wire| refuse(wire, r#"{"code":0,"message":"odd"}"#),
            ErrorKind::Remote,
            Sent::Maybe,
        ),
        (
            "no tool",
            |wire| refuse(wire, r#"{"code":-32602,"message":"unknown tool"}"#),
            ErrorKind::Remote,
            Sent::Maybe,
        ),
        (
            "no method",
            |wire| refuse(wire, r#"{"code":-32601,"message":"x"}"#),
            ErrorKind::NotRoutable,
            Sent::Maybe,
        ),
        ("overloaded, by another", |wire| refuse(wire, OVERLOADED), ErrorKind::Remote, Sent::Maybe),
        ("closed, by another", |wire| refuse(wire, CLOSED), ErrorKind::Remote, Sent::Maybe),
        (
            "no method of ours",
            |wire| refuse_as_ours(wire, METHOD, ""),
            ErrorKind::NotRoutable,
            Sent::No,
        ),
        (
            "overloaded",
            |wire| refuse_as_ours(wire, OVERLOADED, ""),
            ErrorKind::Overloaded,
            Sent::No,
        ),
        ("too large", |wire| refuse_as_ours(wire, TOO_LARGE, ""), ErrorKind::TooLarge, Sent::No),
        (
            "closed without a notice",
            |wire| refuse_as_ours(wire, CLOSED, ""),
            ErrorKind::Remote,
            Sent::Maybe,
        ),
    ];
    for (label, script, kind, sent) in scripts {
        let server = ScriptedServer::start(*script);
        let client = TestClient::to(&server.address(), &server.trust()).await;
        // `charge` is not idempotent. A retry would meet a session whose script has ended.
        let error = connectivity(client.billing.charge("abc", 1).await.unwrap_err());
        assert_eq!((error.kind(), error.sent()), (*kind, *sent), "{label}: {error}");
        assert!(error.message().contains("code"), "{label}: {error}");
    }
    let server = ScriptedServer::start(|wire| {
        let leaves = "{\"jsonrpc\":\"2.0\",\"method\":\"notifications/connectivity/leaving\"}\n";
        refuse_as_ours(wire, CLOSED, leaves)
    });
    let client = TestClient::to(&server.address(), &server.trust()).await;
    let error = connectivity(client.billing.charge("abc", 1).await.unwrap_err());
    assert_eq!(error.sent(), Sent::No, "each session has left: {error}");
}

const METHOD: &str = r#"{"code":-32601,"message":"x"}"#;
const OVERLOADED: &str = r#"{"code":-32000,"message":"x","data":{"kind":"overloaded"}}"#;
const TOO_LARGE: &str = r#"{"code":-32600,"message":"x","data":{"kind":"too_large"}}"#;
const CLOSED: &str = r#"{"code":-32000,"message":"x","data":{"kind":"closed"}}"#;

fn refuse(mut wire: Wire, error: &'static str) -> connectivity_core::BoxFuture<'static, ()> {
    Box::pin(async move {
        let call = wire.first_call().await;
        refuse_call(wire, &call, error).await;
    })
}

/// Sends `notice`, then refuses the call as a server of this framework does.
fn refuse_as_ours(
    mut wire: Wire,
    error: &'static str,
    notice: &'static str,
) -> connectivity_core::BoxFuture<'static, ()> {
    Box::pin(async move {
        let call = wire.first_call_as_ours().await;
        wire.write(notice).await;
        refuse_call(wire, &call, error).await;
    })
}

async fn refuse_call(mut wire: Wire, call: &Value, error: &str) {
    wire.write(reply(call, &format!("\"error\":{error}}}\n"))).await;
    wire.wait_closed().await;
}

#[tokio::test]
async fn the_newest_version_needs_no_handshake() {
    let server = ScriptedServer::start(|mut wire| {
        Box::pin(async move {
            let discovered = r#""result":{"resultType":"complete","supportedVersions":["2026-07-28"],"capabilities":{"tools":{}},"serverInfo":{"name":"x","version":"1"},"ttlMs":0,"cacheScope":"private"}}"#;
            assert_eq!(wire.reply_to_next(discovered).await["method"], "server/discover");
            let call = wire.next().await;
            assert_eq!(call["method"], "tools/call", "{call}");
            let version = &call["params"]["_meta"]["io.modelcontextprotocol/protocolVersion"];
            let response = if version == "2026-07-28" {
                r#""result":{"resultType":"complete","content":[],"structuredContent":{"result":3}}}"#
            } else {
                NO_DISCOVERY
            };
            wire.write(reply(&call, response) + "\n").await;
            wire.wait_closed().await;
        })
    });
    let client = TestClient::to(&server.address(), &server.trust()).await;
    assert_eq!(client.billing.quote("abc").await.unwrap(), 3);
}

#[tokio::test]
async fn a_call_that_nobody_waits_for_is_cancelled_by_its_id() {
    let server = ScriptedServer::start(|mut wire| {
        Box::pin(async move {
            let call = wire.first_call().await;
            // The next call may overtake the cancellation.
            let (cancelled, next) = match (wire.next().await, wire.next().await) {
                (next, cancelled) if next["method"] == "tools/call" => (cancelled, next),
                (cancelled, next) => (cancelled, next),
            };
            let right = cancelled["method"] == "notifications/cancelled"
                && cancelled["params"]["requestId"] == call["id"]
                && cancelled["params"]["reason"].is_string();
            let response = if right {
                r#""result":{"structuredContent":{"result":3},"content":[]}}"#
            } else {
                NO_DISCOVERY
            };
            wire.write(reply(&next, response) + "\n").await;
            wire.wait_closed().await;
        })
    });
    let client =
        TestClient::to(&server.address(), &format!(r#"{},"timeout_ms":700"#, server.trust())).await;
    let error = connectivity(client.billing.charge("abc", 1).await.unwrap_err());
    assert_eq!(error.kind(), ErrorKind::Timeout, "{error}");
    assert_eq!(client.billing.quote("abc").await.unwrap(), 3);
}

#[tokio::test]
async fn tools_that_change_are_flagged_until_the_next_session() {
    let server = ScriptedServer::start(|mut wire| {
        Box::pin(async move {
            wire.handshake().await;
            let response = r#""result":{"content":[{"type":"text","text":"3"}]}}"#;
            wire.reply_to_next(response).await;
            let call = wire.next().await;
            let changed =
                r#"{"jsonrpc":"2.0","method":"notifications/tools/list_changed","params":{}}"#;
            wire.write(format!("{changed}\n{}\n", reply(&call, response))).await;
            // The third call meets the end of the session, and may be retried.
            wire.next().await;
        })
    });
    let client =
        TestClient::to(&server.address(), &format!(r#"{},"retry_max":1"#, server.trust())).await;
    let is_flagged = || {
        client
            .router
            .inspect()
            .route("billing")
            .unwrap()
            .warnings
            .iter()
            .any(|text| text.contains("tools"))
    };
    let mut seen = Vec::new();
    for _ in 0..3 {
        client.billing.quote("abc").await.unwrap();
        seen.push(is_flagged());
    }
    assert_eq!(seen, [false, true, false], "the third call was on a session of its own");
}

#[tokio::test]
async fn every_version_with_a_handshake_is_understood() {
    fn reply_with_version(
        mut wire: Wire,
        version: &'static str,
    ) -> connectivity_core::BoxFuture<'static, ()> {
        Box::pin(async move {
            wire.reply_to_next(NO_DISCOVERY).await;
            assert_eq!(
                wire.reply_to_next(&INITIALIZE_RESULT.replace("2025-11-25", version)).await["params"]
                    ["protocolVersion"],
                "2025-11-25"
            );
            wire.next().await;
            wire.reply_to_next(r#""result":{"content":[{"type":"text","text":"3"}]}}"#).await;
            wire.wait_closed().await;
        })
    }
    let scripts: &[Script] = &[
        |wire| reply_with_version(wire, "2025-11-25"),
        |wire| reply_with_version(wire, "2025-06-18"),
        |wire| reply_with_version(wire, "2025-03-26"),
        |wire| reply_with_version(wire, "2024-11-05"),
    ];
    for (n, script) in scripts.iter().enumerate() {
        let server = ScriptedServer::start(*script);
        let client = TestClient::to(&server.address(), &server.trust()).await;
        assert_eq!(client.billing.quote("abc").await.unwrap(), 3, "script {n}");
    }
}
