//! The first process's handle to the second, which is the same program with a hidden argument.

use std::error::Error;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use connectivity_core::Tls;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};
use tokio::sync::Mutex;

use crate::statements::Endpoints;
use crate::world::World;

/// Drain timeout for calls in flight.
pub(crate) const DRAIN: Duration = Duration::from_secs(5);

/// The hidden argument: a folder, and the addresses for http, quic and mcp.
pub(crate) const SERVE: &str = "--serve";

/// File names in the folder.
pub(crate) const CERTIFICATE: &str = "cert.pem";
pub(crate) const KEY: &str = "key.pem";
pub(crate) const JOURNAL: &str = "journal";
pub(crate) const SOCKET: &str = "second.sock";

/// The second process. After a kill, the process that replaces it.
#[derive(Debug)]
pub(crate) struct SecondProcess {
    folder: PathBuf,
    pub(crate) endpoints: Endpoints,
    child: Mutex<Child>,
}

impl SecondProcess {
    /// Generates an identity, starts the process, and returns once it can be called.
    pub(crate) async fn start(folder: &Path, world: &World) -> Result<Self, Box<dyn Error>> {
        let pin = make_identity(folder)?;
        let (child, [http, quic, mcp]) = start_at(folder, ["127.0.0.1:0"; 3], world).await?;
        let endpoints = Endpoints { http, quic, mcp, unix: folder.join(SOCKET), pin };
        Ok(Self { folder: folder.to_owned(), endpoints, child: Mutex::new(child) })
    }

    /// Kills the process with SIGKILL and returns when it is dead.
    pub(crate) async fn kill(&self) -> io::Result<()> {
        self.child.lock().await.kill().await
    }

    /// Starts a replacement with the same addresses, identity and journal.
    pub(crate) async fn start_again(&self, world: &World) -> io::Result<()> {
        let Endpoints { http, quic, mcp, .. } = &self.endpoints;
        let (child, _) = start_at(&self.folder, [http, quic, mcp], world).await?;
        *self.child.lock().await = child;
        Ok(())
    }

    /// Ends the process gracefully.
    pub(crate) async fn end(&self) -> io::Result<()> {
        let mut child = self.child.lock().await;
        let limit = 2 * DRAIN + Duration::from_secs(2);
        // `wait` closes its stdin first.
        match tokio::time::timeout(limit, child.wait()).await {
            Ok(status) => status.map(drop)?,
            Err(_elapsed) => child.kill().await?,
        }
        Ok(())
    }
}

/// Starts a second process. Returns its addresses for http, quic and mcp.
async fn start_at(
    folder: &Path,
    addresses: [&str; 3],
    world: &World,
) -> io::Result<(Child, [String; 3])> {
    let mut command = Command::new(std::env::current_exe()?);
    command.arg(SERVE).arg(folder).args(addresses);
    let mut child =
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true).spawn()?;
    world.started(child.id().ok_or_else(gone)?);
    let stdout = child.stdout.take().ok_or_else(gone)?;
    let line = BufReader::new(stdout).lines().next_line().await?.ok_or_else(gone)?;
    let addresses: Vec<_> = line.split(' ').map(str::to_owned).collect();
    Ok((child, addresses.try_into().map_err(|_| gone())?))
}

/// Generates a self-signed certificate, which only the pin in a row vouches for. It is stored in
/// files so that it survives the process. `Tls::self_signed` would generate a new one at each
/// start.
fn make_identity(folder: &Path) -> Result<String, Box<dyn Error>> {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()])?;
    let (certificate, key) = (folder.join(CERTIFICATE), folder.join(KEY));
    fs::write(&certificate, made.cert.pem())?;
    fs::write(&key, made.signing_key.serialize_pem())?;
    Ok(Tls::from_pem(certificate, key)?.pin_sha256())
}

fn gone() -> io::Error {
    io::Error::other("the second process ended before it told its addresses")
}
