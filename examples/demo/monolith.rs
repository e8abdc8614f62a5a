//! The program as it would be without the demo: one router, three services, rows in a file.

use std::error::Error;
use std::path::PathBuf;
use std::sync::Arc;

use connectivity_core::{HttpTransport, Router, register};
use tempfile::TempDir;

use crate::flips;
use crate::journal::{Counts, JournalClient};
use crate::meter::Meter;
use crate::second_process::{DRAIN, SecondProcess};
use crate::shop::{
    Billing, BillingClient, CashDesk, Catalog, CatalogClient, ORDER_LIMIT, OrderDesk, Orders,
    OrdersClient, PriceList,
};
use crate::statements;
use crate::strategy::Strategy;
use crate::world::World;

/// The shop in this process, with its routes file, and the second process.
#[derive(Debug)]
pub(crate) struct Monolith {
    folder: TempDir,
    pub(crate) router: Router,
    pub(crate) second: Arc<SecondProcess>,
    pub(crate) world: Arc<World>,
    pub(crate) meter: Arc<Meter>,
}

impl Monolith {
    /// Opens the shop. All services are local at first.
    pub(crate) async fn open() -> Result<Self, Box<dyn Error>> {
        let folder = tempfile::tempdir()?;
        let world = Arc::new(World::new(std::process::id()));
        let second = Arc::new(SecondProcess::start(folder.path(), &world).await?);
        // The second process is on this machine, and local addresses are blocked unless a program
        // allows them.
        let http = HttpTransport::new().allow_internal();
        let router = Router::builder()
            .transport("http", http)
            .open_or_create(folder.path().join("routes.db"))
            .await?;
        let meter = Arc::new(Meter::new(&world));
        let (catalog, billing) = (CatalogClient::new(&router), BillingClient::new(&router));
        let desk = OrderDesk { catalog, billing, meter: Arc::clone(&meter) };
        register!(router, Catalog => PriceList::new(None), Billing => CashDesk::new(None), Orders => desk)?;
        Ok(Self { folder, router, second, world, meter })
    }

    /// Returns the path of the routes file.
    pub(crate) fn routes(&self) -> PathBuf {
        self.folder.path().join("routes.db")
    }

    /// Returns a client with a deadline for an order and everything it calls.
    pub(crate) fn orders(&self) -> OrdersClient {
        OrdersClient::new(&self.router).with_timeout(ORDER_LIMIT)
    }

    /// Returns what the second process has served.
    pub(crate) async fn second_process_counts(&self) -> Result<Counts, Box<dyn Error>> {
        let sql = statements::delete("journal")
            + &self.second.endpoints.insert("journal", Strategy::Http);
        flips::open(&self.routes())?.execute_batch(&sql)?;
        self.router.reload().await?;
        Ok(JournalClient::new(&self.router).counts().await?)
    }

    /// Closes the shop, then the second process.
    pub(crate) async fn close(self) -> Result<(), Box<dyn Error>> {
        self.router.close(DRAIN).await;
        self.second.end().await?;
        Ok(())
    }
}
