//! Every key of a row's config: who uses it, what is allowed, where it goes.

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
use crate::name::{Name, shown};

/// More warnings than this help nobody, and a hostile row could hold 100,000 keys.
const MAX_WARNINGS: usize = 20;
const DAY_MS: u64 = 86_400_000;
const GIB: u64 = 1 << 30;

/// One key.
pub(super) struct Key {
    pub(super) name: &'static str,
    /// The built-in strategies that use it; a user's own transport may use any.
    users: &'static [&'static str],
    rule: Rule,
}

/// What is allowed, and how it is kept. A `bool` result says whether the value was good.
enum Rule {
    Number { from: u64, to: u64, keep: fn(&mut RouteConfig, u64) },
    Flag(fn(&mut RouteConfig, bool)),
    Text { allowed: &'static str, keep: fn(&mut RouteConfig, &str) -> bool },
    Secret(fn(&mut RouteConfig, SecretRef)),
    Headers,
}

const ALL: &[&str] = &Strategy::BUILT_IN;
const FRAMED: &[&str] = &["quic", "unix", "http"];
const ENCRYPTED: &[&str] = &["quic", "http", "mcp", "dbsync"];
const HTTP: &[&str] = &["http"];
const URLS: &[&str] = &["http", "mcp"];
const MCP: &[&str] = &["mcp"];
const EMBED: &[&str] = &["embed"];

pub(super) const KEYS: &[Key] = &[
    text("home", ALL, "the name of a node", |c, t| put(&mut c.home, Name::parse(t).ok())),
    number("timeout_ms", ALL, 1, DAY_MS, |c, n| c.timeout = Some(Duration::from_millis(n))),
    number("retry_max", ALL, 0, 5, |c, n| c.retry.max = count(n)),
    number("retry_backoff_ms", ALL, 1, 60_000, |c, n| c.retry.backoff = Duration::from_millis(n)),
    number("breaker_failures", ALL, 1, 1_000_000, |c, n| c.breaker_failures = Some(count(n))),
    number("breaker_reset_ms", ALL, 1, DAY_MS, |c, n| {
        c.breaker_reset = Some(Duration::from_millis(n))
    }),
    number("breaker_probes", ALL, 1, 1_000, |c, n| c.breaker_probes = Some(count(n))),
    text("fallback", ALL, "`local`", |c, t| {
        c.fallback_to_local = t == "local";
        c.fallback_to_local
    }),
    number("concurrency", ALL, 1, 1_000_000, |c, n| c.concurrency = Some(size(n))),
    text("codec", FRAMED, "`bincode` or `json`", |c, t| put(&mut c.codec, codec(t))),
    number("max_request_bytes", ALL, 1, GIB, |c, n| c.max_request_bytes = size(n)),
    number("max_reply_bytes", ALL, 1, GIB, |c, n| c.max_reply_bytes = size(n)),
    number("drain_ms", ALL, 0, DAY_MS, |c, n| c.drain = Duration::from_millis(n)),
    text("remote_name", ALL, "the name of a service or method", |c, t| {
        put(&mut c.remote_name, Name::parse(t).ok())
    }),
    text("content_type", HTTP, "a type such as `application/json`", |c, t| {
        put(&mut c.content_type, word(t, 256))
    }),
    Key { name: "headers", users: URLS, rule: Rule::Headers },
    Key { name: "insecure_tls", users: ENCRYPTED, rule: Rule::Flag(|c, yes| c.tls.insecure = yes) },
    text("ca_file", ENCRYPTED, FILE, |c, t| put(&mut c.tls.ca_file, path(t))),
    text("pin_sha256", ENCRYPTED, "64 hex digits", |c, t| put(&mut c.tls.pin_sha256, digest(t))),
    text("server_name", ENCRYPTED, "a host name or address", |c, t| {
        put(&mut c.tls.server_name, word(t, 253))
    }),
    text("client_cert_file", ENCRYPTED, FILE, |c, t| put(&mut c.tls.client_cert_file, path(t))),
    text("client_key_file", ENCRYPTED, FILE, |c, t| put(&mut c.tls.client_key_file, path(t))),
    text("tool_name", MCP, "the name of a tool", |c, t| put(&mut c.tool_name, word(t, 256))),
    text("model", EMBED, "the name of a model", |c, t| put(&mut c.model, word(t, 256))),
    number("dimension", EMBED, 0, 1_000_000, |c, n| c.dimension = Some(size(n)).filter(|&n| n > 0)),
    number("batch_size", EMBED, 1, 10_000, |c, n| c.batch_size = size(n)),
    Key {
        name: "api_key",
        users: EMBED,
        rule: Rule::Secret(|c, reference| c.api_key = Some(reference)),
    },
];

const FILE: &str = "the path of a file";

const fn number(
    name: &'static str,
    users: &'static [&'static str],
    from: u64,
    to: u64,
    keep: fn(&mut RouteConfig, u64),
) -> Key {
    Key { name, users, rule: Rule::Number { from, to, keep } }
}

const fn text(
    name: &'static str,
    users: &'static [&'static str],
    allowed: &'static str,
    keep: fn(&mut RouteConfig, &str) -> bool,
) -> Key {
    Key { name, users, rule: Rule::Text { allowed, keep } }
}

/// Reads one key of a row into the config.
pub(super) fn read(
    c: &mut RouteConfig,
    key: &str,
    value: &Value,
    strategy: &Strategy,
) -> Result<(), RouteError> {
    let built_in = Strategy::BUILT_IN.contains(&strategy.as_str());
    let Some(known) = KEYS.iter().find(|known| known.name == key) else {
        if built_in || is_likely_typo(key) {
            warn(c, RouteWarning::unknown(key));
        }
        return Ok(());
    };
    if built_in && strategy.is_remote() && !known.users.contains(&strategy.as_str()) {
        warn(c, foreign(known, strategy));
    }
    known.keep(c, value)
}

fn warn(c: &mut RouteConfig, warning: RouteWarning) {
    if c.warnings.len() < MAX_WARNINGS {
        c.warnings.push(warning);
    }
}

fn foreign(key: &Key, strategy: &Strategy) -> RouteWarning {
    let users = key.users.join(", ");
    RouteWarning::new(key.name, &format!("strategy `{strategy}` does not use it, only {users}"))
}

impl Key {
    fn keep(&self, c: &mut RouteConfig, value: &Value) -> Result<(), RouteError> {
        match (&self.rule, value) {
            (Rule::Number { from, to, keep }, value) => {
                match value.as_u64().filter(|n| (*from..=*to).contains(n)) {
                    Some(n) => keep(c, n),
                    None => {
                        return Err(self.refuse(
                            format_args!("a whole number from {from} to {to}"),
                            &found(value),
                        ));
                    }
                }
            }
            (Rule::Flag(keep), Value::Bool(yes)) => keep(c, *yes),
            (Rule::Flag(_), _) => return Err(self.refuse("true or false", kind(value))),
            (Rule::Text { keep, .. }, Value::String(text)) if keep(c, text) => {}
            (Rule::Text { allowed, .. }, _) => return Err(self.refuse(allowed, &found(value))),
            (Rule::Secret(keep), value) => {
                let reference = value.as_str().and_then(|text| SecretRef::parse(text).ok());
                keep(
                    c,
                    reference.ok_or_else(|| self.refuse(SecretRef::ALLOWED, "something else"))?,
                );
            }
            (Rule::Headers, value) => c.headers = self.headers(value)?,
        }
        Ok(())
    }

    fn refuse(&self, allowed: impl std::fmt::Display, found: &str) -> RouteError {
        RouteError::config(self.name, format_args!("{allowed} goes here, but it is {found}"))
    }

    fn headers(&self, value: &Value) -> Result<Vec<(String, HeaderValue)>, RouteError> {
        let Value::Object(map) = value else {
            return Err(self.refuse("an object of header names and texts", kind(value)));
        };
        let mut headers: Vec<(String, HeaderValue)> =
            Vec::with_capacity(map.len().min(MAX_HEADERS));
        for (name, value) in map {
            let fail = |why: &str| {
                Err(RouteError::config(self.name, format_args!("`{}` {why}", shown(name))))
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

/// Shows a number or a short text; nothing that may be secret comes here.
fn found(value: &Value) -> String {
    match value {
        Value::Number(number) => format!("the number {number}"),
        Value::String(text) => format!("the text `{}`", shown(text)),
        other => kind(other).to_owned(),
    }
}

/// Keeps a value that was good and says whether it was.
fn put<T>(slot: &mut Option<T>, value: Option<T>) -> bool {
    *slot = value;
    slot.is_some()
}

fn codec(text: &str) -> Option<Codec> {
    match text {
        "bincode" => Some(Codec::Bincode),
        "json" => Some(Codec::Json),
        _ => None,
    }
}

fn word(text: &str, longest: usize) -> Option<String> {
    let good =
        (1..=longest).contains(&text.len()) && text.bytes().all(|b| (b' '..=b'~').contains(&b));
    good.then(|| text.to_owned())
}

fn path(text: &str) -> Option<PathBuf> {
    let good = (1..=4096).contains(&text.len()) && !text.contains(char::is_control);
    good.then(|| PathBuf::from(text))
}

/// The ranges above fit; a number beyond them never comes here.
fn count(n: u64) -> u32 {
    u32::try_from(n).unwrap_or(u32::MAX)
}

fn size(n: u64) -> usize {
    usize::try_from(n).unwrap_or(usize::MAX)
}
