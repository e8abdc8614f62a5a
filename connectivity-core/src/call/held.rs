//! What counts a call as in flight, for as long as its work runs.

#[cfg(feature = "router")]
use std::ops::Deref;
use std::sync::Arc;

#[cfg(feature = "router")]
use super::Call;

/// Permits that are given back when the work of a call has ended.
#[derive(Default)]
pub(crate) struct Permits {
    /// Of this call alone: its forks have none.
    #[cfg(feature = "router")]
    admission: Option<Admission>,
    #[cfg_attr(not(feature = "router"), allow(dead_code, reason = "only a router admits calls"))]
    shared: Vec<Arc<dyn Send + Sync>>,
}

impl Clone for Permits {
    fn clone(&self) -> Self {
        Self {
            #[cfg(feature = "router")]
            admission: None,
            shared: self.shared.clone(),
        }
    }
}

#[cfg(feature = "router")]
impl Permits {
    pub(super) fn push(&mut self, permit: Arc<dyn Send + Sync>) {
        self.shared.push(permit);
    }

    pub(super) fn admit(&mut self, admission: Admission) {
        self.admission = Some(admission);
    }
}

/// Counts calls in flight.
#[cfg(feature = "router")]
pub(crate) trait Admits: Send + Sync {
    /// Hears that the work of an admitted call has ended.
    fn leave(&self);
}

/// An admitted call, until this is dropped. It is part of the call, so it takes no memory of its
/// own.
#[cfg(feature = "router")]
pub(crate) struct Admission(Arc<dyn Admits>);

#[cfg(feature = "router")]
impl Admission {
    /// Made once the call was counted.
    pub(crate) fn new(by: Arc<dyn Admits>) -> Self {
        Self(by)
    }
}

#[cfg(feature = "router")]
impl Drop for Admission {
    fn drop(&mut self) {
        self.0.leave();
    }
}

/// A permit of a call: given back when its future has ended, or with the work of a `#[no_cancel]`
/// method, which outlives that.
#[cfg(feature = "router")]
#[derive(Debug)]
pub(crate) enum Held<P> {
    Own(P),
    Shared(Arc<P>),
}

#[cfg(feature = "router")]
impl<P: Send + Sync + 'static> Held<P> {
    /// Shares a permit with a call where the work outlives whoever waits for it.
    pub(crate) fn by(permit: P, call: &mut Call) -> Self {
        if !call.is_no_cancel() {
            return Self::Own(permit);
        }
        let permit = Arc::new(permit);
        call.hold(Arc::clone(&permit) as _);
        Self::Shared(permit)
    }
}

#[cfg(feature = "router")]
impl<P> Deref for Held<P> {
    type Target = P;

    fn deref(&self) -> &P {
        match self {
            Self::Own(permit) => permit,
            Self::Shared(permit) => permit,
        }
    }
}
