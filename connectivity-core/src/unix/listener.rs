//! Server side of strategy `unix`.

use std::fs::{self, Permissions};
use std::io;
use std::net::Shutdown;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use socket2::SockRef;
use tokio::net::UnixStream;
use tokio::task::JoinSet;

use super::address::{Address, Users};
use crate::call::BoxFuture;
use crate::context::Peer;
use crate::mux::{Beginning, Client, Serving, StreamCall, serve};
use crate::transport::Inbound;
use crate::transport::connection_slots::Opening;
use crate::transport::io::IoThreads;
use crate::transport::{ConnectionSlots, Drain, Listener, Listening, Origin, ServeError};

/// The default limit of connections.
const MAX_CONNECTIONS: usize = 1024;

/// The pause after a failed `accept`.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Listens on a Unix socket: a path such as `/run/app/billing.sock`, or an abstract name such as
/// `@billing`.
///
/// The socket file has mode 0600, and a client must run as the user of this process, or as a user
/// that was [allowed](Self::allow_user); its user ID is the name of the [`Peer`]. A socket file
/// left by a dead server is replaced; one with a live listener is an error.
#[derive(Debug)]
pub struct UnixListener {
    address: String,
    users: Users,
    mode: u32,
}

impl UnixListener {
    /// Creates a listener at a path or an abstract name.
    #[must_use]
    pub fn new(address: impl Into<String>) -> Self {
        Self { address: address.into(), users: Users::default(), mode: 0o600 }
    }

    /// Also serves clients that run as this user ID. The socket file then has mode 0666: the check
    /// happens on the connection.
    #[must_use]
    pub fn allow_user(mut self, user: u32) -> Self {
        self.users.allow(user);
        self.mode = 0o666;
        self
    }

    fn bind(&self) -> Result<(Bound, Address), ServeError> {
        let cannot = |cause| ServeError::Bind { address: self.address.clone(), cause };
        let invalid = |text| cannot(io::Error::new(io::ErrorKind::InvalidInput, text));
        let address = Address::parse(&self.address).map_err(invalid)?;
        let bound = match &address {
            Address::File(path) => Bound::at(path, self.mode),
            Address::Abstract(_) => {
                address.bind().map(|socket| Bound { socket: Some(socket), file: None })
            }
        };
        Ok((bound.map_err(cannot)?, address))
    }
}

/// A bound socket and its file.
struct Bound {
    socket: Option<std::os::unix::net::UnixListener>,
    file: Option<(PathBuf, u64)>,
}

impl Bound {
    /// Binds next to the path, sets the mode, and renames the file to the path, so that it is never
    /// visible with another mode.
    fn at(path: &Path, mode: u32) -> io::Result<Self> {
        refuse_live_socket(path)?;
        let mut name = path.as_os_str().to_owned();
        name.push(format!(".{}", std::process::id()));
        let temporary = PathBuf::from(name);
        let socket = Address::File(temporary.clone()).bind()?;
        let renamed = fs::set_permissions(&temporary, Permissions::from_mode(mode))
            .and_then(|()| fs::rename(&temporary, path));
        if let Err(cause) = renamed {
            let _ = fs::remove_file(&temporary);
            return Err(cause);
        }
        let inode = fs::metadata(path)?.ino();
        Ok(Self { socket: Some(socket), file: Some((path.to_owned(), inode)) })
    }
}

impl Drop for Bound {
    /// Removes the file, unless another server has replaced it.
    fn drop(&mut self) {
        if let Some((path, inode)) = &self.file
            && fs::metadata(path).is_ok_and(|found| found.ino() == *inode)
        {
            let _ = fs::remove_file(path);
        }
    }
}

fn refuse_live_socket(path: &Path) -> io::Result<()> {
    let Ok(found) = fs::symlink_metadata(path) else { return Ok(()) };
    if !found.file_type().is_socket() {
        return Err(io::Error::new(
            io::ErrorKind::AlreadyExists,
            "a file of this name is there, and it is no socket",
        ));
    }
    match Address::File(path.to_owned()).connect() {
        Ok(_) => Err(io::Error::new(io::ErrorKind::AddrInUse, "another server listens there")),
        Err(cause) if cause.kind() == io::ErrorKind::ConnectionRefused => Ok(()),
        Err(cause) => Err(cause),
    }
}

impl Listener for UnixListener {
    fn listen(
        self: Box<Self>,
        inbound: Inbound,
        drain: Drain,
    ) -> BoxFuture<'static, Result<Listening, ServeError>> {
        Box::pin(async move {
            let (bound, address) = self.bind()?;
            let serving = Serving::new(inbound);
            let users = self.users;
            let started = IoThreads::<StreamCall>::start("unix", 1);
            let (threads, ended) = started
                .map_err(|cause| ServeError::Bind { address: address.to_string(), cause })?;
            let (thread, serving) =
                (threads.get(0).handle().clone(), serving.on_thread(threads.get(0)));
            thread.spawn(async move {
                accept(bound, users, serving, drain).await;
                drop(threads);
            });
            Ok(Listening::new(address, ended.wait()))
        })
    }
}

async fn accept(mut bound: Bound, users: Users, serving: Serving, drain: Drain) {
    let listener =
        bound.socket.take().ok_or(io::ErrorKind::NotConnected.into()).and_then(|socket| {
            socket.set_nonblocking(true)?;
            tokio::net::UnixListener::from_std(socket)
        });
    let listener = match listener {
        Ok(listener) => listener,
        Err(cause) => return tracing::error!(%cause, "the socket cannot be used"),
    };
    let connection_slots = ConnectionSlots::new(MAX_CONNECTIONS);
    let mut connections = JoinSet::new();
    let begin = |connections: &mut JoinSet<()>, stream: UnixStream, peer| {
        let process = stream.peer_cred().ok().and_then(|process| process.pid());
        let client = Client { peer: Some(peer), origin: Origin::Process(process), streams: None };
        let opening = connection_slots.open(client.origin.clone());
        connections.spawn(connection(stream, client, opening, serving.clone(), drain.clone()));
    };
    let mut stop = drain.clone();
    loop {
        tokio::select! {
            biased;
            () = stop.begun() => break,
            Some(_) = connections.join_next(), if !connections.is_empty() => {}
            (stream, peer) = accept_allowed(&listener, &users) => {
                begin(&mut connections, stream, peer);
            }
        }
    }
    drop(bound);
    // Clients in the backlog may have sent a call already.
    for stream in take_backlog(listener) {
        match users.check(&stream) {
            Ok(user) => begin(&mut connections, stream, peer(user)),
            Err(cause) => tracing::warn!(%cause, "a connection was refused"),
        }
    }
    while connections.join_next().await.is_some() {}
}

/// Refuses new connections, and returns those in the backlog.
fn take_backlog(listener: tokio::net::UnixListener) -> Vec<UnixStream> {
    let Ok(listener) = listener.into_std() else { return Vec::new() };
    // From here on Linux refuses connections. On other systems the file is gone, and a client that
    // opened it at the same moment is cut off.
    let _ = SockRef::from(&listener).shutdown(Shutdown::Read);
    let accepted = std::iter::from_fn(|| listener.accept().ok());
    let streams =
        accepted.filter_map(|(stream, _)| stream.set_nonblocking(true).ok().map(|()| stream));
    streams.filter_map(|stream| UnixStream::from_std(stream).ok()).collect()
}

fn peer(user: u32) -> Peer {
    Peer::new("unix", user.to_string())
}

/// Serves a connection on this thread. A connection for one large body moves to the user's runtime
/// instead, where the body will be processed anyway: its reads and writes would delay everyone's
/// small calls.
async fn connection(
    mut stream: UnixStream,
    client: Client,
    mut opening: Opening,
    serving: Serving,
    drain: Drain,
) {
    let Some(Some(beginning)) = opening.wait(Beginning::read(&mut stream)).await else { return };
    let Some(_slot) = opening.establish(client.origin.clone()) else { return };
    if !beginning.is_single() {
        let (reader, writer) = stream.into_split();
        return serve(serving, client, beginning, reader, writer, drain).await;
    }
    let user = serving.user().clone();
    let moved = async move {
        let (reader, writer) = UnixStream::from_std(stream.into_std()?)?.into_split();
        serve(serving, client, beginning, reader, writer, drain).await;
        io::Result::Ok(())
    };
    if let Ok(Err(cause)) = user.spawn(moved).await {
        tracing::warn!(%cause, "a connection cannot move to another runtime");
    }
}

/// Waits for a client whose user is allowed.
async fn accept_allowed(listener: &tokio::net::UnixListener, users: &Users) -> (UnixStream, Peer) {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => match users.check(&stream) {
                Ok(user) => return (stream, peer(user)),
                Err(cause) => tracing::warn!(%cause, "a connection was refused"),
            },
            Err(cause) => {
                tracing::warn!(%cause, "a connection could not be accepted");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}
