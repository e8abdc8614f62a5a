//! The second process: it serves `billing` and `catalog` over HTTP, QUIC and a Unix socket and as
//! MCP tools, all at once.
//!
//! It prints its addresses on its first line and ends when its stdin closes. The system closes
//! stdin however the first process ends.

use std::error::Error;
use std::io::{self, Write};
use std::path::Path;
use std::sync::Arc;

use connectivity_core::{Call, MemoryRoutes, Router, Server, ServerBuilder, Tls, register};
use tokio::io::AsyncReadExt;
use tower::util::MapRequestLayer;

use crate::journal::{Journal, JournalFile};
use crate::second_process::{CERTIFICATE, DRAIN, JOURNAL, KEY, SOCKET};
use crate::shop::{Billing, CashDesk, Catalog, PriceList, STRATEGY_META};
use crate::signals;
use crate::strategy::Strategy;

/// Serves until asked to end. The folder holds the identity and the journal, which survive the
/// process.
pub(crate) async fn serve(folder: &Path, addresses: &[String]) -> Result<(), Box<dyn Error>> {
    // Ctrl-C and the hangup of a terminal reach all its processes. The first process needs this one
    // until its last order has ended.
    tokio::spawn(signals::ignore_the_terminal());
    let journal = Arc::new(JournalFile::open(&folder.join(JOURNAL))?);
    // An empty table of its own: a process that serves calls for others runs them locally, whatever
    // the rows of the others say.
    let router = Router::builder().source(MemoryRoutes::new()).build()?;
    register!(router,
        Billing => CashDesk::new(Some(Arc::clone(&journal))),
        Catalog => PriceList::new(Some(Arc::clone(&journal))),
        Journal => journal,
    )?;
    let [http, quic, mcp] = addresses else {
        return Err("three addresses, for http, quic and mcp".into());
    };
    // One server could have all listeners. There are four, so that a reply can say which one
    // received the call.
    let tls = Tls::from_pem(folder.join(CERTIFICATE), folder.join(KEY))?;
    let http = server(&router, Strategy::Http).http(http).start().await?;
    let quic = server(&router, Strategy::Quic).quic(quic, tls.clone()).start().await?;
    let unix = server(&router, Strategy::Unix)
        .unix(folder.join(SOCKET).display().to_string())
        .start()
        .await?;
    let mcp = server(&router, Strategy::Mcp).mcp(mcp, tls).start().await?;
    let address = |server: &Server, strategy: Strategy| {
        server.address(strategy.as_str()).unwrap_or_default().to_owned()
    };
    let addresses = [
        address(&http, Strategy::Http),
        address(&quic, Strategy::Quic),
        address(&mcp, Strategy::Mcp),
    ];
    writeln!(io::stdout(), "{}", addresses.join(" "))?;
    tokio::select! {
        () = stdin_closed() => {}
        () = signals::terminate() => {}
    }
    tokio::join!(
        http.shutdown(DRAIN),
        quic.shutdown(DRAIN),
        unix.shutdown(DRAIN),
        mcp.shutdown(DRAIN)
    );
    router.close(DRAIN).await;
    // The thread that reads stdin would block the shutdown of the runtime until a line arrives.
    std::process::exit(0)
}

/// Creates a server that records in the metadata of every call by which strategy it arrived.
fn server(router: &Router, strategy: Strategy) -> ServerBuilder {
    let noted = MapRequestLayer::new(move |call: Call| {
        match call.context().clone().with_meta(STRATEGY_META, strategy.as_str()) {
            Ok(context) => call.with_context(context),
            // The metadata is full. The call continues and is then counted as misrouted.
            Err(_) => call,
        }
    });
    Server::builder(router).expose(["billing", "catalog", "journal"]).layer(noted)
}

async fn stdin_closed() {
    let (mut stdin, mut byte) = (tokio::io::stdin(), [0]);
    while stdin.read(&mut byte).await.is_ok_and(|read| read > 0) {}
}
