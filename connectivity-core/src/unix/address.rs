//! The address of a socket (a file, or an abstract name on Linux), and which users may be its peer.

use std::fmt;
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener, UnixStream};
use std::path::PathBuf;

use tokio::net::UnixStream as TokioStream;

/// The longest path or name that the system accepts, in bytes.
const MAX_LENGTH: usize = 107;

/// The address of a socket.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Address {
    File(PathBuf),
    /// Written `@name`. It disappears with the last process that holds it. It has no file mode, so
    /// only the check of the peer's user protects it.
    Abstract(String),
}

impl Address {
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let example = "write an absolute path such as /run/app/billing.sock, or an abstract name such as @billing";
        if text.len() > MAX_LENGTH || text.contains('\0') {
            return Err(format!("it has more than {MAX_LENGTH} bytes, or a NUL byte; {example}"));
        }
        match text.strip_prefix('@') {
            Some("") => Err(format!("an abstract name is not empty; {example}")),
            Some(name) => Ok(Self::Abstract(name.to_owned())),
            None if text.starts_with('/') => Ok(Self::File(text.into())),
            None => Err(format!("it is no absolute path; {example}")),
        }
    }

    fn socket_addr(&self) -> io::Result<SocketAddr> {
        match self {
            Self::File(path) => SocketAddr::from_pathname(path),
            Self::Abstract(name) => SocketAddr::from_abstract_name(name),
        }
    }

    pub(super) fn bind(&self) -> io::Result<UnixListener> {
        UnixListener::bind_addr(&self.socket_addr()?)
    }

    /// Returns the address in the form that tokio accepts: an abstract name begins with a NUL byte.
    pub(super) fn path(&self) -> PathBuf {
        match self {
            Self::File(path) => path.clone(),
            Self::Abstract(name) => PathBuf::from(format!("\0{name}")),
        }
    }

    /// Connects. The socket is local, so this blocks only while the listener's backlog is full.
    pub(super) fn connect(&self) -> io::Result<UnixStream> {
        UnixStream::connect_addr(&self.socket_addr()?)
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => write!(f, "{}", path.display()),
            Self::Abstract(name) => write!(f, "@{name}"),
        }
    }
}

/// The users that may be the peer of a socket: the user of this process, and those that were
/// allowed.
#[derive(Clone, Debug, Default)]
pub(super) struct Users {
    allowed: Vec<u32>,
}

impl Users {
    pub(super) fn allow(&mut self, uid: u32) {
        self.allowed.push(uid);
    }

    /// Checks the peer's user as the kernel reports it (`SO_PEERCRED`), and returns its user ID.
    pub(super) fn check(&self, stream: &TokioStream) -> io::Result<u32> {
        let user = stream.peer_cred()?.uid();
        if user == own_uid()? || self.allowed.contains(&user) {
            return Ok(user);
        }
        let message = format!(
            "the other end belongs to user {user}, which is neither this process's nor allowed"
        );
        Err(io::Error::new(io::ErrorKind::PermissionDenied, message))
    }
}

/// Returns the user ID of this process, as the kernel reports it for one of its own sockets.
fn own_uid() -> io::Result<u32> {
    let (one, _other) = TokioStream::pair()?;
    Ok(one.peer_cred()?.uid())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_a_path_or_an_abstract_name() {
        assert_eq!(Address::parse("/run/a.sock").unwrap().to_string(), "/run/a.sock");
        assert_eq!(Address::parse("@billing").unwrap().to_string(), "@billing");
        for bad in ["", "@", "run/a.sock", "http://x", "/a\0b", &format!("/{}", "x".repeat(200))] {
            assert!(Address::parse(bad).unwrap_err().contains("/run/app/billing.sock"), "{bad:?}");
        }
    }
}
