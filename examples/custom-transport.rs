//! How do I send calls my own way? With a transport and a strategy name: this one writes calls to a
//! file instead of sending them.
//!
//! ```text
//! cargo run --example custom-transport
//! ```
#![allow(clippy::print_stdout, reason = "an example shows what it does")]

use std::error::Error;
use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use connectivity_core::{
    BuildContext, Call, CallService, Codec, ErrorKind, Remote, Reply, Route, RouteError, Router,
    Transport, register, service,
};

#[service]
trait Mail {
    /// Sends a mail.
    async fn send(&self, to: &str, text: &str) -> Result<(), connectivity_core::Error>;
}

struct Smtp;

impl Mail for Smtp {
    async fn send(&self, to: &str, _text: &str) -> Result<(), connectivity_core::Error> {
        println!("a real mail goes to {to}");
        Ok(())
    }
}

/// Appends each call to a file and replies with success: `strategy = 'journal'`, `endpoint =
/// '/path/of/the/file'`.
struct Journal;

impl Transport for Journal {
    /// Validates the row without side effects, because this runs while rows are read.
    fn build(&self, route: &Route, _context: &BuildContext<'_>) -> Result<Remote, RouteError> {
        let path = PathBuf::from(
            route.endpoint().ok_or_else(|| RouteError::endpoint("`journal` needs a file"))?,
        );
        if !path.is_absolute() {
            return Err(RouteError::endpoint(
                "write the whole path of the file, beginning with `/`",
            ));
        }
        let service = CallService::from_fn(move |call| write(path.clone(), call));
        Ok(Remote::new(service).with_codec(Codec::Json))
    }
}

async fn write(path: PathBuf, call: Call) -> Result<Reply, connectivity_core::Error> {
    // JSON with the arguments by name, as requested by `with_codec`. The bytes of a raw service
    // arrive unchanged.
    let (_codec, arguments) = call.encode(Codec::Json)?;
    let line = format!("{} {}\n", call.name(), String::from_utf8_lossy(&arguments));
    let written = tokio::task::spawn_blocking(move || append(&path, &line)).await;
    match written {
        Ok(Ok(())) => Ok(Reply::encoded(Codec::Json, "null", false)),
        Ok(Err(cause)) => {
            Err(call
                .failed(ErrorKind::Connect, format_args!("the journal cannot be written: {cause}")))
        }
        Err(_gone) => Err(call.failed(ErrorKind::Cancelled, "the program ends")),
    }
}

fn append(path: &Path, line: &str) -> io::Result<()> {
    OpenOptions::new().create(true).append(true).open(path)?.write_all(line.as_bytes())
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let folder = tempfile::tempdir()?;
    let (routes, journal) = (folder.path().join("routes.db"), folder.path().join("journal.txt"));
    let router = Router::open_or_create(&routes).await?;
    register!(router, Mail => Smtp)?;
    let mail = MailClient::new(&router);
    mail.send("ann@example.com", "Hello").await?;

    // From now on rows may use this strategy. Rows that already do are in force when this returns.
    router.add_transport("journal", Journal)?;
    let sql = "UPDATE routes SET strategy = 'journal', endpoint = ?1 WHERE service_name = 'mail'";
    rusqlite::Connection::open(&routes)?.execute(sql, [journal.to_string_lossy()])?;
    router.reload().await?;

    mail.send("bob@example.com", "Your order is on its way").await?;
    let written = fs::read_to_string(&journal)?;
    print!("{written}");
    assert_eq!(
        written,
        "mail.send {\"to\":\"bob@example.com\",\"text\":\"Your order is on its way\"}\n"
    );

    router.close(Duration::from_secs(1)).await;
    Ok(())
}

#[test]
fn runs_to_its_end() -> Result<(), Box<dyn Error>> {
    main()
}
