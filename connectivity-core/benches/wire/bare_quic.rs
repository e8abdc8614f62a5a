//! Bare quinn with its defaults and a stream per call, like a program without a framework.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use quinn::{ClientConfig, Connection, Endpoint, ServerConfig};
use rcgen::{CertifiedKey, generate_simple_self_signed};
use rustls::RootCertStore;
use rustls::pki_types::PrivatePkcs8KeyDer;

use crate::load::Echo;

const LOCAL: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

/// A server on its own thread, and a client endpoint whose connections trust it.
pub struct Bare {
    address: SocketAddr,
    config: ClientConfig,
    endpoint: Endpoint,
}

impl Bare {
    pub fn start() -> Self {
        let CertifiedKey { cert, signing_key } =
            generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let mut roots = RootCertStore::empty();
        roots.add(cert.der().clone()).unwrap();
        let key = PrivatePkcs8KeyDer::from(signing_key.serialize_der());
        let server = ServerConfig::with_single_cert(vec![cert.der().clone()], key.into()).unwrap();
        let (bound, address) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            let runtime =
                tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async move {
                let endpoint = Endpoint::server(server, LOCAL).unwrap();
                bound.send(endpoint.local_addr().unwrap()).unwrap();
                while let Some(incoming) = endpoint.accept().await {
                    tokio::spawn(async move { serve(incoming.await.unwrap()).await });
                }
            });
        });
        let config = ClientConfig::with_root_certificates(Arc::new(roots)).unwrap();
        let endpoint = Endpoint::client(LOCAL).unwrap();
        Self { address: address.recv().unwrap(), config, endpoint }
    }

    pub async fn connect(&self) -> Streams {
        let connecting =
            self.endpoint.connect_with(self.config.clone(), self.address, "localhost").unwrap();
        Streams(connecting.await.unwrap())
    }
}

async fn serve(connection: Connection) {
    while let Ok((mut writer, mut reader)) = connection.accept_bi().await {
        tokio::spawn(async move {
            let Ok(body) = reader.read_to_end(1 << 20).await else { return };
            let _ = writer.write_all(&body).await;
            let _ = writer.finish();
        });
    }
}

/// A connection that opens a stream for each call.
#[derive(Clone)]
pub struct Streams(Connection);

impl Streams {
    pub async fn call(&self, body: &[u8]) -> usize {
        let (mut writer, mut reader) = self.0.open_bi().await.unwrap();
        writer.write_all(body).await.unwrap();
        writer.finish().unwrap();
        reader.read_to_end(1 << 20).await.unwrap().len()
    }
}

impl Echo for Streams {
    async fn echo(&self) {
        assert_eq!(self.call(&[7; 32]).await, 32);
    }
}
