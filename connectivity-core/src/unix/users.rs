//! Which users of this machine may be at the other end of a socket.

use std::io;

use tokio::net::UnixStream;

/// The user of this process, and those that were allowed beside it.
#[derive(Clone, Debug, Default)]
pub(super) struct Users {
    allowed: Vec<u32>,
}

impl Users {
    pub(super) fn allow(&mut self, user: u32) {
        self.allowed.push(user);
    }

    /// Checks who is at the other end, as the kernel knows it (`SO_PEERCRED`); gives the user's
    /// number.
    pub(super) fn check(&self, stream: &UnixStream) -> io::Result<u32> {
        let user = stream.peer_cred()?.uid();
        if user == own_user()? || self.allowed.contains(&user) {
            return Ok(user);
        }
        let message = format!(
            "the other end belongs to user {user}, which is neither this process's nor allowed"
        );
        Err(io::Error::new(io::ErrorKind::PermissionDenied, message))
    }
}

/// The user of this process, as its own sockets show it.
fn own_user() -> io::Result<u32> {
    let (one, _other) = UnixStream::pair()?;
    Ok(one.peer_cred()?.uid())
}
