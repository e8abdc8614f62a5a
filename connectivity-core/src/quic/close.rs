//! What a server says when it closes a connection: how many streams it has served, so that the
//! client knows which calls it never saw. HTTP/2 does the same with the last stream number of its
//! GOAWAY (RFC 9113, 6.8).

use quinn::{Connection, ConnectionError, VarInt};

/// The reason holds the number of streams served: 8 bytes, big-endian.
const LEFT: VarInt = VarInt::from_u32(1);

/// Closes a connection of which `served` streams were accepted.
pub(super) fn leave(connection: &Connection, served: u64) {
    connection.close(LEFT, &served.to_be_bytes());
}

/// Says whether the server has closed a connection without having seen this stream of it.
pub(super) fn is_unserved(connection: &Connection, stream: u64) -> bool {
    match connection.close_reason() {
        Some(ConnectionError::ApplicationClosed(close)) if close.error_code == LEFT => {
            close.reason.first_chunk().is_some_and(|served| stream >= u64::from_be_bytes(*served))
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use quinn::crypto::rustls::{QuicClientConfig, QuicServerConfig};
    use quinn::{ClientConfig, Endpoint, ServerConfig};

    use super::*;
    use crate::quic::ALPN;
    use crate::routes::{RouteConfig, Strategy};
    use crate::tls::{self, Tls};

    fn server() -> Endpoint {
        let identity = Tls::self_signed(["localhost"]).unwrap();
        let crypto = QuicServerConfig::try_from(identity.server_config(&[ALPN]).unwrap()).unwrap();
        let config = ServerConfig::with_crypto(Arc::new(crypto));
        Endpoint::server(config, "127.0.0.1:0".parse().unwrap()).unwrap()
    }

    fn client() -> Endpoint {
        let strategy = Strategy::parse("quic").unwrap();
        let row = RouteConfig::parse(r#"{"insecure_tls":true}"#, &strategy).unwrap();
        let crypto =
            QuicClientConfig::try_from(tls::client_config(row.tls(), &[ALPN]).unwrap()).unwrap();
        let mut endpoint = Endpoint::client("127.0.0.1:0".parse().unwrap()).unwrap();
        endpoint.set_default_client_config(ClientConfig::new(Arc::new(crypto)));
        endpoint
    }

    #[tokio::test]
    async fn a_client_knows_which_streams_its_server_never_saw() {
        let (server, client) = (server(), client());
        let connecting = client.connect(server.local_addr().unwrap(), "localhost").unwrap();
        let (there, here) =
            tokio::join!(async { server.accept().await.unwrap().await.unwrap() }, connecting);
        let here = here.unwrap();
        for stream in 0..3 {
            let (mut writer, _) = here.open_bi().await.unwrap();
            assert_eq!(writer.id().index(), stream);
            writer.write_all(b"a call").await.unwrap();
        }
        assert!(!is_unserved(&here, 2), "the connection stands");
        there.accept_bi().await.unwrap();
        leave(&there, 1);
        here.closed().await;
        assert_eq!([0, 1, 2].map(|stream| is_unserved(&here, stream)), [false, true, true]);
    }
}
