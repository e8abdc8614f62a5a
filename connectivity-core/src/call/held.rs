//! Permits that count a call as in flight while its work runs.

#[cfg(feature = "router")]
use std::ops::Deref;
use std::sync::Arc;

#[cfg(feature = "router")]
use super::Call;

/// The permits of a call, released when its work has ended.
#[derive(Default)]
pub(crate) struct Permits {
    /// The admission of this call alone. Its forks have none.
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
    /// Uncounts an admitted call, whose work has ended.
    fn leave(&self);
}

/// The permit of an admitted call, released on drop. It is part of the call, so it needs no
/// allocation.
#[cfg(feature = "router")]
pub(crate) struct Admission(Arc<dyn Admits>);

#[cfg(feature = "router")]
impl Admission {
    /// Creates the permit of a call that `counter` has already counted.
    pub(crate) fn new(counter: Arc<dyn Admits>) -> Self {
        Self(counter)
    }
}

#[cfg(feature = "router")]
impl Drop for Admission {
    fn drop(&mut self) {
        self.0.leave();
    }
}

/// A permit of a call, released when its future has ended. For a `#[no_cancel]` method, whose work
/// may outlive the future, released when both have ended.
#[cfg(feature = "router")]
#[derive(Debug)]
pub(crate) enum Held<P> {
    Own(P),
    Shared(Arc<P>),
}

#[cfg(feature = "router")]
impl<P: Send + Sync + 'static> Held<P> {
    /// Wraps a permit, and shares it with the call if the work may outlive the caller's future.
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
