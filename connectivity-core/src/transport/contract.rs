//! Falls back to JSON per method while the two contracts differ, or if bincode cannot encode the
//! method.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};

use crate::call::{Call, MethodDesc, Reply};
use crate::codec::Codec;
use crate::error::{Error, ErrorKind, Sent};
use crate::shape::Unsupported;

/// Number of consecutive replies with an equal fingerprint before bincode is tried again. During a
/// rollout, old and new servers alternate behind one address, and each wrong guess costs a round
/// trip.
const AGREEMENTS: u32 = 100;

/// The state of contract negotiation of one route.
#[derive(Debug, Default)]
pub(crate) struct Contracts {
    /// Whether `as_json` has entries. Every call checks it, and most take the fast path without
    /// any.
    any: AtomicBool,
    as_json: RwLock<BTreeMap<&'static str, Reason>>,
}

/// Why a method is sent as JSON.
#[derive(Debug)]
enum Reason {
    Differs(Arc<Difference>),
    Unsupported(Unsupported),
}

/// The two different contracts of one method.
#[derive(Debug)]
pub(crate) struct Difference {
    client: String,
    server: String,
    agreements: AtomicU32,
}

/// How one attempt of a call is encoded.
#[derive(Debug)]
pub(crate) struct Encoding {
    pub(crate) codec: Codec,
    /// The fingerprint that is sent with it.
    pub(crate) contract: Option<u64>,
    difference: Option<Arc<Difference>>,
}

impl Contracts {
    /// Returns the encoding of a call for a row with this codec.
    pub(crate) fn encoding(&self, call: &Call, row_codec: Codec) -> Encoding {
        let plain = |codec| Encoding { codec, contract: None, difference: None };
        let Some(method) = call.method().filter(|_| row_codec == Codec::Bincode) else {
            return plain(row_codec);
        };
        let contract = method.contract();
        if let Some(unsupported) = &contract.unsupported {
            self.note_unsupported(method, unsupported);
            return plain(Codec::Json);
        }
        let difference = self.difference(method.full_name());
        let codec = if difference.is_some() { Codec::Json } else { Codec::Bincode };
        Encoding { codec, contract: Some(contract.fingerprint), difference }
    }

    /// Records an error if the server rejected the contract. Returns whether to retry the call with
    /// another encoding.
    pub(crate) fn record_refusal(&self, call: &Call, encoding: &Encoding, error: &Error) -> bool {
        let (Some(method), Codec::Bincode) = (call.method(), encoding.codec) else { return false };
        if (error.kind(), error.sent()) != (ErrorKind::Contract, Sent::No) {
            return false;
        }
        let difference = Difference {
            client: method.contract().text.clone(),
            server: quoted_shape(error.message()).to_owned(),
            agreements: AtomicU32::new(0),
        };
        tracing::warn!(method = method.full_name(), "goes as JSON: {difference}");
        self.write(|as_json| {
            as_json.insert(method.full_name(), Reason::Differs(Arc::new(difference)))
        });
        true
    }

    /// Records the fingerprint of the server's contract.
    pub(crate) fn record_fingerprint(&self, call: &Call, encoding: &Encoding, fingerprint: u64) {
        let (Some(method), Some(difference)) = (call.method(), &encoding.difference) else {
            return;
        };
        if encoding.contract != Some(fingerprint) {
            difference.agreements.store(0, Ordering::Relaxed);
        } else if difference.agreements.fetch_add(1, Ordering::Relaxed) + 1 == AGREEMENTS {
            self.write(|as_json| as_json.remove(method.full_name()));
        }
    }

    /// Forgets all differences: the server may be another program now.
    #[cfg(feature = "wire")]
    pub(crate) fn forget_differences(&self) {
        self.write(|as_json| as_json.retain(|_, reason| matches!(reason, Reason::Unsupported(_))));
    }

    /// Returns a warning for each method that is sent as JSON, with the reason.
    pub(crate) fn warnings(&self) -> Vec<String> {
        self.read().iter().map(|(name, reason)| format!("{name} goes as JSON: {reason}")).collect()
    }

    fn difference(&self, name: &str) -> Option<Arc<Difference>> {
        if !self.any.load(Ordering::Acquire) {
            return None;
        }
        match self.read().get(name) {
            Some(Reason::Differs(difference)) => Some(Arc::clone(difference)),
            _ => None,
        }
    }

    fn note_unsupported(&self, method: &MethodDesc, unsupported: &Unsupported) {
        if !self.read().contains_key(method.full_name()) {
            self.write(|as_json| {
                as_json.insert(method.full_name(), Reason::Unsupported(unsupported.clone()))
            });
        }
    }

    fn read(&self) -> RwLockReadGuard<'_, BTreeMap<&'static str, Reason>> {
        self.as_json.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write<T>(&self, change: impl FnOnce(&mut BTreeMap<&'static str, Reason>) -> T) {
        let mut as_json = self.as_json.write().unwrap_or_else(PoisonError::into_inner);
        change(&mut as_json);
        self.any.store(!as_json.is_empty(), Ordering::Release);
    }
}

impl Encoding {
    /// Adds the contract difference, if there is one, to the result: the server may fail to decode
    /// the arguments as JSON too, and the client the reply.
    pub(crate) fn annotate(
        &self,
        call: &Call,
        result: Result<Reply, Error>,
    ) -> Result<Reply, Error> {
        let Some(difference) = &self.difference else { return result };
        match result {
            Ok(reply) => Ok(reply.with_drift(difference.to_string())),
            Err(error) if (error.kind(), error.sent()) == (ErrorKind::Decode, Sent::No) => {
                Err(call
                    .failed(ErrorKind::Contract, format_args!("{}; {difference}", error.message())))
            }
            Err(error) => Err(error),
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Differs(difference) => write!(f, "{difference}"),
            Self::Unsupported(unsupported) => write!(f, "bincode cannot carry {unsupported}"),
        }
    }
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the contracts differ; here `{}`, there `{}`", self.client, self.server)
    }
}

/// Extracts the shape that the server quotes in its message.
fn quoted_shape(message: &str) -> &str {
    message
        .split_once('`')
        .and_then(|(_, rest)| rest.rsplit_once('`'))
        .map_or(message, |(shape, _)| shape)
}
