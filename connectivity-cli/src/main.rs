//! `connectivity`: makes, reads and upgrades a routes file. Rows are changed by SQL, in any shell.
#![allow(clippy::print_stdout, reason = "this program talks to a person")]

use std::error::Error;
use std::fmt::Display;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::UNIX_EPOCH;

use clap::{Parser, Subcommand};
use connectivity_core::{Change, Field, Name, Route, RouteRow, RouteSource, SqliteRoutes};

/// Makes, reads and upgrades a routes file.
///
/// Rows are changed by SQL, in any shell: UPDATE routes SET strategy='local' WHERE service_name='billing';
#[derive(Parser)]
#[command(version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Makes a routes file, or brings an older one up to date.
    Init {
        /// Rebuilds a table made by the Go original, so that it holds all strategies. Stop the Go routers first: they serve a
        /// strategy that they do not know locally, without a word.
        #[arg(long)]
        upgrade: bool,
        /// The file.
        file: PathBuf,
    },
    /// Lists the routes, and what is wrong with them.
    Routes {
        /// The file.
        file: PathBuf,
    },
    /// Lists the newest changes, newest first.
    History {
        /// The file.
        file: PathBuf,
        /// Of this service or method only.
        #[arg(long)]
        name: Option<Name>,
        /// How many.
        #[arg(long, default_value_t = 20)]
        limit: usize,
    },
}

fn main() -> ExitCode {
    match run(Arguments::parse().command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("connectivity: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(command: Command) -> Result<(), Box<dyn Error>> {
    match command {
        Command::Init { upgrade: true, file } => upgrade(&file),
        Command::Init { upgrade: false, file } => {
            warn(SqliteRoutes::open_or_create(&file)?.warnings());
            println!("{} is ready", file.display());
            Ok(())
        }
        Command::Routes { file } => routes(&SqliteRoutes::open_read_only(file)?),
        Command::History { file, name, limit } => {
            let changes = SqliteRoutes::open_read_only(file)?.history(name.as_ref(), limit)?;
            changes.iter().for_each(print_change);
            Ok(())
        }
    }
}

fn upgrade(file: &PathBuf) -> Result<(), Box<dyn Error>> {
    let report = SqliteRoutes::upgrade(file)?;
    warn(report.left_out.iter().map(|row| format!("left out, because it has no name: {}", shown(row))));
    println!("{} {}", file.display(), if report.rebuilt { "was rebuilt" } else { "needed no rebuild" });
    Ok(())
}

/// Prints the rows; a bad one is no failure of this program.
fn routes(source: &SqliteRoutes) -> Result<(), Box<dyn Error>> {
    let snapshot = source.read()?;
    warn(source.warnings());
    println!("generation {}, {} routes", snapshot.generation, snapshot.rows.len());
    for row in &snapshot.rows {
        println!("{}", shown(row));
        match Route::parse(row) {
            Ok(route) => warn(route.config().warnings()),
            Err(cause) => println!("    bad: {cause}"),
        }
    }
    Ok(())
}

fn warn(warnings: impl IntoIterator<Item: Display>) {
    for warning in warnings {
        eprintln!("    warning: {warning}");
    }
}

fn print_change(change: &Change) {
    let seconds = change.at.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let side = |row: &Option<RouteRow>| row.as_ref().map_or_else(|| "-".to_owned(), shown);
    println!(
        "{:>6}  {seconds}  {:?}  {}  =>  {}",
        change.generation,
        change.kind,
        side(&change.before),
        side(&change.after)
    );
}

/// One line for a row. The config is left out: it may hold header values.
fn shown(row: &RouteRow) -> String {
    let text = |field: &Field| match field {
        Field::Text(text) => text.escape_debug().to_string(),
        Field::Other { what } => format!("({what})"),
        _ => "-".to_owned(),
    };
    format!("{}  {}  {}", row.shown_name(), text(row.strategy()), text(row.endpoint()))
}
