//! Strategy `embed` against a server that speaks the API of OpenAI's embeddings, or lies about it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use connectivity_core::embed::{
    EmbedTransport, Embedder, EmbedderClient, Embedding, Embeddings, register_raw,
};
use connectivity_core::{Error, ErrorKind, MemoryRoutes, RouteState, Router, Sent, register};
use serde_json::{Value, json};

/// What the server was asked: the key, the model and the texts of each request.
#[derive(Clone, Default)]
struct Asked(Arc<Mutex<Vec<Request>>>);

type Request = (String, Value, Vec<String>);

/// Answers as the model of a request says.
async fn embeddings(State(asked): State<Asked>, headers: HeaderMap, body: Bytes) -> Response {
    let body: Value = serde_json::from_slice(&body).unwrap();
    let texts: Vec<String> = serde_json::from_value(body["input"].clone()).unwrap();
    let key = headers.get(header::AUTHORIZATION).map(|key| key.to_str().unwrap().to_owned());
    let request = (key.unwrap_or_default(), body["model"].clone(), texts.clone());
    asked.0.lock().unwrap().push(request);
    let vector = |text: &String| json!([text.len(), text.bytes().map(u32::from).sum::<u32>(), 0.5]);
    let item = |(at, text)| json!({"object": "embedding", "index": at, "embedding": vector(text)});
    let mut data: Vec<Value> = texts.iter().enumerate().map(item).collect();
    data.reverse();
    match body["model"].as_str() {
        Some("short") => drop(data.pop()),
        Some("twice") => data[0] = data[1].clone(),
        Some("longer") => data[0]["embedding"] = json!([1, 2, 3, 4]),
        Some("huge-numbers") => data[0]["embedding"] = json!([1e300, 1, 1]),
        Some("endless") => return Body::from_stream(endless()).into_response(),
        Some("silent") => std::future::pending().await,
        Some("redirect") => {
            return (StatusCode::TEMPORARY_REDIRECT, [(header::LOCATION, "/elsewhere")])
                .into_response();
        }
        Some("busy") => return StatusCode::TOO_MANY_REQUESTS.into_response(),
        Some("angry") => {
            return (
                StatusCode::UNAUTHORIZED,
                format!("no key {key:?}", key = request_key(&headers)),
            )
                .into_response();
        }
        _ => {}
    }
    let model = &body["model"];
    json!({"object": "list", "data": data, "model": model, "usage": {"total_tokens": 1}})
        .to_string()
        .into_response()
}

fn request_key(headers: &HeaderMap) -> Option<&str> {
    headers.get(header::AUTHORIZATION)?.to_str().ok()
}

fn endless() -> impl futures_util::Stream<Item = Result<Bytes, std::io::Error>> {
    futures_util::stream::repeat_with(|| Ok(Bytes::from_static(&[b' '; 16 * 1024])))
}

/// A server, and what it was asked.
async fn serve() -> (String, Asked) {
    let asked = Asked::default();
    let app = axum::Router::new()
        .route("/base/v1/embeddings", axum::routing::post(embeddings))
        .fallback(|State(asked): State<Asked>| async move {
            asked.0.lock().unwrap().push(("elsewhere".into(), Value::Null, Vec::new()));
        })
        .with_state(asked.clone());
    let socket = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}/base/", socket.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(socket, app).await });
    (endpoint, asked)
}

fn router(endpoint: Option<&str>, config: &Value) -> Router {
    let routes = MemoryRoutes::new();
    for name in ["embedder", "horosembed_batch"] {
        routes.set(name, "embed", endpoint, &config.to_string());
    }
    Router::builder()
        .source(routes)
        .transport("embed", EmbedTransport::new().allow_internal())
        .build()
        .unwrap()
}

fn vector(text: &str) -> Vec<f32> {
    vec![text.len() as f32, text.bytes().map(u32::from).sum::<u32>() as f32, 0.5]
}

#[tokio::test]
async fn texts_go_in_batches_and_their_vectors_come_in_order() {
    let (endpoint, asked) = serve().await;
    let dir = tempfile::tempdir().unwrap();
    let key = dir.path().join("key");
    std::fs::write(&key, "sk-4111\n").unwrap();
    let config = json!({"model": "m", "dimension": 3, "batch_size": 2, "api_key": format!("file:{}", key.display())});
    let router = router(Some(&endpoint), &config);
    let embedder = EmbedderClient::new(&router);
    let texts = ["one", "two", "three", "four", "five"];
    let embeddings = embedder.batch(&texts).await.unwrap();
    assert_eq!(embeddings.vectors, texts.map(vector));
    assert_eq!((embeddings.count, embeddings.dimension, &*embeddings.model), (5, 3, "m"));
    let embedding = embedder.embed("six").await.unwrap();
    assert_eq!((embedding.vector, embedding.dimension), (vector("six"), 3));
    let none = embedder.batch(&[]).await.unwrap();
    assert_eq!((none.vectors.len(), none.count), (0, 0));
    let asked = std::mem::take(&mut *asked.0.lock().unwrap());
    let batches: Vec<_> = asked.iter().map(|(_, _, texts)| texts.len()).collect();
    assert_eq!(batches, [2, 2, 1, 1], "no texts, no request");
    assert!(asked.iter().all(|(key, model, _)| key == "Bearer sk-4111" && model == "m"));
}

#[tokio::test]
async fn raw_calls_have_the_json_of_the_original() {
    let (endpoint, _asked) = serve().await;
    let router = router(Some(&endpoint), &json!({"model": "m"}));
    let call = async |json: &str| {
        let reply = router.call("horosembed_batch", json.to_owned()).await;
        reply.map(|bytes| String::from_utf8(bytes.to_vec()).unwrap())
    };
    assert_eq!(
        call(r#"{"texts":["a"]}"#).await.unwrap(),
        r#"{"vectors":[[1.0,97.0,0.5]],"count":1,"dimension":3,"model":"m"}"#
    );
    assert_eq!(
        call(r#"{"texts":[]}"#).await.unwrap(),
        r#"{"vectors":null,"count":0,"dimension":0,"model":"m"}"#
    );
    for bad in ["", "{}", r#"{"texts":"4111"}"#, r#"{"text":"4111","texts":[]}"#] {
        let error = call(bad).await.unwrap_err();
        assert_eq!((error.kind(), error.sent()), (ErrorKind::Decode, Sent::No), "{bad}: {error}");
        assert!(!error.message().contains("4111"), "{error}");
    }
}

#[tokio::test]
async fn the_raw_services_of_the_original_call_an_embedder() {
    #[derive(Clone)]
    struct Here;

    impl Embedder for Here {
        async fn embed(&self, text: &str) -> Result<Embedding, Error> {
            Ok(Embedding::new(vector(text), "here"))
        }

        async fn batch(&self, texts: &[&str]) -> Result<Embeddings, Error> {
            Embeddings::new(texts.iter().map(|text| vector(text)).collect(), "here")
        }
    }

    let router = Router::builder().source(MemoryRoutes::new()).build().unwrap();
    register!(router, Embedder => Here).unwrap();
    register_raw(&router, &EmbedderClient::new(&router)).unwrap();
    let call = async |name: &str, json: &str| {
        let bytes = router.call(name, json.to_owned()).await?;
        Ok::<_, Error>(String::from_utf8(bytes.to_vec()).unwrap())
    };
    assert_eq!(
        call("horosembed_embed", r#"{"text":"a"}"#).await.unwrap(),
        r#"{"vector":[1.0,97.0,0.5],"dimension":3,"model":"here"}"#
    );
    assert_eq!(
        call("horosembed_batch", r#"{"texts":["a","b"]}"#).await.unwrap(),
        r#"{"vectors":[[1.0,97.0,0.5],[1.0,98.0,0.5]],"count":2,"dimension":3,"model":"here"}"#
    );
    let error = call("horosembed_batch", r#"{"text":"a"}"#).await.unwrap_err();
    assert_eq!((error.kind(), error.message()), (ErrorKind::Decode, "`texts` is missing"));
}

#[tokio::test]
async fn a_row_without_an_endpoint_answers_zeros_and_says_so() {
    let with_zeros = router(None, &json!({"dimension": 4, "model": "none"}));
    let embedder = EmbedderClient::new(&with_zeros);
    assert_eq!(embedder.embed("a").await.unwrap().vector, [0.0; 4]);
    assert_eq!(embedder.batch(&["a", "b"]).await.unwrap().count, 2);
    let route = with_zeros.inspect().route("embedder").unwrap().clone();
    assert!(format!("{route:?}").contains("every text gets 4 zeros"), "{route:?}");
    let default = router(None, &json!({}));
    assert_eq!(EmbedderClient::new(&default).embed("a").await.unwrap().dimension, 768);
    let wide = router(None, &json!({"dimension": 1_000_000}));
    let error = EmbedderClient::new(&wide).batch(&["a"; 100]).await.unwrap_err();
    assert_eq!((error.kind(), error.sent()), (ErrorKind::TooLarge, Sent::No), "{error}");
}

#[tokio::test]
async fn a_server_that_lies_stalls_or_refuses_is_a_typed_error() {
    let (endpoint, asked) = serve().await;
    let cases: HashMap<&str, (ErrorKind, Sent, &str)> = HashMap::from([
        ("short", (ErrorKind::Decode, Sent::Yes, "1 vectors came for 2 texts")),
        ("twice", (ErrorKind::Decode, Sent::Yes, "two vectors")),
        ("longer", (ErrorKind::Decode, Sent::Yes, "a vector of 4 numbers")),
        ("huge-numbers", (ErrorKind::Decode, Sent::Yes, "does not fit")),
        ("endless", (ErrorKind::TooLarge, Sent::Yes, "over 1000000 bytes")),
        ("silent", (ErrorKind::Timeout, Sent::Maybe, "")),
        ("redirect", (ErrorKind::Remote, Sent::Maybe, "status 307")),
        ("busy", (ErrorKind::Overloaded, Sent::No, "status 429")),
        ("angry", (ErrorKind::Unauthenticated, Sent::Maybe, "status 401")),
    ]);
    // The environment of a test has a variable that can be anything.
    let config = |model: &str| json!({"model": model, "api_key": "env:CARGO_PKG_NAME", "max_reply_bytes": 1_000_000, "timeout_ms": 2_000});
    for (model, (kind, sent, says)) in cases {
        let embedder = EmbedderClient::new(&router(Some(&endpoint), &config(model)));
        let limit = Duration::from_secs(60);
        let error = tokio::time::timeout(limit, embedder.batch(&["4111", "b"]));
        let error = error.await.unwrap().unwrap_err();
        assert_eq!((error.kind(), error.sent()), (kind, sent), "{model}: {error}");
        assert!(error.message().contains(says), "{model}: {error}");
        let text = format!("{error:?}");
        assert!(!text.contains("4111") && !text.contains("Bearer"), "{model}: {text}");
    }
    let asked = asked.0.lock().unwrap();
    assert!(asked.iter().all(|(key, _, _)| key != "elsewhere"), "no redirect is followed");
}

#[tokio::test]
async fn a_bad_row_says_what_is_missing() {
    for (endpoint, config, says) in [
        (
            "http://example.com",
            json!({"api_key": "env:CONNECTIVITY_NO_SUCH_KEY"}),
            "config.api_key",
        ),
        ("http://example.com", json!({"api_key": "sk-4111"}), "config.api_key"),
        ("embed.example.com", json!({}), "endpoint: it is no URL"),
        ("http://169.254.169.254/", json!({}), "address guard"),
    ] {
        let router = router(Some(endpoint), &config);
        let state = router.inspect().route("embedder").unwrap().state.clone();
        let RouteState::Bad { why, .. } = &state else { panic!("{endpoint}: {state:?}") };
        assert!(why.contains(says) && !why.contains("4111"), "{endpoint}: {why}");
    }
}

#[tokio::test]
async fn a_row_that_verifies_nobody_warns() {
    let config = json!({"insecure_tls": true, "headers": {"openai-organization": "shop"}});
    let router = router(Some("https://example.com"), &config);
    let route = router.inspect().route("embedder").unwrap().clone();
    assert_eq!(route.state, RouteState::InForce, "the keys are those of the strategy");
    let warnings = route.warnings.join(" ");
    assert!(warnings.contains("certificate checks are off"), "{warnings}");
    assert!(!warnings.contains("does not use it"), "{warnings}");
}
