//! The close reason of a server: how many streams it has accepted, so that the client knows which
//! calls never reached it. HTTP/2 does the same with the last stream ID of its GOAWAY frame (RFC
//! 9113, 6.8).

use quinn::{Connection, ConnectionError, VarInt};

/// Application code of a graceful close. The reason holds the number of accepted streams: 8 bytes,
/// big-endian.
const SERVER_DRAINED: VarInt = VarInt::from_u32(1);

/// Closes a connection on which `accepted` streams were accepted.
pub(super) fn close_drained(connection: &Connection, accepted: u64) {
    connection.close(SERVER_DRAINED, &accepted.to_be_bytes());
}

/// Returns whether the server has closed the connection without accepting this stream.
pub(super) fn is_unserved(connection: &Connection, stream: u64) -> bool {
    match connection.close_reason() {
        Some(ConnectionError::ApplicationClosed(close)) if close.error_code == SERVER_DRAINED => {
            close
                .reason
                .first_chunk()
                .is_some_and(|accepted| stream >= u64::from_be_bytes(*accepted))
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
            QuicClientConfig::try_from(tls::client_config(&row.tls, &[ALPN]).unwrap()).unwrap();
        let mut endpoint = Endpoint::client("127.0.0.1:0".parse().unwrap()).unwrap();
        endpoint.set_default_client_config(ClientConfig::new(Arc::new(crypto)));
        endpoint
    }

    #[tokio::test]
    async fn a_client_knows_which_streams_its_server_never_saw() {
        let (server, client) = (server(), client());
        let connecting = client.connect(server.local_addr().unwrap(), "localhost").unwrap();
        let (server_side, client_side) =
            tokio::join!(async { server.accept().await.unwrap().await.unwrap() }, connecting);
        let client_side = client_side.unwrap();
        for stream in 0..3 {
            let (mut writer, _) = client_side.open_bi().await.unwrap();
            assert_eq!(writer.id().index(), stream);
            writer.write_all(b"a call").await.unwrap();
        }
        assert!(!is_unserved(&client_side, 2), "the connection stands");
        server_side.accept_bi().await.unwrap();
        close_drained(&server_side, 1);
        client_side.closed().await;
        assert_eq!([0, 1, 2].map(|stream| is_unserved(&client_side, stream)), [false, true, true]);
    }
}
