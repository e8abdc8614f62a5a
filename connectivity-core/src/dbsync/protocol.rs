//! What both ends of a push agree on: `docs/dbsync.md`.

use std::time::Duration;

use quinn::Connection;
use quinn::crypto::rustls::HandshakeData;

/// The ALPN protocol ID of the original Go package.
pub(super) const ALPN_ORIGINAL: &[u8] = b"horos-dbsync-v1";

/// The ALPN protocol ID of ours: the same head, then only the chunks that the receiver lacks.
pub(super) const ALPN_CHUNKS: &[u8] = b"connectivity-dbsync/1";

/// The answer to a head that lets the sender go on.
pub(super) const GO_ON: u8 = 1;

/// The close code and reason of a push that was taken, and the code of one that was refused.
pub(super) const DONE: (u32, &[u8]) = (0, b"done");
pub(super) const REFUSED: u32 = 1;

/// How long a connection may be silent, and the interval of packets that keep it alive.
pub(super) const IDLE_TIMEOUT: Duration = Duration::from_secs(30);
pub(super) const KEEP_ALIVE_INTERVAL: Duration = Duration::from_secs(5);

/// Returns whether both ends of a connection send chunks.
pub(super) fn speaks_chunks(connection: &Connection) -> bool {
    let data = connection.handshake_data().and_then(|data| data.downcast::<HandshakeData>().ok());
    data.is_some_and(|data| data.protocol.as_deref() == Some(ALPN_CHUNKS))
}
