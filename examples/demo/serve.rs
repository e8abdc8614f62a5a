//! What the second process does: it serves `billing` and `catalog` over HTTP, QUIC, a Unix socket,
//! and as tools of MCP, at once.
//!
//! It tells its addresses on its first line, and ends when its stdin closes; the system closes it
//! whichever way the first ends.

use std::error::Error;
use std::io::{self, Write};
use std::path::Path;
use std::sync::Arc;

use connectivity_core::{Call, MemoryRoutes, Router, Server, ServerBuilder, Tls, register};
use tokio::io::AsyncReadExt;
use tower::util::MapRequestLayer;

use crate::journal::{CallBook, Journal};
use crate::second_process::{CERTIFICATE, DRAIN, JOURNAL, KEY, SOCKET};
use crate::shop::{Billing, CAME_BY, CashDesk, Catalog, PriceList};
use crate::signals;
use crate::signpost::Way;

/// Serves until told to end. The folder holds the identity and the journal, which outlive a
/// process.
pub(crate) async fn serve(folder: &Path, addresses: &[String]) -> Result<(), Box<dyn Error>> {
    // Ctrl-C, and its end, reach all processes of a terminal; the first one needs this one until
    // its last order is through.
    tokio::spawn(signals::ignore_the_terminal());
    let journal = Arc::new(CallBook::open(&folder.join(JOURNAL))?);
    // Rows of its own, none of them: a process that takes calls for others serves them itself,
    // whatever their rows say.
    let router = Router::builder().source(MemoryRoutes::new()).build()?;
    register!(router,
        Billing => CashDesk::new(Some(Arc::clone(&journal))),
        Catalog => PriceList::new(Some(Arc::clone(&journal))),
        Journal => journal,
    )?;
    let [http, quic, mcp] = addresses else {
        return Err("three addresses, for http, quic and mcp".into());
    };
    // One server could have all listeners; there are four so that an answer can say by which one
    // its call came.
    let tls = Tls::from_pem(folder.join(CERTIFICATE), folder.join(KEY))?;
    let http = server(&router, Way::Http).http(http).start().await?;
    let quic = server(&router, Way::Quic).quic(quic, tls.clone()).start().await?;
    let unix =
        server(&router, Way::Unix).unix(folder.join(SOCKET).display().to_string()).start().await?;
    let mcp = server(&router, Way::Mcp).mcp(mcp, tls).start().await?;
    let address =
        |server: &Server, way: Way| server.address(way.word()).unwrap_or_default().to_owned();
    let addresses = [address(&http, Way::Http), address(&quic, Way::Quic), address(&mcp, Way::Mcp)];
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
    // The thread that reads stdin would hold up the runtime until a line comes.
    std::process::exit(0)
}

/// A server that notes on every call by which wire it came.
fn server(router: &Router, way: Way) -> ServerBuilder {
    let noted = MapRequestLayer::new(move |call: Call| {
        match call.context().clone().with_meta(CAME_BY, way.word()) {
            Ok(context) => call.with_context(context),
            // No room for one more; the call goes on, and is then counted as misrouted.
            Err(_) => call,
        }
    });
    Server::builder(router).expose(["billing", "catalog", "journal"]).layer(noted)
}

async fn stdin_closed() {
    let (mut stdin, mut byte) = (tokio::io::stdin(), [0]);
    while stdin.read(&mut byte).await.is_ok_and(|read| read > 0) {}
}
