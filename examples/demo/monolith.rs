//! The program as it would be without a demo around it: one router, three services, rows in a file.

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
use crate::signpost::Way;
use crate::statements;
use crate::world::World;

/// The shop in this process, with its routes file and the second process beside it.
#[derive(Debug)]
pub(crate) struct Monolith {
    folder: TempDir,
    pub(crate) router: Router,
    pub(crate) second: Arc<SecondProcess>,
    pub(crate) world: Arc<World>,
    pub(crate) meter: Arc<Meter>,
}

impl Monolith {
    /// Opens the shop: everything is local at first.
    pub(crate) async fn open() -> Result<Self, Box<dyn Error>> {
        let folder = tempfile::tempdir()?;
        let world = Arc::new(World::new(std::process::id()));
        let second = Arc::new(SecondProcess::start(folder.path(), &world).await?);
        // The second process is on this machine, and such addresses are closed unless a program
        // opens them.
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

    /// Where the rows are.
    pub(crate) fn routes(&self) -> PathBuf {
        self.folder.path().join("routes.db")
    }

    /// A client whose orders end in time, with everything they call.
    pub(crate) fn orders(&self) -> OrdersClient {
        OrdersClient::new(&self.router).with_timeout(ORDER_LIMIT)
    }

    /// Asks the second process what it served.
    pub(crate) async fn counts_of_the_far_end(&self) -> Result<Counts, Box<dyn Error>> {
        let sql = statements::delete("journal") + &self.second.far.insert("journal", Way::Http);
        flips::open(&self.routes())?.execute_batch(&sql)?;
        self.router.reload().await?;
        Ok(JournalClient::new(&self.router).counts().await?)
    }

    /// Closes the shop, and the second process after it.
    pub(crate) async fn close(self) -> Result<(), Box<dyn Error>> {
        self.router.close(DRAIN).await;
        self.second.end().await?;
        Ok(())
    }
}
