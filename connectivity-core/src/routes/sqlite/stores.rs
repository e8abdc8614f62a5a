//! Registry of the open files of this process, for closing all connections to one file at once.
//!
//! The connections of a process share the index of the log. After the index was deleted, a new
//! connection still gets the deleted one while any old connection is open, and would never see the
//! commits of other processes.

use std::sync::{Arc, Mutex, Weak};

use super::file::{FileId, Stamp};
use super::handle::Handle;
use super::store::{Store, lock};

static OPEN: Mutex<Vec<Weak<Store>>> = Mutex::new(Vec::new());

/// Registers a store and shares it.
pub(super) fn share(store: Store) -> Arc<Store> {
    let store = Arc::new(store);
    let mut open = lock(&OPEN);
    open.retain(|store| store.strong_count() > 0);
    open.push(Arc::downgrade(&store));
    store
}

/// Closes all connections of this process to a file whose log or index was deleted or replaced.
/// They are reopened on next use.
pub(super) fn close_all(file: FileId, checkpoint: bool) {
    let mut stores: Vec<_> = lock(&OPEN).iter().filter_map(Weak::upgrade).collect();
    // Skip stores of other files, which may hold their locks for a long read or write.
    stores.retain(|store| Stamp::of(store.path()).is_ok_and(|stamp| stamp.file == file));
    let watcher_slots: Vec<_> = stores.iter().flat_map(|store| store.watcher_slots()).collect();
    // Lock everything before closing the first connection, so that none is opened meanwhile. All
    // callers lock in the same order, which avoids deadlocks.
    let mut readers: Vec<_> = stores.iter().map(|store| lock(&store.reader)).collect();
    let mut writers: Vec<_> = stores.iter().map(|store| lock(&store.writer)).collect();
    let mut watcher_slots: Vec<_> = watcher_slots.iter().map(|slot| lock(slot)).collect();
    let is_open_on = |handle: &Handle| handle.stamp.file == file;
    let readers = readers.iter_mut().zip(&stores).filter_map(|(reader, store)| {
        let reader = reader.take_if(|reader| is_open_on(&reader.handle))?;
        store.notes.record_lost_sidecars();
        Some(reader.handle)
    });
    let others = writers
        .iter_mut()
        .chain(&mut watcher_slots)
        .filter_map(|handle| handle.take_if(|handle| is_open_on(handle)));
    for handle in readers.chain(others) {
        match checkpoint {
            // The last connection to close writes the commits of the deleted log into the file.
            true => drop(handle),
            false => handle.abandon(),
        }
    }
}
