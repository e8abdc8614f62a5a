//! Runs the two programs of the replica as two processes.

use std::error::Error;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

/// A process that ends with the test.
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Starts an example that `cargo test` has built next to this test, and returns its lines.
fn start(
    name: &str,
    arguments: &[&str],
) -> Result<(Process, impl Iterator<Item = String> + use<>), Box<dyn Error>> {
    let path = Path::new(env!("CARGO_BIN_EXE_demo")).with_file_name("examples").join(name);
    let path = path.with_extension(std::env::consts::EXE_EXTENSION);
    let mut process = Command::new(path).args(arguments).stdout(Stdio::piped()).spawn()?;
    let lines = BufReader::new(process.stdout.take().ok_or("no stdout")?).lines();
    Ok((Process(process), lines.map_while(Result::ok)))
}

#[test]
fn a_committed_change_is_seen_by_a_query_of_the_edge() -> Result<(), Box<dyn Error>> {
    let folder = tempfile::tempdir()?;
    let directory = folder.path().to_str().ok_or("a path of another encoding")?;
    let (edge, mut lines) =
        start("replica-edge", &["--listen", "127.0.0.1:0", "--directory", directory])?;
    let command = lines.next().ok_or("the edge said nothing")?;
    let arguments: Vec<_> =
        command.split_whitespace().skip_while(|word| *word != "--edge").collect();
    let main =
        [&arguments[..], &["--products", "2000", "--changes", "3", "--every", "10"]].concat();
    let (_main, _lines) = start("replica-main", &main)?;
    let last = lines.find(|line| line.contains("for 997 cents")).ok_or("the edge ended")?;
    assert!(last.contains("2000 products"), "{last}");

    drop(edge);
    let (_edge, mut lines) =
        start("replica-edge", &["--listen", "127.0.0.1:0", "--directory", directory])?;
    let before = lines.nth(1).ok_or("the edge said too little")?;
    assert!(before.starts_with("from before, ") && before.contains("for 997 cents"), "{before}");
    Ok(())
}
