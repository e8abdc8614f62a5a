//! All keys of the column `config`: who uses a key, which values are allowed, and where the value
//! is stored.

use std::path::PathBuf;
use std::time::Duration;

use serde_json::Value;

use super::super::error::RouteError;
use super::super::strategy::Strategy;
use super::RouteConfig;
use super::json::kind;
use super::secret::{HeaderValue, SecretRef};
use super::tls::digest;
use super::warning::{RouteWarning, is_likely_typo};
use crate::codec::Codec;
use crate::layer::BreakerConfig;
use crate::name::{Name, shown};

/// Upper bound of the warnings: a hostile row could hold 100,000 unknown keys.
const MAX_WARNINGS: usize = 20;
const DAY_MS: u64 = 86_400_000;
const GIB: u64 = 1 << 30;

/// Definition of one key.
pub(super) struct Key {
    pub(super) name: &'static str,
    /// Built-in strategies that use the key. A user's own transport may use any key.
    users: &'static [&'static str],
    rule: Rule,
}

/// Allowed values and where to store them. A `bool` result is false if the value is invalid.
enum Rule {
    Number { from: u64, to: u64, store: fn(&mut RouteConfig, u64) },
    Flag(fn(&mut RouteConfig, bool)),
    Text { allowed: &'static str, store: fn(&mut RouteConfig, &str) -> bool },
    Secret(fn(&mut RouteConfig, SecretRef)),
    Headers,
}

const ALL: &[&str] = Strategy::BUILT_IN;
const FRAMED: &[&str] = &["quic", "unix", "http"];
const ENCRYPTED: &[&str] = &["quic", "http", "mcp", "dbsync", "embed"];
const HTTP: &[&str] = &["http"];
const URLS: &[&str] = &["http", "mcp", "embed"];
const MCP: &[&str] = &["mcp"];
const EMBED: &[&str] = &["embed"];

pub(super) const KEYS: &[Key] = &[
    text("home", ALL, "the name of a node", |c, t| store_valid(&mut c.home, Name::parse(t).ok())),
    number("timeout_ms", ALL, 1, DAY_MS, |c, n| c.timeout = Some(Duration::from_millis(n))),
    number("retry_max", ALL, 0, 5, |c, n| c.retry.max = count(n)),
    number("retry_backoff_ms", ALL, 1, 60_000, |c, n| c.retry.backoff = Duration::from_millis(n)),
    number("breaker_failures", ALL, 1, 1_000_000, |c, n| breaker(c).failures = count(n)),
    number("breaker_reset_ms", ALL, 1, DAY_MS, |c, n| breaker(c).reset = Duration::from_millis(n)),
    number("breaker_probes", ALL, 1, 1_000, |c, n| breaker(c).probes = count(n)),
    text("fallback", ALL, "`local`", |c, t| {
        c.fallback_to_local = t == "local";
        c.fallback_to_local
    }),
    number("concurrency", ALL, 1, 1_000_000, |c, n| c.concurrency = Some(size(n))),
    text("codec", FRAMED, "`bincode` or `json`", |c, t| store_valid(&mut c.codec, codec(t))),
    number("max_request_bytes", ALL, 1, GIB, |c, n| c.max_request_bytes = size(n)),
    number("max_reply_bytes", ALL, 1, GIB, |c, n| c.max_reply_bytes = size(n)),
    number("drain_ms", ALL, 0, DAY_MS, |c, n| c.drain = Duration::from_millis(n)),
    text("remote_name", ALL, "the name of a service or method", |c, t| {
        store_valid(&mut c.remote_name, Name::parse(t).ok())
    }),
    text("content_type", HTTP, "a type such as `application/json`", |c, t| {
        printable(t, 256).is_some_and(|valid| {
            c.content_type = valid;
            true
        })
    }),
    Key { name: "headers", users: URLS, rule: Rule::Headers },
    Key { name: "insecure_tls", users: ENCRYPTED, rule: Rule::Flag(|c, yes| c.tls.insecure = yes) },
    text("ca_file", ENCRYPTED, FILE, |c, t| store_valid(&mut c.tls.ca_file, path(t))),
    text("pin_sha256", ENCRYPTED, "64 hex digits", |c, t| {
        store_valid(&mut c.tls.pin_sha256, digest(t))
    }),
    text("server_name", ENCRYPTED, "a host name or address", |c, t| {
        store_valid(&mut c.tls.server_name, printable(t, 253))
    }),
    text("client_cert_file", ENCRYPTED, FILE, |c, t| {
        store_valid(&mut c.tls.client_cert_file, path(t))
    }),
    text("client_key_file", ENCRYPTED, FILE, |c, t| {
        store_valid(&mut c.tls.client_key_file, path(t))
    }),
    text("tool_name", MCP, "the name of a tool", |c, t| {
        store_valid(&mut c.tool_name, printable(t, 256))
    }),
    text("model", EMBED, "the name of a model", |c, t| {
        store_valid(&mut c.model, printable(t, 256))
    }),
    number("dimension", EMBED, 0, 1_000_000, |c, n| c.dimension = Some(size(n)).filter(|&n| n > 0)),
    number("batch_size", EMBED, 1, 10_000, |c, n| c.batch_size = size(n)),
    Key {
        name: "api_key",
        users: EMBED,
        rule: Rule::Secret(|c, reference| c.api_key = Some(reference)),
    },
];

/// A key of the original Go package that only rows of `embed` have: everywhere else it is a typo of
/// `timeout_ms`. It counts nanoseconds; a number below a millisecond is one that meant something
/// else.
static EMBED_TIMEOUT: Key = number("timeout", EMBED, 1_000_000, DAY_MS * 1_000_000, |c, n| {
    c.timeout = Some(Duration::from_nanos(n));
});

const FILE: &str = "the path of a file";

const fn number(
    name: &'static str,
    users: &'static [&'static str],
    from: u64,
    to: u64,
    store: fn(&mut RouteConfig, u64),
) -> Key {
    Key { name, users, rule: Rule::Number { from, to, store } }
}

const fn text(
    name: &'static str,
    users: &'static [&'static str],
    allowed: &'static str,
    store: fn(&mut RouteConfig, &str) -> bool,
) -> Key {
    Key { name, users, rule: Rule::Text { allowed, store } }
}

/// Parses one key of a row and stores it in the config.
pub(super) fn read(
    c: &mut RouteConfig,
    key: &str,
    value: &Value,
    strategy: &Strategy,
) -> Result<(), RouteError> {
    let built_in = Strategy::BUILT_IN.contains(&strategy.as_str());
    let of_embed = (strategy.as_str() == "embed").then_some(&EMBED_TIMEOUT);
    let mut known = KEYS.iter().chain(of_embed);
    let Some(definition) = known.find(|definition| definition.name == key) else {
        if built_in || is_likely_typo(key, names()) {
            warn(c, RouteWarning::unknown(key, names()));
        }
        return Ok(());
    };
    if built_in && strategy.is_remote() && !definition.users.contains(&strategy.as_str()) {
        warn(c, unused_by(definition, strategy));
    }
    definition.apply(c, value)
}

fn names() -> impl Iterator<Item = &'static str> {
    KEYS.iter().map(|definition| definition.name)
}

fn warn(c: &mut RouteConfig, warning: RouteWarning) {
    if c.warnings.len() < MAX_WARNINGS {
        c.warnings.push(warning);
    }
}

fn unused_by(key: &Key, strategy: &Strategy) -> RouteWarning {
    let users = key.users.join(", ");
    RouteWarning::new(key.name, &format!("strategy `{strategy}` does not use it, only {users}"))
}

impl Key {
    fn apply(&self, c: &mut RouteConfig, value: &Value) -> Result<(), RouteError> {
        match (&self.rule, value) {
            (Rule::Number { from, to, store }, value) => {
                match value.as_u64().filter(|n| (*from..=*to).contains(n)) {
                    Some(n) => store(c, n),
                    None => {
                        return Err(self.invalid(
                            format_args!("a whole number from {from} to {to}"),
                            &found(value),
                        ));
                    }
                }
            }
            (Rule::Flag(store), Value::Bool(yes)) => store(c, *yes),
            (Rule::Flag(_), _) => return Err(self.invalid("true or false", kind(value))),
            (Rule::Text { store, .. }, Value::String(text)) if store(c, text) => {}
            (Rule::Text { allowed, .. }, _) => return Err(self.invalid(allowed, &found(value))),
            (Rule::Secret(store), value) => {
                let reference = value.as_str().and_then(|text| SecretRef::parse(text).ok());
                store(
                    c,
                    reference.ok_or_else(|| self.invalid(SecretRef::ALLOWED, "something else"))?,
                );
            }
            (Rule::Headers, value) => c.headers = self.headers(value)?,
        }
        Ok(())
    }

    fn invalid(&self, allowed: impl std::fmt::Display, found: &str) -> RouteError {
        RouteError::config(self.name, format_args!("{allowed} goes here, but it is {found}"))
    }

    fn headers(&self, value: &Value) -> Result<Vec<(String, HeaderValue)>, RouteError> {
        let Value::Object(map) = value else {
            return Err(self.invalid("an object of header names and texts", kind(value)));
        };
        let mut headers: Vec<(String, HeaderValue)> =
            Vec::with_capacity(map.len().min(MAX_HEADERS));
        for (name, value) in map {
            let fail = |problem: &str| {
                Err(RouteError::config(self.name, format_args!("`{}` {problem}", shown(name))))
            };
            if headers.len() == MAX_HEADERS {
                return fail("is one more than the 64 headers allowed");
            }
            if !is_header_name(name) {
                return fail("is no header name; use letters, digits and `-`");
            }
            if headers.iter().any(|(other, _)| other.eq_ignore_ascii_case(name)) {
                return fail("stands twice in another case; keep one");
            }
            let Some(value) = value.as_str().and_then(HeaderValue::parse) else {
                return fail(
                    "holds no good value; write printable ASCII text, `env:NAME` or `file:/path`",
                );
            };
            headers.push((name.clone(), value));
        }
        Ok(headers)
    }
}

const MAX_HEADERS: usize = 64;

fn is_header_name(name: &str) -> bool {
    (1..=64).contains(&name.len())
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b))
}

/// Describes a number or a short text for an error message. It is never called with a value that
/// may be secret.
fn found(value: &Value) -> String {
    match value {
        Value::Number(number) => format!("the number {number}"),
        Value::String(text) => format!("the text `{}`", shown(text)),
        other => kind(other).to_owned(),
    }
}

/// Stores the value and returns whether it is valid, that is `Some`.
fn store_valid<T>(field: &mut Option<T>, value: Option<T>) -> bool {
    *field = value;
    field.is_some()
}

fn codec(text: &str) -> Option<Codec> {
    match text {
        "bincode" => Some(Codec::Bincode),
        "json" => Some(Codec::Json),
        _ => None,
    }
}

fn printable(text: &str, max_len: usize) -> Option<String> {
    let valid =
        (1..=max_len).contains(&text.len()) && text.bytes().all(|b| (b' '..=b'~').contains(&b));
    valid.then(|| text.to_owned())
}

fn path(text: &str) -> Option<PathBuf> {
    let valid = (1..=4096).contains(&text.len()) && !text.contains(char::is_control);
    valid.then(|| PathBuf::from(text))
}

/// The ranges above fit into the type, so larger numbers do not occur.
fn breaker(c: &mut RouteConfig) -> &mut BreakerConfig {
    c.breaker.get_or_insert_default()
}

fn count(n: u64) -> u32 {
    u32::try_from(n).unwrap_or(u32::MAX)
}

fn size(n: u64) -> usize {
    usize::try_from(n).unwrap_or(usize::MAX)
}
