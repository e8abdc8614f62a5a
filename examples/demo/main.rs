//! What does moving a service look like? A small shop, two processes, and rows that are changed by
//! SQL while it sells.
//!
//! ```text
//! cargo run --release                            for 20 s, with a table in a terminal
//! cargo run --release -- --keep                  until Ctrl-C: change the rows yourself, with the sqlite3 shell
//! cargo run --release -- --seconds 20 --json     the last line is one JSON object
//! ```

mod customers;
mod flips;
mod journal;
mod keep;
mod meter;
mod monolith;
mod outage;
mod report;
mod run;
mod screen;
mod second_process;
mod serve;
mod shop;
mod signals;
mod statements;
mod strategy;
mod world;

use std::error::Error;
use std::process::ExitCode;

use clap::Parser;

/// A small shop whose services are moved between two processes by SQL while it sells.
///
/// `orders` calls `catalog` and `billing` in every order. Rows in a SQLite file say where these
/// run: in this process (local), in a second one (http, quic, unix, mcp), or nowhere (noop). The
/// rows are changed several times a second, and every call is checked: it must be answered, by the
/// process and over the wire that its row names. In the middle of the run the second process is
/// killed and started again; calls that this interrupts end in an error of the right kind, and are
/// counted apart.
#[derive(Clone, Debug, Parser)]
#[command(version)]
struct Arguments {
    /// How long to sell.
    #[arg(long, value_name = "N", default_value_t = 20)]
    seconds: u64,
    /// Prints one JSON object as the last line on stdout; everything else goes to stderr.
    #[arg(long)]
    json: bool,
    /// Leaves the rows to you: sells until Ctrl-C, and prints statements for the sqlite3 shell and
    /// curl lines to try.
    #[arg(long, conflicts_with_all = ["seconds", "json"])]
    keep: bool,
    /// Is what the second process is started with: a folder, and its addresses for http, quic and
    /// mcp.
    #[arg(long, hide = true, num_args = 4)]
    serve: Vec<String>,
}

#[tokio::main]
async fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let outcome = match &arguments.serve[..] {
        [folder, addresses @ ..] => {
            serve::serve(folder.as_ref(), addresses).await.map(|()| ExitCode::SUCCESS)
        }
        _ => run::run(&arguments).await,
    };
    outcome.unwrap_or_else(|error| failed(&*error))
}

/// Prints an error and its chain of causes.
fn failed(error: &dyn Error) -> ExitCode {
    eprintln!("demo: {error}");
    let mut cause = error.source();
    while let Some(error) = cause {
        eprintln!("  because: {error}");
        cause = error.source();
    }
    ExitCode::FAILURE
}
