//! Tests of valid and invalid values, with one table for all keys.

use std::time::Duration;

use super::keys::KEYS;
use super::*;

fn parse(json: &str, strategy: &str) -> Result<RouteConfig, RouteError> {
    RouteConfig::parse(json, &Strategy::parse(strategy).unwrap())
}

fn parse_custom(json: &str) -> RouteConfig {
    parse(json, "mine").unwrap()
}

fn assert_rejected(json: &str, expected: &str) {
    let text = parse(json, "http").unwrap_err().to_string();
    assert!(text.contains(expected), "{json}: {text}");
}

/// Key, valid values, invalid values.
const VALUES: &[(&str, &[&str], &[&str])] = &[
    ("home", &[r#""billing""#], &[r#""""#, r#""a b""#, "1"]),
    (
        "timeout_ms",
        &["1", "86400000"],
        &["0", "86400001", "-1", "1.5", "1e999", r#""500""#, "true", "null"],
    ),
    ("retry_max", &["0", "5"], &["6", "-1"]),
    ("retry_backoff_ms", &["1", "60000"], &["0", "60001"]),
    ("breaker_failures", &["1"], &["0", "1000001"]),
    ("breaker_reset_ms", &["1", "86400000"], &["0", "86400001"]),
    ("breaker_probes", &["1", "1000"], &["0", "1001"]),
    ("fallback", &[r#""local""#], &[r#""noop""#, r#""""#, "true"]),
    ("concurrency", &["1", "1000000"], &["0", "1000001"]),
    ("codec", &[r#""bincode""#, r#""json""#], &[r#""JSON""#, r#""""#, "1"]),
    ("max_request_bytes", &["1", "1073741824"], &["0", "1073741825"]),
    ("max_reply_bytes", &["1", "1073741824"], &["0", "1073741825"]),
    ("drain_ms", &["0", "86400000"], &["86400001", "-1"]),
    ("remote_name", &[r#""a.b""#], &[r#""a/b""#, "[]"]),
    ("content_type", &[r#""text/plain""#], &[r#""""#, r#""a\nb""#, "{}"]),
    (
        "headers",
        &["{}", r#"{"X-A":"1"}"#],
        &["[]", r#""x""#, r#"{"X A":"1"}"#, r#"{"":"1"}"#, r#"{"A":1}"#, r#"{"A":"x\ny"}"#],
    ),
    ("insecure_tls", &["true", "false"], &["1", r#""true""#]),
    ("ca_file", &[r#""/etc/ca.pem""#], &[r#""""#, "1"]),
    ("pin_sha256", &[], &[r#""""#, r#""abcd""#]),
    ("server_name", &[r#""example.org""#], &[r#""""#]),
    ("client_cert_file", &[], &[r#""""#, r#""only-one.pem""#]),
    ("client_key_file", &[], &[r#""""#, r#""only-one.pem""#]),
    ("tool_name", &[r#""search""#], &[r#""""#, r#""a\tb""#]),
    ("model", &[r#""bge-m3""#], &[r#""""#]),
    ("dimension", &["0", "768"], &["-1", "1000001"]),
    ("batch_size", &["1", "10000"], &["0", "10001"]),
    ("api_key", &[r#""env:KEY""#, r#""file:/run/key""#], &[r#""sk-1""#, r#""""#, "1"]),
];

#[test]
fn every_key_takes_what_is_allowed_and_refuses_the_rest() {
    for (key, valid, invalid) in VALUES {
        for value in *valid {
            let config = parse_custom(&format!(r#"{{"{key}":{value}}}"#));
            assert!(config.warnings.is_empty(), "{key}");
        }
        for value in *invalid {
            let error = parse(&format!(r#"{{"{key}":{value}}}"#), "mine").unwrap_err();
            // `serde_json` rejects a number that no float can represent as invalid JSON.
            let prefix = if *value == "1e999" { "config: " } else { &format!("config.{key}: ") };
            assert!(error.to_string().starts_with(prefix), "{error}");
        }
    }
}

#[test]
fn the_table_of_values_is_complete() {
    let tested: Vec<_> = VALUES.iter().map(|(key, ..)| *key).collect();
    assert_eq!(tested, KEYS.iter().map(|key| key.name).collect::<Vec<_>>());
}

#[test]
fn what_is_not_given_has_its_default() {
    for text in ["", "{}"] {
        let remote = parse(text, "quic").unwrap();
        assert_eq!(remote.timeout, None);
        assert_eq!((remote.retry.max, remote.retry.backoff), (0, Duration::from_millis(50)));
        assert_eq!((remote.max_request_bytes, remote.max_reply_bytes), (16 << 20, 16 << 20));
        assert_eq!((remote.drain, remote.batch_size), (Duration::from_secs(30), 32));
        assert_eq!((remote.breaker, remote.codec, remote.concurrency), (None, None, None));
        assert_eq!(remote.content_type, "application/octet-stream");
    }
}

#[test]
fn every_key_lands_in_its_accessor() {
    let config = parse_custom(
        r#"{"home":"n1","timeout_ms":500,"retry_max":2,"retry_backoff_ms":70,"fallback":"local","concurrency":8,
        "codec":"json","max_request_bytes":10,"max_reply_bytes":20,"drain_ms":0,"remote_name":"b.c","content_type":"a/b",
        "headers":{"X-A":"1","Authorization":"env:TOKEN"},"tool_name":"t","model":"m","dimension":3,"batch_size":4,
        "api_key":"file:/k"}"#,
    );
    assert_eq!(config.home.as_ref().map(Name::as_str), Some("n1"));
    assert_eq!(config.timeout, Some(Duration::from_millis(500)));
    assert_eq!((config.retry.max, config.retry.backoff), (2, Duration::from_millis(70)));
    assert_eq!((config.fallback_to_local, config.concurrency), (true, Some(8)));
    assert_eq!(config.codec, Some(Codec::Json));
    assert_eq!((config.max_request_bytes, config.max_reply_bytes), (10, 20));
    assert_eq!((config.drain, config.content_type.as_str()), (Duration::ZERO, "a/b"));
    assert_eq!(config.remote_name.as_ref().map(Name::as_str), Some("b.c"));
    assert!(config.headers.contains(&("X-A".to_owned(), HeaderValue::Plain("1".to_owned()))));
    assert!(config.headers.contains(&(
        "Authorization".to_owned(),
        HeaderValue::Secret(SecretRef::Env("TOKEN".into()))
    )));
    assert_eq!((config.tool_name.as_deref(), config.model.as_deref()), (Some("t"), Some("m")));
    assert_eq!((config.dimension, config.batch_size), (Some(3), 4));
    assert_eq!(config.api_key.as_ref(), Some(&SecretRef::File("/k".into())));
    assert_eq!(parse_custom(r#"{"dimension":0}"#).dimension, None);
}

#[test]
fn one_breaker_key_turns_it_on_with_the_known_defaults() {
    let breaker = parse_custom(r#"{"breaker_failures":3}"#).breaker.unwrap();
    assert_eq!((breaker.failures, breaker.reset, breaker.probes), (3, Duration::from_secs(30), 2));
    let breaker = parse_custom(r#"{"breaker_reset_ms":9,"breaker_probes":1}"#).breaker.unwrap();
    assert_eq!((breaker.failures, breaker.reset, breaker.probes), (5, Duration::from_millis(9), 1));
}

#[test]
fn tls_keys_land_in_one_place() {
    let pin = "ab".repeat(32);
    let config = parse_custom(&format!(
        r#"{{"ca_file":"/ca","pin_sha256":"{pin}","server_name":"s","client_cert_file":"/c","client_key_file":"/k"}}"#
    ));
    let tls = &config.tls;
    assert_eq!(
        (tls.insecure, tls.pin_sha256, tls.server_name.as_deref()),
        (false, Some([0xab; 32]), Some("s"))
    );
    assert_eq!(
        (tls.ca_file.clone(), tls.client_cert_file.clone()),
        (Some("/ca".into()), Some("/c".into()))
    );
    assert_eq!(tls.client_key_file.clone(), Some("/k".into()));
    assert!(config.warnings.is_empty());
    assert_eq!(
        parse_custom(r#"{"insecure_tls":true,"ca_file":"/ca"}"#).warnings[0].key(),
        "insecure_tls"
    );
    assert_rejected(r#"{"client_key_file":"/k"}"#, "`client_cert_file` is missing");
}

#[test]
fn what_is_no_object_is_refused() {
    assert_rejected("[]", "config: it is a list; write a JSON object such as");
    assert_rejected(r#""x""#, "it is a text");
    assert_rejected("timeout_ms=500", "config: it is no JSON");
    assert_rejected("{a:1}", "no JSON");
    assert_rejected("{}\0", "no JSON");
    assert_rejected(&"[".repeat(100_000), "no JSON");
}

#[test]
fn a_key_that_stands_twice_is_refused() {
    assert_rejected(
        r#"{"timeout_ms":1,"timeout_ms":2}"#,
        "config: the key `timeout_ms` stands twice",
    );
    assert_rejected(r#"{"headers":{"A":"1","A":"2"}}"#, "`A` stands twice");
    assert_rejected(r#"{"headers":{"a":"1","A":"2"}}"#, "stands twice in another case");
    assert_rejected(r#"{"headers":1,"headers":{}}"#, "config.headers: ");
}

#[test]
fn errors_say_what_stood_there_and_what_is_allowed() {
    assert_rejected(
        r#"{"timeout_ms":0}"#,
        "a whole number from 1 to 86400000 goes here, but it is the number 0",
    );
    assert_rejected(
        r#"{"codec":"bincod"}"#,
        "`bincode` or `json` goes here, but it is the text `bincod`",
    );
    assert_rejected(r#"{"insecure_tls":[]}"#, "true or false goes here, but it is a list");
}

#[test]
fn no_error_warning_or_debug_text_shows_a_secret() {
    for json in [
        r#"{"api_key":"hunter2"}"#,
        r#"{"api_key":["hunter2"]}"#,
        r#"{"headers":{"A":"hunter2\n"}}"#,
        r#"{"headers":{"A":["hunter2"]}}"#,
        r#"{"headers":"hunter2"}"#,
    ] {
        let text = parse(json, "embed").unwrap_err().to_string();
        assert!(!text.contains("hunter2"), "{text}");
    }
    assert!(!format!("{:?}", parse_custom(r#"{"headers":{"A":"hunter2"}}"#)).contains("hunter2"));
}

#[test]
fn a_row_of_embed_may_have_the_timeout_of_the_original() {
    let timeout = |json| parse(json, "embed").map(|config| config.timeout);
    assert_eq!(timeout(r#"{"timeout":30000000000}"#), Ok(Some(Duration::from_secs(30))));
    let both = timeout(r#"{"timeout":30000000000,"timeout_ms":500}"#);
    assert_eq!(both, Ok(Some(Duration::from_millis(500))), "the key of all rows counts");
    assert!(parse(r#"{"timeout":30000000000}"#, "embed").unwrap().warnings.is_empty());
    for bad in [r#"{"timeout":5}"#, r#"{"timeout":"5s"}"#, r#"{"timeout":1e30}"#] {
        let text = parse(bad, "embed").unwrap_err().to_string();
        assert!(text.starts_with("config.timeout: a whole number from 1000000 to"), "{text}");
    }
}

#[test]
fn an_unknown_key_warns_with_the_nearest_known_one() {
    let text =
        |json, strategy| parse(json, strategy).unwrap().warnings.first().map(ToString::to_string);
    assert_eq!(
        text(r#"{"timeout":5}"#, "quic").unwrap(),
        "config.timeout: unknown key, ignored; did you mean `timeout_ms`?"
    );
    assert_eq!(text(r#"{"zzz":5}"#, "local").unwrap(), "config.zzz: unknown key, ignored");
    assert_eq!(text(r#"{"zzz":5}"#, "mine"), None, "a user's own transport may have its own keys");
    assert!(text(r#"{"timeout_m":5}"#, "mine").is_some(), "but a typo is a typo");
    assert!(text(&format!(r#"{{"{}":5}}"#, "x".repeat(1 << 19)), "quic").unwrap().len() < 200);
}

#[test]
fn warnings_are_bounded() {
    let keys: Vec<_> = (0..5_000).map(|n| format!(r#""z{n}":1"#)).collect();
    assert_eq!(parse(&format!("{{{}}}", keys.join(",")), "quic").unwrap().warnings.len(), 20);
}

#[test]
fn a_key_of_another_strategy_warns_only_where_a_transport_would_read_it() {
    let warnings = |strategy| parse(r#"{"tool_name":"t"}"#, strategy).unwrap().warnings.to_vec();
    assert_eq!(
        warnings("http")[0].to_string(),
        "config.tool_name: strategy `http` does not use it, only mcp"
    );
    for strategy in ["mcp", "local", "noop", "mine"] {
        assert_eq!(warnings(strategy), [], "{strategy}");
    }
}

#[test]
fn null_is_an_empty_config() {
    for json in ["null", " null\n"] {
        let config = parse(json, "quic").unwrap();
        assert_eq!((config.json(), config.warnings.as_slice()), ("{}", &[][..]));
    }
    assert!(parse("[null]", "quic").is_err());
}
