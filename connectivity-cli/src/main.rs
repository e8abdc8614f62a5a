//! `connectivity`: creates, reads, changes and upgrades a routes file.

use std::error::Error;
use std::fmt::Display;
use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::UNIX_EPOCH;

use clap::{Args, Parser, Subcommand};
use connectivity_core::{
    Admin, AdminError, Change, Field, Mcp, Name, RollbackReport, Route, RouteError, RouteRow,
    RouteSource, RouteSpec, Router, SqliteRoutes,
};

/// Makes, reads, changes and upgrades a routes file.
///
/// Rows can be changed by SQL too, in any shell: UPDATE routes SET strategy='local' WHERE
/// service_name='billing'; This program also refuses what SQL lets through and a router would call
/// bad.
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
        /// Rebuilds a table made by the Go original, so that it holds all strategies. Stop the Go
        /// routers first: they serve a strategy that they do not know locally, without a word.
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
        target: WriteTarget,
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
    /// Deletes a route. Its calls go by the service's row then, or to what is registered in the
    /// process.
    Delete {
        #[command(flatten)]
        target: WriteTarget,
        /// The name in the row.
        name: String,
    },
    /// Puts all routes back to what they were at a generation, which `history` shows; that can be
    /// rolled back in turn.
    Rollback {
        #[command(flatten)]
        target: WriteTarget,
        /// The generation: what was changed after it is undone.
        generation: u64,
        /// This route only.
        #[arg(long)]
        name: Option<String>,
    },
    /// Lets an agent read and change the routes: the tools of the admin, as MCP over standard input
    /// and output.
    ///
    /// For the configuration of an agent's host:
    /// {"command":"connectivity","args":["mcp","routes.db"]}. A change is only tried, unless the
    /// call says "dry_run": false.
    Mcp {
        /// The file.
        file: PathBuf,
    },
}

/// Where to write.
#[derive(Args)]
struct WriteTarget {
    /// The file.
    file: PathBuf,
    /// Says what would be done, or why not, and does nothing.
    #[arg(long)]
    dry_run: bool,
}

fn main() -> ExitCode {
    let command = Arguments::parse().command;
    // Do not lock it: `mcp` writes from other threads.
    let mut out = io::stdout();
    match run(command, &mut out).and_then(|()| Ok(out.flush()?)) {
        Ok(()) => ExitCode::SUCCESS,
        // The reader closed the pipe early, as `head` does.
        Err(error) if is_closed_pipe(&*error) => ExitCode::SUCCESS,
        Err(error) => {
            print_error(format_args!("connectivity: {error}"));
            ExitCode::FAILURE
        }
    }
}

fn is_closed_pipe(error: &(dyn Error + 'static)) -> bool {
    error.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
}

/// Prints a line to standard error. A failure is ignored: there is no place left to report it.
fn print_error(line: impl Display) {
    let _ = writeln!(io::stderr(), "{line}");
}

fn run(command: Command, out: &mut impl Write) -> Result<(), Box<dyn Error>> {
    match command {
        Command::Init { upgrade: true, file } => upgrade(&file, out),
        Command::Init { upgrade: false, file } => {
            warn(SqliteRoutes::open_or_create(&file)?.warnings());
            Ok(writeln!(out, "{} is ready", file.display())?)
        }
        Command::Routes { file } => routes(&SqliteRoutes::open_read_only(file)?, out),
        Command::History { file, name, limit } => {
            let changes = SqliteRoutes::open_read_only(file)?.history(name.as_ref(), limit)?;
            Ok(changes.iter().try_for_each(|change| print_change(change, out))?)
        }
        Command::Set { target, name, strategy, endpoint, config } => {
            let spec = RouteSpec::new(name, strategy);
            let spec = endpoint.into_iter().fold(spec, RouteSpec::endpoint);
            let spec = config.into_iter().fold(spec, RouteSpec::config);
            change(&target, out, async |admin| Ok(admin.upsert(spec).await?.into()))
        }
        Command::Delete { target, name } => {
            change(&target, out, async |admin| Ok(admin.delete(&name).await?.into()))
        }
        Command::Rollback { target, generation, name } => change(&target, out, async |admin| {
            Ok(admin.rollback(generation, name.as_deref()).await?.into())
        }),
        Command::Mcp { file } => {
            tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
                let router = Router::open(&file).await?;
                Ok(Mcp::admin(&router)?.serve_stdio().await?)
            })
        }
    }
}

/// Changes that a command made, and what is wrong with them.
struct Outcome {
    changes: Vec<Change>,
    bad: Vec<RouteError>,
}

impl From<Option<Change>> for Outcome {
    fn from(change: Option<Change>) -> Self {
        Self { changes: change.into_iter().collect(), bad: Vec::new() }
    }
}

impl From<RollbackReport> for Outcome {
    fn from(report: RollbackReport) -> Self {
        Self { changes: report.changes, bad: report.bad }
    }
}

/// Makes changes, or tries them in a dry run, and prints them.
fn change(
    target: &WriteTarget,
    out: &mut impl Write,
    change: impl AsyncFnOnce(Admin) -> Result<Outcome, AdminError>,
) -> Result<(), Box<dyn Error>> {
    let Outcome { changes, bad } =
        tokio::runtime::Builder::new_current_thread().build()?.block_on(async {
            let admin = Admin::open(&target.file).await?;
            change(if target.dry_run { admin.dry_run() } else { admin }).await
        })?;
    match (changes.is_empty(), target.dry_run) {
        (true, _) => writeln!(out, "nothing to change: it is so already")?,
        (false, true) => writeln!(out, "not done, only tried:")?,
        (false, false) => writeln!(out, "done:")?,
    }
    for entry in &changes {
        print_change(entry, out)?;
        let route = entry.after.as_ref().and_then(|row| Route::parse(row).ok());
        warn(route.iter().flat_map(|route| &route.config().warnings));
    }
    warn(bad);
    Ok(())
}

fn upgrade(file: &PathBuf, out: &mut impl Write) -> Result<(), Box<dyn Error>> {
    let report = SqliteRoutes::upgrade(file)?;
    warn(
        report
            .left_out
            .iter()
            .map(|row| format!("left out, because it has no name: {}", format_row(row))),
    );
    let rebuilt = if report.rebuilt { "was rebuilt" } else { "needed no rebuild" };
    Ok(writeln!(out, "{} {rebuilt}", file.display())?)
}

/// Prints the rows. A bad row is not a failure of this program.
fn routes(source: &SqliteRoutes, out: &mut impl Write) -> Result<(), Box<dyn Error>> {
    let snapshot = source.read()?;
    warn(source.warnings());
    writeln!(out, "generation {}, {} routes", snapshot.generation, snapshot.rows.len())?;
    for row in &snapshot.rows {
        writeln!(out, "{}", format_row(row))?;
        match Route::parse(row) {
            Ok(route) => warn(&route.config().warnings),
            Err(cause) => writeln!(out, "    bad: {cause}")?,
        }
    }
    Ok(())
}

fn warn(warnings: impl IntoIterator<Item: Display>) {
    for warning in warnings {
        print_error(format_args!("    warning: {warning}"));
    }
}

fn print_change(change: &Change, out: &mut impl Write) -> io::Result<()> {
    let seconds = change.at.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let side = |row: &Option<RouteRow>| row.as_ref().map_or_else(|| "-".to_owned(), format_row);
    let config = |row: &Option<RouteRow>| row.as_ref().map(|row| row.config().clone());
    let both = change.before.is_some() && change.after.is_some();
    writeln!(
        out,
        "{:>6}  {seconds}  {:?}  {}  =>  {}{}",
        change.generation,
        change.kind,
        side(&change.before),
        side(&change.after),
        if both && config(&change.before) != config(&change.after) {
            "  (another config)"
        } else {
            ""
        }
    )
}

/// Formats a row as one line. The config is left out: it may hold header values.
fn format_row(row: &RouteRow) -> String {
    let text = |field: &Field| match field {
        Field::Text(text) => text.escape_debug().to_string(),
        Field::Other { what } => format!("({what})"),
        _ => "-".to_owned(),
    };
    format!("{}  {}  {}", row.shown_name(), text(row.strategy()), text(row.endpoint()))
}
