//! The first process's hold on the second, which is the same program with a hidden argument.

use std::error::Error;
use std::fs;
use std::io;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use connectivity_core::Tls;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, ChildStdin, Command};

use crate::statements::Far;
use crate::world::World;

/// How long calls in flight may take to end.
pub(crate) const DRAIN: Duration = Duration::from_secs(5);

/// The hidden argument: a folder, and the addresses for http and quic.
pub(crate) const SERVE: &str = "--serve";

/// What stands in the folder.
pub(crate) const CERTIFICATE: &str = "cert.pem";
pub(crate) const KEY: &str = "key.pem";
pub(crate) const JOURNAL: &str = "journal";
pub(crate) const SOCKET: &str = "second.sock";

/// The second process.
#[derive(Debug)]
pub(crate) struct SecondProcess {
    pub(crate) far: Far,
    child: Child,
    stdin: ChildStdin,
}

impl SecondProcess {
    /// Makes it an identity, starts it, and returns when it can be called.
    pub(crate) async fn start(folder: &Path, world: &World) -> Result<Self, Box<dyn Error>> {
        let pin = make_identity(folder)?;
        let anywhere = "127.0.0.1:0".to_owned();
        let far = Far { http: anywhere.clone(), quic: anywhere, unix: folder.join(SOCKET), pin };
        Ok(Self::start_at(folder, far, world).await?)
    }

    async fn start_at(folder: &Path, mut far: Far, world: &World) -> io::Result<Self> {
        let mut command = Command::new(std::env::current_exe()?);
        command.arg(SERVE).arg(folder).args([&far.http, &far.quic]);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true).spawn()?;
        let (Some(stdin), Some(stdout), Some(id)) = (child.stdin.take(), child.stdout.take(), child.id()) else {
            return Err(gone());
        };
        world.arrived(id);
        let line = BufReader::new(stdout).lines().next_line().await?.ok_or_else(gone)?;
        let (http, quic) = line.split_once(' ').ok_or_else(gone)?;
        (far.http, far.quic) = (http.to_owned(), quic.to_owned());
        Ok(Self { far, child, stdin })
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

/// Makes a certificate that nobody vouches for but the pin in a row. It is in files so that it outlives the process which shows
/// it; `Tls::self_signed` would make another one at each start.
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
