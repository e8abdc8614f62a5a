//! Changing rows in code: what SQL does in a shell, with every check that a router makes, before
//! anything is written.

mod edit;
mod error;
mod rollback;
pub(super) mod stored;
mod take_away;

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use rusqlite::Transaction;

use super::history::{self, Change};
use super::store::{Access, Finish, Store};
use super::stores::share;
use crate::routes::error::RouteError;
use crate::routes::route::Route;
use crate::routes::source::SourceError;

pub use edit::RouteSpec;
pub use error::AdminError;
pub use rollback::RollbackReport;
pub use stored::StoredRoute;

use error::TransactionError;

/// Reads and changes the rows of a routes file. Cheap to clone.
///
/// A change is checked as the router checks rows, so that one which comes through is in force
/// everywhere: a wrong value, an unknown key of the config and a strategy that the file does not
/// know are refused, and nothing is written then. Each change is one transaction and stands in the
/// history.
///
/// The functions are async, because a file that another process is writing makes a writer wait, up
/// to 5 s; they wait on the blocking threads of the runtime.
///
/// ```
/// use connectivity_core::{RouteSpec, Router};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let dir = tempfile::tempdir()?;
/// # let path = dir.path().join("routes.db");
/// let router = Router::open_or_create(path).await?;
/// let admin = router.admin()?; // without a router: `Admin::open(path).await?`
///
/// admin.upsert(RouteSpec::new("billing", "quic").endpoint("10.0.0.5:4433")).await?;
/// let before = router.generation();
/// admin.set_strategy("billing", "noop").await?;
/// admin.rollback(before, None).await?;
/// let billing = admin.get("billing").await?.ok_or("no row")?;
/// assert_eq!(serde_json::to_value(&billing)?["strategy"], "quic");
/// # Ok(())
/// # }
/// ```
///
/// # Cancel safety
/// A change whose future is dropped may still be made.
#[derive(Clone)]
pub struct Admin {
    store: Arc<Store>,
    dry: bool,
    changed: Option<Arc<dyn Fn() + Send + Sync>>,
    check: RouteCheck,
}

/// What a strategy says of a row before it is written.
pub(crate) type RouteCheck = Arc<dyn Fn(&Route) -> Result<(), RouteError> + Send + Sync>;

impl Admin {
    /// Opens a routes file, with no strategy asked about its rows.
    pub(crate) async fn open_file(path: impl AsRef<Path>) -> Result<Self, AdminError> {
        let path = path.as_ref().to_owned();
        blocking(move || Ok(Self::of(share(Store::open(&path, Access::Existing)?)))).await
    }

    pub(super) fn of(store: Arc<Store>) -> Self {
        Self { store, dry: false, changed: None, check: Arc::new(|_| Ok(())) }
    }

    /// Asks this about a row before it is written.
    pub(crate) fn checked_by(self, check: RouteCheck) -> Self {
        Self { check, ..self }
    }

    /// Does this after each change.
    pub(crate) fn and_then(self, changed: impl Fn() + Send + Sync + 'static) -> Self {
        Self { changed: Some(Arc::new(changed)), ..self }
    }

    /// Gives one that only tries: it answers as if it made its changes, or says why not, and makes
    /// none.
    #[must_use]
    pub fn dry_run(&self) -> Self {
        Self { dry: true, ..self.clone() }
    }

    /// Reads all rows, good and bad, by name.
    ///
    /// # Errors
    /// When the file cannot be read.
    ///
    /// # Cancel safety
    /// Dropping the future loses nothing but the answer; it changes no row.
    pub async fn list(&self) -> Result<Vec<StoredRoute>, AdminError> {
        let store = Arc::clone(&self.store);
        blocking(move || {
            Ok(store.with_reader("reading routes", |connection| stored::read_all(connection))?)
        })
        .await
    }

    /// Reads the row of one name, if there is one.
    ///
    /// # Errors
    /// When the file cannot be read.
    ///
    /// # Cancel safety
    /// Dropping the future loses nothing but the answer; it changes no row.
    pub async fn get(&self, name: &str) -> Result<Option<StoredRoute>, AdminError> {
        let (store, name) = (Arc::clone(&self.store), name.to_owned());
        blocking(move || {
            Ok(store.with_reader("reading routes", |connection| stored::read(connection, &name))?)
        })
        .await
    }

    /// Adds a row, or changes the one of that name. What the spec does not state stays as it is.
    /// Says what changed, if anything did.
    ///
    /// # Errors
    /// [`Invalid`](AdminError::Invalid) or [`UnknownStrategy`](AdminError::UnknownStrategy) when
    /// the row would be bad.
    ///
    /// # Cancel safety
    /// The change may still be made when the future is dropped, and then as a whole:
    /// [`history`](Self::history) tells whether it was.
    pub async fn upsert(&self, spec: RouteSpec) -> Result<Option<Change>, AdminError> {
        let check = Arc::clone(&self.check);
        self.change("changing a route", move |tx| edit::upsert(tx, &spec, &check)).await
    }

    /// Gives a row another strategy; its endpoint and config stay. Says what changed, if anything
    /// did.
    ///
    /// # Errors
    /// [`NotFound`](AdminError::NotFound) when no row has this name; else as
    /// [`upsert`](Self::upsert).
    ///
    /// # Cancel safety
    /// The change may still be made when the future is dropped, and then as a whole:
    /// [`history`](Self::history) tells whether it was.
    pub async fn set_strategy(
        &self,
        name: &str,
        strategy: &str,
    ) -> Result<Option<Change>, AdminError> {
        let spec = RouteSpec::new(name, strategy);
        let check = Arc::clone(&self.check);
        self.change("changing a route", move |tx| edit::set_strategy(tx, &spec, &check)).await
    }

    /// Deletes a row, a bad one too, and one that is too long to be read. Calls of that name go by
    /// the service's row then, or to what is registered in the process.
    ///
    /// # Errors
    /// [`NotFound`](AdminError::NotFound) when no row has this name.
    ///
    /// # Cancel safety
    /// The change may still be made when the future is dropped, and then as a whole:
    /// [`history`](Self::history) tells whether it was.
    pub async fn delete(&self, name: &str) -> Result<Option<Change>, AdminError> {
        let name = name.to_owned();
        self.change("deleting a route", move |tx| edit::delete(tx, &name)).await
    }

    /// Reads the newest changes, newest first: of one name, or of all.
    ///
    /// # Errors
    /// When the file cannot be read.
    ///
    /// # Cancel safety
    /// Dropping the future loses nothing but the answer; it changes no row.
    pub async fn history(
        &self,
        name: Option<&str>,
        limit: usize,
    ) -> Result<Vec<Change>, AdminError> {
        let (store, name) = (Arc::clone(&self.store), name.map(str::to_owned));
        blocking(move || Ok(history::read(&store, name.as_deref(), limit)?)).await
    }

    /// Puts every row, or the one named, back to what it was at a generation: all in one
    /// transaction, as new changes, so that this can be rolled back in turn. Rows whose name is no
    /// text are left alone. Those that were bad at that generation are restored too, where the file
    /// takes them, and are named in the report.
    ///
    /// # Errors
    /// [`NoSuchGeneration`](AdminError::NoSuchGeneration) when the history does not reach back that
    /// far; [`Invalid`](AdminError::Invalid) when the one row that is named would be bad today. No
    /// row is changed then.
    ///
    /// # Cancel safety
    /// The change may still be made when the future is dropped, and then as a whole:
    /// [`history`](Self::history) tells whether it was.
    pub async fn rollback(
        &self,
        generation: u64,
        name: Option<&str>,
    ) -> Result<RollbackReport, AdminError> {
        let name = name.map(str::to_owned);
        let rollback =
            move |tx: &Transaction<'_>| rollback::rollback(tx, generation, name.as_deref());
        let (bad, changes) = self.write("rolling back", rollback).await?;
        Ok(RollbackReport { changes, bad })
    }

    async fn change(
        &self,
        what: &'static str,
        change: impl FnOnce(&Transaction<'_>) -> Result<(), TransactionError> + Send + 'static,
    ) -> Result<Option<Change>, AdminError> {
        let ((), mut changes) = self.write(what, change).await?;
        Ok(changes.pop())
    }

    /// Makes changes in one transaction, or tries them; tells what the history then says of it.
    async fn write<T: Send + 'static>(
        &self,
        what: &'static str,
        change: impl FnOnce(&Transaction<'_>) -> Result<T, TransactionError> + Send + 'static,
    ) -> Result<(T, Vec<Change>), AdminError> {
        let admin = self.clone();
        blocking(move || {
            let done = admin.store.transact(what, |tx| match told(tx, change) {
                Ok(done) if admin.dry => Ok(Finish::Undo(Ok(done))),
                Ok(done) => Ok(Finish::Commit(Ok(done))),
                Err(TransactionError::Admin(error)) => Ok(Finish::Undo(Err(error))),
                Err(TransactionError::Sqlite(error)) => Err(error),
            })?;
            let done = done.ok_or(AdminError::ReadOnly)??;
            if let Some(changed) = admin.changed.filter(|_| !admin.dry) {
                changed();
            }
            Ok(done)
        })
        .await
    }
}

/// Makes a change, and reads from the history what it did: the triggers know best.
fn told<T>(
    tx: &Transaction<'_>,
    change: impl FnOnce(&Transaction<'_>) -> Result<T, TransactionError>,
) -> Result<(T, Vec<Change>), TransactionError> {
    let before = history::newest(tx)?;
    let outcome = change(tx)?;
    Ok((outcome, history::since(tx, None, before)?))
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, AdminError> + Send + 'static,
) -> Result<T, AdminError> {
    let done = tokio::task::spawn_blocking(work).await;
    done.unwrap_or_else(|_gone| {
        Err(AdminError::Source(SourceError::new("the runtime was shut down")))
    })
}

impl fmt::Debug for Admin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Admin")
            .field("store", &self.store)
            .field("dry", &self.dry)
            .finish_non_exhaustive()
    }
}
