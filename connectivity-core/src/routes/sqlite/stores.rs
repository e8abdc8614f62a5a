//! The open files of this process, to close all connections to one of them at once.
//!
//! SQLite lets the connections of a process share the index of the log. After that was deleted, a
//! new connection gets the lost one as long as any old connection is open, and would never see what
//! other processes commit.

use std::sync::{Arc, Mutex, Weak};

use super::file::{FileId, Stamp};
use super::handle::Handle;
use super::store::{Store, lock};

/// A connection of a watcher.
pub(super) type Look = Arc<Mutex<Option<Handle>>>;

static OPEN: Mutex<Vec<Weak<Store>>> = Mutex::new(Vec::new());

/// Notes a store, and shares it.
pub(super) fn share(store: Store) -> Arc<Store> {
    let store = Arc::new(store);
    let mut open = lock(&OPEN);
    open.retain(|store| store.strong_count() > 0);
    open.push(Arc::downgrade(&store));
    store
}

/// Closes all connections of this process to a file that is no longer what its names mean; they are
/// opened anew when they are used.
pub(super) fn close_all(file: FileId, rescue: bool) {
    let mut stores: Vec<_> = lock(&OPEN).iter().filter_map(Weak::upgrade).collect();
    // Another file may be read or written for as long as it likes.
    stores.retain(|store| Stamp::of(store.path()).is_ok_and(|stamp| stamp.file == file));
    let looks: Vec<_> = stores.iter().flat_map(|store| store.looks()).collect();
    // All are locked before one is closed, so that none is opened meanwhile; in one order, which
    // every caller keeps.
    let mut readers: Vec<_> = stores.iter().map(|store| lock(&store.reader)).collect();
    let mut writers: Vec<_> = stores.iter().map(|store| lock(&store.writer)).collect();
    let mut looks: Vec<_> = looks.iter().map(|look| lock(look)).collect();
    let is_of = |handle: &Handle| handle.stamp.file == file;
    let readers = readers.iter_mut().zip(&stores).filter_map(|(reader, store)| {
        let reader = reader.take_if(|reader| is_of(&reader.handle))?;
        store.notes.lost_sidecars();
        Some(reader.handle)
    });
    let others = writers
        .iter_mut()
        .chain(&mut looks)
        .filter_map(|handle| handle.take_if(|handle| is_of(handle)));
    for handle in readers.chain(others) {
        match rescue {
            // The last one writes the commits of the deleted log into the file.
            true => drop(handle),
            false => handle.abandon(),
        }
    }
}
