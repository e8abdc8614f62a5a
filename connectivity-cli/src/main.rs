//! `connectivity`: makes, reads, changes and upgrades a routes file.
#![allow(clippy::print_stdout, reason = "this program talks to a person")]

use std::error::Error;
use std::fmt::Display;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::UNIX_EPOCH;

use clap::{Args, Parser, Subcommand};
use connectivity_core::{
    Admin, AdminError, Change, Field, Mcp, Name, Route, RouteRow, RouteSource, RouteSpec, Router, SqliteRoutes,
};

/// Makes, reads, changes and upgrades a routes file.
///
/// Rows can be changed by SQL too, in any shell: UPDATE routes SET strategy='local' WHERE service_name='billing'; This program also
/// refuses what SQL lets through and a router would call bad.
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
    /// Adds a route, or changes what is stated of one; the next call goes there.
    Set {
        #[command(flatten)]
        at: At,
        /// The service, or one of its methods: billing, billing.quote
        name: String,
        /// How it is served: local, noop, or the word of a transport.
        #[arg(long)]
        strategy: String,
        /// Where the transport goes; '' takes it away.
        #[arg(long)]
        endpoint: Option<String>,
        /// The whole config: '{"timeout_ms":500}'
        #[arg(long)]
        config: Option<String>,
    },
    /// Deletes a route. Its calls go by the service's row then, or to what is registered in the process.
    Delete {
        #[command(flatten)]
        at: At,
        /// The name in the row.
        name: String,
    },
    /// Puts all routes back to what they were at a generation, which `history` shows; that can be rolled back in turn.
    Rollback {
        #[command(flatten)]
        at: At,
        /// The generation: what was changed after it is undone.
        generation: u64,
        /// This route only.
        #[arg(long)]
        name: Option<String>,
    },
    /// Lets an agent read and change the routes: the tools of the admin, as MCP over standard input and output.
    ///
    /// For the configuration of an agent's host: {"command":"connectivity","args":["mcp","routes.db"]}. A change is only tried, unless
    /// the call says "dry_run": false.
    Mcp {
        /// The file.
        file: PathBuf,
    },
}

/// Where to write.
#[derive(Args)]
struct At {
    /// The file.
    file: PathBuf,
    /// Says what would be done, or why not, and does nothing.
    #[arg(long)]
    dry_run: bool,
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
        Command::Set { at, name, strategy, endpoint, config } => {
            let spec = RouteSpec::new(name, strategy);
            let spec = endpoint.into_iter().fold(spec, RouteSpec::endpoint);
            let spec = config.into_iter().fold(spec, RouteSpec::config);
            change(&at, async |admin| Ok(admin.upsert(spec).await?.into_iter().collect()))
        }
        Command::Delete { at, name } => change(&at, async |admin| Ok(admin.delete(&name).await?.into_iter().collect())),
        Command::Rollback { at, generation, name } => {
            change(&at, async |admin| Ok(admin.rollback(generation, name.as_deref()).await?.changes))
        }
        Command::Mcp { file } => tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
            let router = Router::open(&file).await?;
            Ok(Mcp::admin(&router)?.serve_stdio().await?)
        }),
    }
}

/// Makes changes, or tries them, and prints what they come to.
fn change(at: &At, change: impl AsyncFnOnce(Admin) -> Result<Vec<Change>, AdminError>) -> Result<(), Box<dyn Error>> {
    let changes = tokio::runtime::Builder::new_current_thread().build()?.block_on(async {
        let admin = Admin::open(&at.file).await?;
        change(if at.dry_run { admin.dry_run() } else { admin }).await
    })?;
    match (changes.is_empty(), at.dry_run) {
        (true, _) => println!("nothing to change: it is so already"),
        (false, true) => println!("not done, only tried:"),
        (false, false) => println!("done:"),
    }
    for one in &changes {
        print_change(one);
        let route = one.after.as_ref().and_then(|row| Route::parse(row).ok());
        warn(route.iter().flat_map(|route| route.config().warnings()));
    }
    Ok(())
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
    let config = |row: &Option<RouteRow>| row.as_ref().map(|row| row.config().clone());
    let both = change.before.is_some() && change.after.is_some();
    println!(
        "{:>6}  {seconds}  {:?}  {}  =>  {}{}",
        change.generation,
        change.kind,
        side(&change.before),
        side(&change.after),
        if both && config(&change.before) != config(&change.after) { "  (another config)" } else { "" }
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
