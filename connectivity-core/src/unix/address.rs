//! Where a socket is: a file, or an abstract name of Linux.

use std::fmt;
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener, UnixStream};
use std::path::PathBuf;

/// The longest path or name that the system takes.
const LONGEST: usize = 107;

/// The address of a socket.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Address {
    File(PathBuf),
    /// Written `@name`; it is gone with the last process that holds it, and has no mode: the user
    /// of the peer is what protects it.
    Abstract(String),
}

impl Address {
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let example = "write an absolute path such as /run/app/billing.sock, or an abstract name such as @billing";
        if text.len() > LONGEST || text.contains('\0') {
            return Err(format!("it has more than {LONGEST} bytes, or a NUL byte; {example}"));
        }
        match text.strip_prefix('@') {
            Some("") => Err(format!("an abstract name is not empty; {example}")),
            Some(name) => Ok(Self::Abstract(name.to_owned())),
            None if text.starts_with('/') => Ok(Self::File(text.into())),
            None => Err(format!("it is no absolute path; {example}")),
        }
    }

    fn address(&self) -> io::Result<SocketAddr> {
        match self {
            Self::File(path) => SocketAddr::from_pathname(path),
            Self::Abstract(name) => SocketAddr::from_abstract_name(name),
        }
    }

    pub(super) fn bind(&self) -> io::Result<UnixListener> {
        UnixListener::bind_addr(&self.address()?)
    }

    /// The address as tokio takes it: an abstract name begins with a NUL byte.
    pub(super) fn path(&self) -> PathBuf {
        match self {
            Self::File(path) => path.clone(),
            Self::Abstract(name) => PathBuf::from(format!("\0{name}")),
        }
    }

    /// Connects; local, so it does not wait for anybody, unless the backlog of the listener is
    /// full.
    pub(super) fn connect(&self) -> io::Result<UnixStream> {
        UnixStream::connect_addr(&self.address()?)
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
