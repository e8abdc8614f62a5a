//! Runs the two programs of the split as two processes.

use std::error::Error;
use std::io::{BufRead, BufReader, Lines};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};

/// Finds an example that `cargo test` has built next to this test.
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
    lines: Lines<BufReader<ChildStdout>>,
    address: String,
    /// The printed statements, by strategy.
    statements: Vec<(String, String)>,
}

impl Server {
    fn start(folder: &Path) -> Result<Self, Box<dyn Error>> {
        let mut process = example("split-server")?
            .args(["--listen", "127.0.0.1:0", "--quic", "127.0.0.1:0", "--unix"])
            .arg(folder.join("billing.sock"))
            .stdout(Stdio::piped())
            .spawn()?;
        let lines = BufReader::new(process.stdout.take().ok_or("no stdout")?).lines();
        let mut server = Self { process, lines, address: String::new(), statements: Vec::new() };
        while server.statements.len() < 3 {
            let line = server.lines.next().ok_or("the server said too little")??;
            if let Some(address) = line.strip_prefix("  http ") {
                server.address = address.to_owned();
            } else if let Some(sql) = line.split('"').nth(1) {
                let strategy = sql.split('\'').nth(1).ok_or("no strategy")?;
                server.statements.push((strategy.to_owned(), sql.to_owned()));
            }
        }
        Ok(server)
    }

    /// Moves the client with the statement for a strategy, as a user would by pasting it.
    fn move_client(&self, routes: &Path, strategy: &str) -> Result<(), Box<dyn Error>> {
        let (_, sql) =
            self.statements.iter().find(|(word, _)| word == strategy).ok_or("no statement")?;
        let changed = rusqlite::Connection::open(routes)?.execute(sql, [])?;
        (changed == 1).then_some(()).ok_or_else(|| format!("{changed} rows: {sql}").into())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Runs the client. Returns whether it succeeded, and its output.
fn client(routes: &Path, server: &str) -> Result<(bool, String), Box<dyn Error>> {
    let output =
        example("split-client")?.arg("--routes").arg(routes).args(["--server", server]).output()?;
    Ok((output.status.success(), String::from_utf8(output.stdout)?))
}

#[test]
fn a_program_without_an_implementation_calls_another_one() -> Result<(), Box<dyn Error>> {
    let folder = tempfile::tempdir()?;
    let routes = folder.path().join("routes.db");
    let server = Server::start(folder.path())?;
    let (success, text) = client(&routes, &server.address)?;
    assert!(
        success && text.contains(&format!("process {} took the money", server.process.id())),
        "{text}"
    );

    // An existing row is kept, whatever the arguments of the next client are.
    let (success, text) = client(&routes, "127.0.0.1:1")?;
    assert!(success, "{text}");

    let address = server.address.clone();
    drop(server);
    let (success, text) = client(&routes, &address)?;
    assert!(
        !success
            && text.contains(&format!("http://{address}/billing: is split-server running there?")),
        "{text}"
    );
    Ok(())
}

#[test]
fn a_client_is_moved_to_quic_and_back_while_it_runs() -> Result<(), Box<dyn Error>> {
    let folder = tempfile::tempdir()?;
    let routes = folder.path().join("routes.db");
    let mut server = Server::start(folder.path())?;
    let mut client = example("split-client")?
        .arg("--routes")
        .arg(&routes)
        .args(["--server", &server.address, "--orders", "1000", "--every", "20"])
        .stdout(Stdio::piped())
        .spawn()?;
    let mut lines = BufReader::new(client.stdout.take().ok_or("no stdout")?).lines();
    assert!(lines.next().ok_or("no line")??.contains(&format!("process {} buys", client.id())));
    let served = format!("process {} took the money", server.process.id());
    for (number, strategy) in ["http", "quic", "unix", "quic", "http"].into_iter().enumerate() {
        if number > 0 {
            server.move_client(&routes, strategy)?;
        }
        loop {
            let line = lines.next().ok_or("the client ended")??;
            assert!(line.contains(&served), "{line}");
            if line.ends_with(&format!("by {strategy}")) {
                break;
            }
        }
    }
    client.kill()?;
    client.wait()?;

    // SIGTERM drains the server, which reports it and leaves no socket behind.
    let signaled =
        Command::new("kill").args(["-TERM", &server.process.id().to_string()]).status()?;
    assert!(signaled.success() && server.process.wait()?.success());
    let last_line = server.lines.by_ref().map_while(Result::ok).last();
    assert_eq!(last_line.as_deref(), Some("calls in flight have ended"));
    assert!(!folder.path().join("billing.sock").exists());
    Ok(())
}
