//! The two programs of the split, as two processes.

use std::error::Error;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// Finds an example that `cargo test` has built beside this test.
fn example(name: &str) -> Result<Command, Box<dyn Error>> {
    let path = Path::new(env!("CARGO_BIN_EXE_demo")).with_file_name("examples").join(name);
    let path: PathBuf = path.with_extension(std::env::consts::EXE_EXTENSION);
    if !path.exists() {
        return Err(format!("{} is not built: run `cargo test -p examples`", path.display()).into());
    }
    Ok(Command::new(path))
}

/// A server process that ends with the test.
struct Server {
    process: Child,
    address: String,
}

impl Server {
    fn start() -> Result<Self, Box<dyn Error>> {
        let process = example("split-server")?.args(["--listen", "127.0.0.1:0"]).stdout(Stdio::piped()).spawn()?;
        let mut server = Self { process, address: String::new() };
        // Borrowed, not taken: the pipe stays open for what the server prints later.
        let stdout = server.process.stdout.as_mut().ok_or("no stdout")?;
        let line = BufReader::new(stdout).lines().next().ok_or("the server said nothing")??;
        server.address = line.rsplit(' ').next().unwrap_or_default().to_owned();
        Ok(server)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Runs the client: whether it succeeded, and what it said.
fn client(routes: &Path, server: &str) -> Result<(bool, String), Box<dyn Error>> {
    let output = example("split-client")?.arg("--routes").arg(routes).args(["--server", server]).output()?;
    Ok((output.status.success(), String::from_utf8(output.stdout)?))
}

#[test]
fn a_program_without_an_implementation_calls_another_one() -> Result<(), Box<dyn Error>> {
    let folder = tempfile::tempdir()?;
    let routes = folder.path().join("routes.db");
    let server = Server::start()?;
    let (success, text) = client(&routes, &server.address)?;
    assert!(success && text.contains(&format!("process {} took the money", server.process.id())), "{text}");

    // The row that is there stays, whatever the next client is told.
    let (success, text) = client(&routes, "127.0.0.1:1")?;
    assert!(success, "{text}");

    let address = server.address.clone();
    drop(server);
    let (success, text) = client(&routes, &address)?;
    assert!(!success && text.contains(&format!("http://{address}/billing: is split-server running there?")), "{text}");
    Ok(())
}
