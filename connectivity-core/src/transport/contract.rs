//! Methods whose two contracts differ, or that bincode cannot carry: they go as JSON, as long as it
//! is so.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};

use crate::call::{Call, MethodDesc, Reply};
use crate::codec::Codec;
use crate::error::{Error, ErrorKind, Sent};
use crate::shape::Unsupported;

/// How many answers in a row must say that the contracts agree, before bincode is tried again.
/// During a rollout old and new programs answer in turns behind one address, and each wrong guess
/// costs a round trip.
const AGREEMENTS: u32 = 100;

/// What one route knows of the contracts at its far end.
#[derive(Debug, Default)]
pub(crate) struct Contracts {
    /// Whether `as_json` has anything to say; every call asks, and most find nothing.
    any: AtomicBool,
    as_json: RwLock<BTreeMap<&'static str, Reason>>,
}

/// Why a method goes as JSON.
#[derive(Debug)]
enum Reason {
    Differs(Arc<Difference>),
    Unsupported(Unsupported),
}

/// The two contracts of one method.
#[derive(Debug)]
pub(crate) struct Difference {
    here: String,
    there: String,
    agreements: AtomicU32,
}

/// How one attempt of a call is sent.
#[derive(Debug)]
pub(crate) struct Encoding {
    pub(crate) codec: Codec,
    /// The fingerprint that goes with it.
    pub(crate) contract: Option<u64>,
    difference: Option<Arc<Difference>>,
}

impl Contracts {
    /// Says how a call is sent on a row with this codec.
    pub(crate) fn way(&self, call: &Call, wanted: Codec) -> Encoding {
        let plain = |codec| Encoding { codec, contract: None, difference: None };
        let Some(method) = call.method().filter(|_| wanted == Codec::Bincode) else {
            return plain(wanted);
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

    /// Takes note of an answer: says whether the same call should go again, another way.
    pub(crate) fn refused(&self, call: &Call, way: &Encoding, error: &Error) -> bool {
        let (Some(method), Codec::Bincode) = (call.method(), way.codec) else { return false };
        if (error.kind(), error.sent()) != (ErrorKind::Contract, Sent::No) {
            return false;
        }
        let difference = Difference {
            here: method.contract().text.clone(),
            there: quoted(error.message()).to_owned(),
            agreements: AtomicU32::new(0),
        };
        tracing::warn!(method = method.full_name(), "goes as JSON: {difference}");
        self.write(|as_json| {
            as_json.insert(method.full_name(), Reason::Differs(Arc::new(difference)))
        });
        true
    }

    /// Takes note of the fingerprint at the far end.
    pub(crate) fn answered(&self, call: &Call, way: &Encoding, there: u64) {
        let (Some(method), Some(difference)) = (call.method(), &way.difference) else { return };
        if way.contract != Some(there) {
            difference.agreements.store(0, Ordering::Relaxed);
        } else if difference.agreements.fetch_add(1, Ordering::Relaxed) + 1 == AGREEMENTS {
            self.write(|as_json| as_json.remove(method.full_name()));
        }
    }

    /// Forgets what differs: the far end may be another program now.
    #[cfg(feature = "wire")]
    pub(crate) fn forget_differences(&self) {
        self.write(|as_json| as_json.retain(|_, reason| matches!(reason, Reason::Unsupported(_))));
    }

    /// Tells which methods go as JSON, and why.
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
    /// Tells what comes of a difference: arguments that the far end cannot read as JSON either, or
    /// a reply that this end cannot.
    pub(crate) fn judge(&self, call: &Call, result: Result<Reply, Error>) -> Result<Reply, Error> {
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
        write!(f, "the contracts differ; here `{}`, there `{}`", self.here, self.there)
    }
}

/// The shape in the message of a gateway.
fn quoted(message: &str) -> &str {
    message
        .split_once('`')
        .and_then(|(_, rest)| rest.rsplit_once('`'))
        .map_or(message, |(shape, _)| shape)
}
