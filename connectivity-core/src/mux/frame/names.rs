//! Numbers for methods: a name and a fingerprint travel once per connection, a number afterwards.

use std::collections::{BTreeMap, HashMap};
use std::hash::BuildHasherDefault;

use super::{Declaration, Request, WireError};
use crate::fast_hash::FastHasher;
use crate::name::Name;

/// The most methods that a peer may declare on one connection.
const MAX_METHODS: usize = 4096;

/// The caller's side: gives each name its number.
#[derive(Debug, Default)]
pub(crate) struct ClientNames {
    numbers: HashMap<Name, u32, BuildHasherDefault<FastHasher>>,
}

impl ClientNames {
    /// The number of a name, and whether it has to be declared with this use. `None` when the
    /// connection has no numbers left.
    pub(crate) fn number(&mut self, name: &Name) -> Option<(u32, bool)> {
        if let Some(number) = self.numbers.get(name) {
            return Some((*number, false));
        }
        let number =
            u32::try_from(self.numbers.len()).ok().filter(|_| self.numbers.len() < MAX_METHODS)?;
        self.numbers.insert(name.clone(), number);
        Some((number, true))
    }
}

/// The other side: remembers what each number stands for.
#[derive(Debug)]
pub(crate) struct ServerNames<T> {
    known: BTreeMap<u32, T>,
}

impl<T> Default for ServerNames<T> {
    fn default() -> Self {
        Self { known: BTreeMap::new() }
    }
}

impl<T> ServerNames<T> {
    /// What the method of a request is; a declaration is made into what the server needs to know,
    /// once.
    pub(crate) fn resolve(
        &mut self,
        request: &Request,
        learn: impl FnOnce(&Declaration) -> T,
    ) -> Result<&T, WireError> {
        if let Some(declaration) = &request.declaration {
            if self.known.len() >= MAX_METHODS && !self.known.contains_key(&request.method) {
                return Err(WireError::TooManyMethods);
            }
            self.known.insert(request.method, learn(declaration));
        }
        self.known.get(&request.method).ok_or(WireError::UnknownMethod)
    }
}
