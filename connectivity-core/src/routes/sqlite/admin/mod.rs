//! Changes rows from code, like SQL in a shell, but validates every change before it is written,
//! with all checks of a router.

mod deletion;
mod edit;
mod error;
mod rollback;
pub(super) mod stored;

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
/// A change is validated like the rows that a router reads, so that every accepted change takes
/// effect everywhere. A wrong value, an unknown config key, or a strategy that the file does not
/// list is rejected, and nothing is written. Each change is one transaction and is recorded in the
/// history.
///
/// The functions are async because a writer waits up to 5 s while another process writes the file.
/// They wait on the blocking threads of the runtime.
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
/// A change may still be made after its future is dropped.
#[derive(Clone)]
pub struct Admin {
    store: Arc<Store>,
    is_dry_run: bool,
    on_change: Option<Arc<dyn Fn() + Send + Sync>>,
    check: RouteCheck,
}

/// Validation of a row by the transport of its strategy, before the row is written.
pub(crate) type RouteCheck = Arc<dyn Fn(&Route) -> Result<(), RouteError> + Send + Sync>;

impl Admin {
    /// Opens a routes file without validation by transports.
    pub(crate) async fn open_file(path: impl AsRef<Path>) -> Result<Self, AdminError> {
        let path = path.as_ref().to_owned();
        blocking(move || Ok(Self::of(share(Store::open(&path, Access::Existing)?)))).await
    }

    pub(super) fn of(store: Arc<Store>) -> Self {
        Self { store, is_dry_run: false, on_change: None, check: Arc::new(|_| Ok(())) }
    }

    /// Sets the validation that runs before a row is written.
    pub(crate) fn checked_by(self, check: RouteCheck) -> Self {
        Self { check, ..self }
    }

    /// Sets a callback that runs after each change.
    pub(crate) fn and_then(self, on_change: impl Fn() + Send + Sync + 'static) -> Self {
        Self { on_change: Some(Arc::new(on_change)), ..self }
    }

    /// Returns an admin that validates and reports changes, including errors, but does not make
    /// them.
    #[must_use]
    pub fn dry_run(&self) -> Self {
        Self { is_dry_run: true, ..self.clone() }
    }

    /// Reads all rows, valid or not, sorted by name.
    ///
    /// # Errors
    /// Returns an error if the file cannot be read.
    ///
    /// # Cancel safety
    /// Dropping the future only discards the result; the read changes no row.
    pub async fn list(&self) -> Result<Vec<StoredRoute>, AdminError> {
        let store = Arc::clone(&self.store);
        blocking(move || {
            Ok(store.with_reader("reading routes", |connection| stored::read_all(connection))?)
        })
        .await
    }

    /// Reads the row with this name, if there is one.
    ///
    /// # Errors
    /// Returns an error if the file cannot be read.
    ///
    /// # Cancel safety
    /// Dropping the future only discards the result; the read changes no row.
    pub async fn get(&self, name: &str) -> Result<Option<StoredRoute>, AdminError> {
        let (store, name) = (Arc::clone(&self.store), name.to_owned());
        blocking(move || {
            Ok(store.with_reader("reading routes", |connection| stored::read(connection, &name))?)
        })
        .await
    }

    /// Adds a row, or updates the row with this name. Fields that the spec does not set stay
    /// unchanged. Returns the change, or `None` if nothing changed.
    ///
    /// # Errors
    /// Returns [`Invalid`](AdminError::Invalid) or [`UnknownStrategy`](AdminError::UnknownStrategy)
    /// if the row would be invalid.
    ///
    /// # Cancel safety
    /// After the future is dropped, the change may still be made, but never in part;
    /// [`history`](Self::history) shows whether it was.
    pub async fn upsert(&self, spec: RouteSpec) -> Result<Option<Change>, AdminError> {
        let check = Arc::clone(&self.check);
        self.change("changing a route", move |tx| edit::upsert(tx, &spec, &check)).await
    }

    /// Changes the strategy of a row and keeps its endpoint and config. Returns the change, or
    /// `None` if nothing changed.
    ///
    /// # Errors
    /// Returns [`NotFound`](AdminError::NotFound) if no row has this name; otherwise see
    /// [`upsert`](Self::upsert).
    ///
    /// # Cancel safety
    /// After the future is dropped, the change may still be made, but never in part;
    /// [`history`](Self::history) shows whether it was.
    pub async fn set_strategy(
        &self,
        name: &str,
        strategy: &str,
    ) -> Result<Option<Change>, AdminError> {
        let spec = RouteSpec::new(name, strategy);
        let check = Arc::clone(&self.check);
        self.change("changing a route", move |tx| edit::set_strategy(tx, &spec, &check)).await
    }

    /// Deletes a row, even if it is invalid or too long to be read. Calls of this name then use the
    /// row of the service, or the implementation registered in the process.
    ///
    /// # Errors
    /// Returns [`NotFound`](AdminError::NotFound) if no row has this name.
    ///
    /// # Cancel safety
    /// After the future is dropped, the change may still be made, but never in part;
    /// [`history`](Self::history) shows whether it was.
    pub async fn delete(&self, name: &str) -> Result<Option<Change>, AdminError> {
        let name = name.to_owned();
        self.change("deleting a route", move |tx| edit::delete(tx, &name)).await
    }

    /// Reads the latest changes of one name or of all names, newest first.
    ///
    /// # Errors
    /// Returns an error if the file cannot be read.
    ///
    /// # Cancel safety
    /// Dropping the future only discards the result; the read changes no row.
    pub async fn history(
        &self,
        name: Option<&str>,
        limit: usize,
    ) -> Result<Vec<Change>, AdminError> {
        let (store, name) = (Arc::clone(&self.store), name.map(str::to_owned));
        blocking(move || Ok(history::read(&store, name.as_deref(), limit)?)).await
    }

    /// Restores every row, or the named one, to its state at a generation. The restore is one
    /// transaction and is recorded as new changes, so it can be rolled back as well. Rows whose
    /// name is not text are left alone. Rows that were invalid at that generation are restored as
    /// well, if the file accepts them, and are listed in the report.
    ///
    /// # Errors
    /// Returns [`NoSuchGeneration`](AdminError::NoSuchGeneration) if the history does not reach
    /// back that far, and [`Invalid`](AdminError::Invalid) if the named row would be invalid today.
    /// In both cases no row changes.
    ///
    /// # Cancel safety
    /// After the future is dropped, the rollback may still be made, but never in part;
    /// [`history`](Self::history) shows whether it was.
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
        action: &'static str,
        change: impl FnOnce(&Transaction<'_>) -> Result<(), TransactionError> + Send + 'static,
    ) -> Result<Option<Change>, AdminError> {
        let ((), mut changes) = self.write(action, change).await?;
        Ok(changes.pop())
    }

    /// Runs changes in one transaction, which a dry run rolls back, and returns them as recorded in
    /// the history.
    async fn write<T: Send + 'static>(
        &self,
        action: &'static str,
        change: impl FnOnce(&Transaction<'_>) -> Result<T, TransactionError> + Send + 'static,
    ) -> Result<(T, Vec<Change>), AdminError> {
        let admin = self.clone();
        blocking(move || {
            let result = admin.store.transact(action, |tx| match with_changes(tx, change) {
                Ok(result) if admin.is_dry_run => Ok(Finish::Rollback(Ok(result))),
                Ok(result) => Ok(Finish::Commit(Ok(result))),
                Err(TransactionError::Admin(error)) => Ok(Finish::Rollback(Err(error))),
                Err(TransactionError::Sqlite(error)) => Err(error),
            })?;
            let result = result.ok_or(AdminError::ReadOnly)??;
            if let Some(on_change) = admin.on_change.filter(|_| !admin.is_dry_run) {
                on_change();
            }
            Ok(result)
        })
        .await
    }
}

/// Runs a change and reads its effect from the history, because the triggers record what really
/// changed.
fn with_changes<T>(
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
    let result = tokio::task::spawn_blocking(work).await;
    result.unwrap_or_else(|_join_error| {
        Err(AdminError::Source(SourceError::new("the runtime was shut down")))
    })
}

impl fmt::Debug for Admin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Admin")
            .field("store", &self.store)
            .field("dry", &self.is_dry_run)
            .finish_non_exhaustive()
    }
}
