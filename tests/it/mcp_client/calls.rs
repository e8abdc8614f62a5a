//! Calls of an MCP server of this framework.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use connectivity_core::{ErrorKind, Sent, Tls, TransportState, context};
use tests::certificates::*;
use tests::shop::*;

use super::harness::*;

#[tokio::test]
async fn a_method_is_called_as_the_tool_of_its_name() {
    let server = TestServer::start().await;
    for transport in TRANSPORTS {
        let client = TestClient::of(&server, transport).await;
        let receipt = client.billing.charge("a<b\n", 4200).await.unwrap();
        assert_eq!(
            receipt,
            Receipt { id: "a<b\n".into(), cents: 4200, served_by: "far".into() },
            "{transport:?}"
        );
        assert_eq!(
            client.billing.quote("abc").await.unwrap(),
            3,
            "{transport:?}: a value that is no object"
        );
        client.billing.sleep(0).await.unwrap();
        assert_eq!(
            client.billing.fail(Failure::Declined).await.unwrap_err(),
            BillingError::Declined,
            "{transport:?}"
        );
        let panicked = connectivity(client.billing.fail(Failure::Panic).await.unwrap_err());
        assert_eq!(
            (panicked.kind(), panicked.name()),
            (ErrorKind::Panicked, "billing.fail"),
            "{transport:?}: {panicked}"
        );
        assert!(!panicked.to_string().contains("secret"), "{panicked}");
        assert_eq!(
            client.router.inspect().route("billing").unwrap().transport,
            Some(TransportState::Connected)
        );
    }
}

#[tokio::test]
async fn what_travels_with_a_call() {
    let server = TestServer::start().await;
    for transport in TRANSPORTS {
        let client = TestClient::of(&server, transport).await;
        let seen =
            context::timeout(Duration::from_secs(5), client.billing.seen()).await.unwrap().unwrap();
        let left = seen.remaining_ms.unwrap();
        assert!((1..=5_000).contains(&left), "{transport:?}: {left}");
    }
}

#[tokio::test]
async fn a_raw_service_calls_the_tool_that_its_row_names() {
    let server = TestServer::start().await;
    for transport in TRANSPORTS {
        let client = TestClient::of(&server, transport).await;
        for payload in [r#"{"a":[1,{"b":null}],"c":"x"}"#, "{}"] {
            let response = client.router.call("echo", payload).await.unwrap();
            assert_eq!(response, payload.as_bytes(), "{transport:?}");
        }
        assert_eq!(client.router.call("echo", "").await.unwrap(), "{}", "no arguments");
        for bad in ["[1]", "17", "x", "{"] {
            let error = client.router.call("echo", bad).await.unwrap_err();
            assert_eq!(
                (error.kind(), error.sent()),
                (ErrorKind::Encode, Sent::No),
                "{transport:?}: {bad}: {error}"
            );
        }
    }
}

#[tokio::test]
async fn rows_say_which_tool() {
    let server = TestServer::start().await;
    let (endpoint, config) = server.row(Transport::Quic);
    let client = TestClient::to(&endpoint, &format!(r#"{config},"remote_name":"billing""#)).await;
    let set =
        async |name, keys: &str| client.set(name, &endpoint, &format!("{config}{keys}")).await;
    set("till", r#","remote_name":"billing.quote""#).await;
    // The row of one method may name any tool.
    set("billing.charge", r#","tool_name":"echo""#).await;
    let error = connectivity(client.billing.charge("a", 1).await.unwrap_err());
    assert_eq!(error.kind(), ErrorKind::Decode, "the echo is no receipt: {error}");
    assert_eq!(client.billing.quote("abcd").await.unwrap(), 4, "the other methods go as before");
    let error = client.router.call("till", "{}").await.unwrap_err();
    assert_eq!((error.kind(), error.sent()), (ErrorKind::RouteInvalid, Sent::No), "{error}");
    set("till", r#","tool_name":"nobody""#).await;
    let error = client.router.call("till", "{}").await.unwrap_err();
    assert_eq!((error.kind(), error.sent()), (ErrorKind::NotRoutable, Sent::No), "{error}");
    assert!(error.message().contains("nobody"), "{error}");
}

#[tokio::test]
async fn calls_share_a_session_and_end_with_their_callers() {
    let server = TestServer::start().await;
    for transport in TRANSPORTS {
        let client = TestClient::of(&server, transport).await;
        let call = || {
            let router = client.router.clone();
            tokio::spawn(async move { router.call("hold", "{}").await })
        };
        let mut calls: Vec<_> = (0..64).map(|_| call()).collect();
        until_held(&server, 64).await;
        assert_eq!(
            client.billing.quote("abc").await.unwrap(),
            3,
            "{transport:?}: beside 64 that wait"
        );
        calls.drain(..).for_each(|call| call.abort());
        until_held(&server, 0).await;
    }
}

#[tokio::test]
async fn calls_over_the_limit_of_a_session_wait_for_their_turn() {
    let server = TestServer::start().await;
    for transport in TRANSPORTS {
        let client = TestClient::of(&server, transport).await;
        let calls: Vec<_> = (0..500)
            .map(|n| {
                let router = client.router.clone();
                tokio::spawn(async move { router.call("echo", format!(r#"{{"n":{n}}}"#)).await })
            })
            .collect();
        for (n, call) in calls.into_iter().enumerate() {
            assert_eq!(call.await.unwrap().unwrap(), format!(r#"{{"n":{n}}}"#), "{transport:?}");
        }
    }
}

#[tokio::test]
async fn a_deadline_that_ends_before_a_call_had_its_turn_has_sent_nothing() {
    let server = TestServer::start().await;
    for transport in TRANSPORTS {
        let client = TestClient::of(&server, transport).await;
        let held: Vec<_> = (0..128)
            .map(|_| {
                let router = client.router.clone();
                tokio::spawn(async move { router.call("hold", "{}").await })
            })
            .collect();
        until_held(&server, 128).await;
        let late = context::timeout(Duration::from_millis(300), client.billing.charge("abc", 1))
            .await
            .unwrap();
        let error = connectivity(late.unwrap_err());
        assert_eq!(
            (error.kind(), error.sent()),
            (ErrorKind::Timeout, Sent::No),
            "{transport:?}: {error}"
        );
        held.iter().for_each(tokio::task::JoinHandle::abort);
        until_held(&server, 0).await;
    }
}

#[tokio::test]
async fn a_deadline_ends_a_call_and_its_work() {
    let server = TestServer::start().await;
    for transport in TRANSPORTS {
        let client = TestClient::of(&server, transport).await;
        let error = context::timeout(Duration::from_millis(300), client.router.call("hold", "{}"))
            .await
            .unwrap()
            .unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Timeout, "{transport:?}: {error}");
        until_held(&server, 0).await;
    }
}

#[tokio::test]
async fn sizes_are_bounded_by_the_row() {
    let server = TestServer::start().await;
    for transport in TRANSPORTS {
        let (endpoint, config) = server.row(transport);
        let keys = r#""tool_name":"echo","max_request_bytes":2000,"max_reply_bytes":1000"#;
        let client = TestClient::of(&server, transport).await;
        client.set("echo", &endpoint, &format!("{config},{keys}")).await;
        let echo = async |length| {
            client.router.call("echo", format!(r#"{{"x":"{}"}}"#, "x".repeat(length))).await
        };
        assert!(echo(900).await.is_ok());
        let error = echo(3000).await.unwrap_err();
        assert_eq!(
            (error.kind(), error.sent()),
            (ErrorKind::TooLarge, Sent::No),
            "{transport:?}: {error}"
        );
        let error = echo(1500).await.unwrap_err();
        assert_eq!(
            (error.kind(), error.sent()),
            (ErrorKind::TooLarge, Sent::Yes),
            "{transport:?}: {error}"
        );
        assert!(echo(900).await.is_ok(), "{transport:?}: and the session goes on");
    }
}

#[tokio::test]
async fn a_server_that_comes_back_is_called_again() {
    let (files, identity) = (Files::new(), Identity::new(None, "localhost", |_| {}));
    let (cert, key) = (files.write("a.pem", &identity.cert), files.write("a.key", &identity.key));
    let tls = || Tls::from_pem(&cert, &key).unwrap();
    let server = TestServer::start_on("127.0.0.1:0", tls()).await;
    let client = TestClient::of(&server, Transport::Quic).await;
    assert_eq!(client.billing.quote("abc").await.unwrap(), 3);
    let address = server.handle.address("mcp").unwrap().to_owned();
    server.handle.shutdown(Duration::from_secs(5)).await;
    let error = connectivity(client.billing.charge("lost", 1).await.unwrap_err());
    assert_eq!((error.kind(), error.sent()), (ErrorKind::Connect, Sent::No), "{error}");
    let again = TestServer::start_on(&address, tls()).await;
    client.billing.charge("found", 1).await.unwrap();
    assert_eq!(*again.shop.journal.orders.lock().unwrap(), ["found"]);
}

/// A call that cannot connect did not run. A call in flight during a shutdown goes to the next
/// server, or is known not to have run.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stop_loses_no_call() {
    let (files, identity) = (Files::new(), Identity::new(None, "localhost", |_| {}));
    let (cert, key) = (files.write("a.pem", &identity.cert), files.write("a.key", &identity.key));
    let tls = || Tls::from_pem(&cert, &key).unwrap();
    let mut server = TestServer::start_on("127.0.0.1:0", tls()).await;
    let client = TestClient::of(&server, Transport::Quic).await;
    let address = server.handle.address("mcp").unwrap().to_owned();
    client.billing.quote("a").await.unwrap();
    let stop = Arc::<AtomicBool>::default();
    let callers: Vec<_> = (0..32)
        .map(|caller| {
            let (billing, stop) = (client.billing.clone(), Arc::clone(&stop));
            tokio::spawn(async move {
                let mut served = Vec::new();
                for n in 0.. {
                    if stop.load(Ordering::Relaxed) {
                        break;
                    }
                    let order = format!("{caller}-{n}");
                    match billing.charge(&order, 1).await {
                        Ok(_) => served.push(order),
                        Err(error) => {
                            let error = connectivity(error);
                            assert_eq!(
                                (error.kind(), error.sent()),
                                (ErrorKind::Connect, Sent::No),
                                "{error}"
                            );
                            tokio::time::sleep(Duration::from_millis(5)).await;
                        }
                    }
                }
                served
            })
        })
        .collect();
    let mut journal = Vec::new();
    for _ in 0..5 {
        // Each server gets some calls before it shuts down.
        while server.shop.journal.orders.lock().unwrap().len() < 64 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        let next = async {
            loop {
                match TestServer::try_start_on(&address, tls()).await {
                    Ok(server) => break server,
                    Err(_taken) => tokio::time::sleep(Duration::from_millis(5)).await,
                }
            }
        };
        let ((), next) = tokio::join!(server.handle.shutdown(Duration::from_secs(10)), next);
        journal.append(&mut server.shop.journal.orders.lock().unwrap());
        server = next;
    }
    client.billing.charge("last", 1).await.unwrap();
    stop.store(true, Ordering::Relaxed);
    let mut served = vec!["last".to_owned()];
    for caller in callers {
        served.append(&mut caller.await.unwrap());
    }
    journal.append(&mut server.shop.journal.orders.lock().unwrap());
    served.sort_unstable();
    journal.sort_unstable();
    assert_eq!(served, journal, "each call ran once, and was answered");
}
