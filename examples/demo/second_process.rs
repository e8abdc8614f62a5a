//! The second process, seen from both sides: the same program with a hidden argument, serving `billing` and `catalog` over HTTP.
//!
//! It tells its address on its first line, and ends when its stdin closes; the system closes it whichever way the first ends.

use std::error::Error;
use std::io::{self, Write};
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use connectivity_core::{MemoryRoutes, Router, Server, register};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader};
use tokio::process::{Child, ChildStdin, Command};

use crate::shop::{Billing, CallCounter, CashDesk, Catalog, Journal, PriceList, ServedBy};
use crate::signals;

/// How long calls in flight may take to end.
pub(crate) const DRAIN: Duration = Duration::from_secs(5);

/// The hidden argument.
pub(crate) const SERVE: &str = "--serve";

/// What the second process does.
pub(crate) async fn serve() -> Result<(), Box<dyn Error>> {
    // Ctrl-C, and its end, reach all processes of a terminal; the first one needs this one until its last order is through.
    tokio::spawn(signals::ignore_the_terminal());
    let journal = Arc::new(CallCounter::default());
    // Rows of its own, none of them: a process that takes calls for others serves them itself, whatever their rows say.
    let router = Router::builder().source(MemoryRoutes::new()).build()?;
    register!(router,
        Billing => CashDesk::new(Some(Arc::clone(&journal))),
        Catalog => PriceList::new(Some(Arc::clone(&journal))),
        Journal => journal,
    )?;
    let server = Server::builder(&router).expose(["billing", "catalog", "journal"]).http("127.0.0.1:0").start().await?;
    writeln!(io::stdout(), "{}", server.address("http").unwrap_or_default())?;
    tokio::select! {
        () = stdin_closed() => {}
        () = signals::terminate() => {}
    }
    server.shutdown(DRAIN).await;
    router.close(DRAIN).await;
    // The thread that reads stdin would hold up the runtime until a line comes.
    std::process::exit(0)
}

async fn stdin_closed() {
    let (mut stdin, mut byte) = (tokio::io::stdin(), [0]);
    while stdin.read(&mut byte).await.is_ok_and(|read| read > 0) {}
}

/// The first process's hold on the second.
#[derive(Debug)]
pub(crate) struct SecondProcess {
    child: Child,
    stdin: ChildStdin,
    /// Where it listens: `127.0.0.1:41234`.
    pub(crate) address: String,
    pub(crate) served_by: ServedBy,
}

impl SecondProcess {
    /// Starts it, and returns when it can be called.
    pub(crate) async fn start() -> io::Result<Self> {
        let mut command = Command::new(std::env::current_exe()?);
        command.arg(SERVE).stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true);
        let mut child = command.spawn()?;
        let (Some(stdin), Some(stdout), Some(id)) = (child.stdin.take(), child.stdout.take(), child.id()) else {
            return Err(gone());
        };
        let address = BufReader::new(stdout).lines().next_line().await?.ok_or_else(gone)?;
        Ok(Self { child, stdin, address, served_by: ServedBy(id) })
    }

    /// Lets it end.
    pub(crate) async fn end(self) -> io::Result<()> {
        let Self { mut child, stdin, .. } = self;
        drop(stdin);
        let limit = 2 * DRAIN + Duration::from_secs(2);
        match tokio::time::timeout(limit, child.wait()).await {
            Ok(status) => status.map(drop)?,
            Err(_elapsed) => child.kill().await?,
        }
        Ok(())
    }
}

fn gone() -> io::Error {
    io::Error::other("the second process ended before it told its address")
}
