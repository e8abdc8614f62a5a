//! In-memory handshakes between server identities and the TLS keys of rows.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, SanType};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{
    AlertDescription, ClientConfig, ClientConnection, Error, ServerConfig, ServerConnection,
};

use super::*;
use crate::routes::RouteTls;

type Ca = CertifiedIssuer<'static, KeyPair>;

fn ca(name: &str) -> Ca {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

/// A temporary directory with the files of one test.
struct Files(tempfile::TempDir);

impl Files {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn write(&self, name: &str, text: impl AsRef<[u8]>) -> PathBuf {
        let path = self.0.path().join(name);
        fs::write(&path, text).unwrap();
        path
    }

    /// Writes `{name}.pem` and `{name}.key`.
    fn issue(&self, ca: &Ca, name: &str, params: &CertificateParams) -> (PathBuf, PathBuf) {
        let key = KeyPair::generate().unwrap();
        let cert = params.signed_by(&key, ca).unwrap();
        (
            self.write(&format!("{name}.pem"), cert.pem()),
            self.write(&format!("{name}.key"), key.serialize_pem()),
        )
    }

    fn server(&self, ca: &Ca) -> Tls {
        let (cert, key) = self.issue(
            ca,
            "server",
            &CertificateParams::new(vec!["localhost".to_owned()]).unwrap(),
        );
        Tls::from_pem(cert, key).unwrap()
    }

    fn trusting(&self, ca: &Ca) -> RouteTls {
        RouteTls { ca_file: Some(self.write("ca.pem", ca.pem())), ..RouteTls::default() }
    }
}

fn pinned(pin: &str) -> RouteTls {
    let byte = |at: usize| u8::from_str_radix(&pin[2 * at..2 * at + 2], 16).unwrap();
    RouteTls { pin_sha256: Some(std::array::from_fn(byte)), ..RouteTls::default() }
}

fn certificate(file: &Path) -> CertificateDer<'static> {
    CertificateDer::from_pem_file(file).unwrap()
}

/// The outcome of a handshake at both ends, including alerts sent after it.
#[derive(Debug)]
struct HandshakeResult {
    client: Result<CertificateDer<'static>, Error>,
    server: Result<Option<Vec<CertificateDer<'static>>>, Error>,
    resumed: bool,
}

fn handshake(
    server: &Arc<ServerConfig>,
    client: &Arc<ClientConfig>,
    host: &str,
) -> HandshakeResult {
    let name = server_name(&RouteTls::default(), host).unwrap();
    let mut client = ClientConnection::new(Arc::clone(client), name).unwrap();
    let mut server = ServerConnection::new(Arc::clone(server)).unwrap();
    let (mut client_end, mut server_end) = (Ok(()), Ok(()));
    while client.wants_write() || server.wants_write() {
        let (mut to_server, mut to_client) = (Vec::new(), Vec::new());
        while client.wants_write() {
            client.write_tls(&mut to_server).unwrap();
        }
        server.read_tls(&mut to_server.as_slice()).unwrap();
        server_end = server_end.and_then(|()| server.process_new_packets().map(drop));
        while server.wants_write() {
            server.write_tls(&mut to_client).unwrap();
        }
        client.read_tls(&mut to_client.as_slice()).unwrap();
        client_end = client_end.and_then(|()| client.process_new_packets().map(drop));
    }
    HandshakeResult {
        client: client_end.map(|()| client.peer_certificates().unwrap()[0].clone().into_owned()),
        server: server_end.map(|()| server.peer_certificates().map(<[_]>::to_vec)),
        resumed: client.handshake_kind() == Some(rustls::HandshakeKind::Resumed),
    }
}

fn connect(server: &Tls, client: &RouteTls) -> HandshakeResult {
    let server = Arc::new(server.server_config(&[b"connectivity/1"]).unwrap());
    handshake(&server, &Arc::new(client_config(client, &[b"connectivity/1"]).unwrap()), "localhost")
}

fn assert_refused(server: &Tls, client: &RouteTls, expected: &str) {
    let result = connect(server, client);
    let text = explain(&result.client.unwrap_err());
    assert!(text.contains(expected), "{text}");
    assert!(result.server.is_err());
}

#[test]
fn a_self_signed_certificate_needs_its_pin() {
    let server = Tls::self_signed(["localhost", "127.0.0.1"]).unwrap();
    let pin = server.pin_sha256();
    assert_eq!((pin.len(), pin.to_lowercase() == pin), (64, true));
    let presented = connect(&server, &pinned(&pin)).client.unwrap();
    assert_eq!(hex(&sha256(&presented)), pin);
    assert_refused(
        &server,
        &Files::new().trusting(&ca("another")),
        "unknown issuer; set `ca_file` or `pin_sha256`",
    );
    assert_refused(
        &server,
        &pinned(&"ab".repeat(32)),
        &format!("wrong pin: the certificate's `pin_sha256` is {pin}"),
    );
    let insecure = RouteTls { insecure: true, ..pinned(&"ab".repeat(32)) };
    assert!(connect(&server, &insecure).client.is_ok());
    assert!(warning(&insecure).unwrap().contains("certificate checks are off"));
    assert_eq!(warning(&pinned(&pin)), None);
}

#[test]
fn a_pin_beside_an_authority_must_hold_too() {
    let (files, authority) = (Files::new(), ca("ours"));
    let server = files.server(&authority);
    let both = |pin: &str| RouteTls { ca_file: files.trusting(&authority).ca_file, ..pinned(pin) };
    assert!(connect(&server, &both(&server.pin_sha256())).client.is_ok());
    assert_refused(&server, &both(&"ab".repeat(32)), "wrong pin");
    let other = RouteTls {
        ca_file: files.trusting(&ca("another")).ca_file,
        ..pinned(&server.pin_sha256())
    };
    assert_refused(&server, &other, "unknown issuer");
}

#[test]
fn a_pin_is_no_proof_without_the_key() {
    let (real, thief) = (Tls::self_signed(["localhost"]).unwrap(), KeyPair::generate().unwrap());
    let (stolen, client) =
        (connect(&real, &pinned(&real.pin_sha256())).client.unwrap(), pinned(&real.pin_sha256()));
    let key = provider().key_provider.load_private_key(thief.into()).unwrap();
    let presented =
        rustls::sign::SingleCertAndKey::from(rustls::sign::CertifiedKey::new(vec![stolen], key));
    let builder = ServerConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .unwrap();
    let server = Arc::new(builder.with_no_client_auth().with_cert_resolver(Arc::new(presented)));
    let client = Arc::new(client_config(&client, &[]).unwrap());
    let text = explain(&handshake(&server, &client, "localhost").client.unwrap_err());
    assert!(text.contains("does not prove that it has the key"), "{text}");
}

#[test]
fn a_refusal_says_why_even_where_only_a_text_is_left() {
    let (files, authority) = (Files::new(), ca("ours"));
    let trusting = files.trusting(&authority);
    let with = |change: fn(&mut CertificateParams)| {
        let mut params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        change(&mut params);
        let (cert, key) = files.issue(&authority, "bad", &params);
        let server = Tls::from_pem(cert, key).unwrap();
        let error = connect(&server, &trusting).client.unwrap_err();
        assert_eq!(explain(&error), explain_reason(&error.to_string()));
        explain(&error)
    };
    let other_name = with(|params| {
        let names = ["b.example", "*.c.example", "d.example", "e.example"];
        params.subject_alt_names =
            names.map(|name| SanType::DnsName(name.try_into().unwrap())).into();
    });
    assert!(
        other_name.starts_with(
            "the certificate is for `b.example`, `*.c.example`, `d.example`, others, not for `localhost`; `server_name`"
        ),
        "{other_name}"
    );
    let address =
        with(|params| params.subject_alt_names = vec![SanType::IpAddress([10, 0, 0, 1].into())]);
    assert!(
        address.starts_with("the certificate is for `10.0.0.1`, not for `localhost`"),
        "{address}"
    );
    let expired = with(|params| params.not_after = rcgen::date_time_ymd(2020, 1, 1));
    assert!(
        expired.starts_with("the certificate expired ") && expired.ends_with(" days ago"),
        "{expired}"
    );
    let early = with(|params| params.not_before = rcgen::date_time_ymd(4000, 1, 1));
    assert!(early.starts_with("the certificate is not valid yet, but in "), "{early}");
    let client = with(|params| {
        params.extended_key_usages = vec![rcgen::ExtendedKeyUsagePurpose::ClientAuth]
    });
    assert!(client.contains("not meant for this side"), "{client}");
}

#[test]
fn a_client_needs_a_certificate_where_one_is_asked_for() {
    let (files, authority, clients) = (Files::new(), ca("ours"), ca("of the clients"));
    let open = files.server(&authority);
    assert!(!open.is_closed_to_strangers());
    let server = open.client_ca(files.write("clients.pem", clients.pem())).unwrap();
    assert!(server.is_closed_to_strangers());
    let stranger = files.trusting(&authority);
    assert_refused(
        &server,
        &stranger,
        "the server wants a client certificate: set `client_cert_file` and `client_key_file`",
    );

    let with_client_cert = |issuer: &Ca| {
        let params = CertificateParams::new(vec!["orders.internal".to_owned()]).unwrap();
        let (cert, key) = files.issue(issuer, "client", &params);
        RouteTls { client_cert_file: Some(cert), client_key_file: Some(key), ..stranger.clone() }
    };
    let peer = connect(&server, &with_client_cert(&clients)).server.unwrap().unwrap();
    assert_eq!(format!("{:?}", peer_of(&peer).unwrap()), r#"tls:"dns:orders.internal""#);
    let result = connect(&server, &with_client_cert(&authority));
    let error = result.client.unwrap_err();
    assert!(refuses_us(&error) && explain(&error).contains("refuses our certificate"), "{error}");

    // No session is resumed here: it would outlive a revoked certificate.
    let (server, client) = (
        server.server_config(&[]).unwrap(),
        client_config(&with_client_cert(&clients), &[]).unwrap(),
    );
    let (server, client) = (Arc::new(server), Arc::new(client));
    assert!(!handshake(&server, &client, "localhost").resumed);
    assert!(!handshake(&server, &client, "localhost").resumed);
}

#[test]
fn new_files_are_used_by_the_next_handshake_and_bad_ones_never() {
    let (files, authority) = (Files::new(), ca("ours"));
    let params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
    let (cert, key) = files.issue(&authority, "server", &params);
    let server = Tls::from_pem(&cert, &key).unwrap().checked_always();
    let config = Arc::new(server.server_config(&[]).unwrap());
    let client = || Arc::new(client_config(&files.trusting(&authority), &[]).unwrap());
    let presented = || handshake(&config, &client(), "localhost").client.unwrap();
    let first = certificate(&cert);
    assert_eq!(presented(), first);

    files.issue(&authority, "server", &params);
    let second = certificate(&cert);
    assert_ne!(first, second);
    assert_eq!(presented(), second);
    assert_eq!(server.warnings(), [""; 0]);

    let good = (fs::read(&cert).unwrap(), fs::read(&key).unwrap());
    let third = files.issue(&authority, "third", &params);
    for (file, bad, says) in [
        (&cert, b"-----BEGIN CERTIFICATE-----\nMII".to_vec(), "server.pem: it is damaged"),
        (&cert, Vec::new(), "server.pem: it holds no certificate; it is empty"),
        (
            &cert,
            fs::read(&third.0).unwrap(),
            "server.key: the key does not belong to the first certificate in ",
        ),
        (&key, fs::read(&third.1).unwrap(), "server.key: the key does not belong"),
    ] {
        fs::write(file, bad).unwrap();
        assert_eq!(presented(), second, "{says}");
        let warnings = server.warnings();
        assert!(warnings.len() == 1 && warnings[0].contains(says), "{warnings:?}");
        fs::write(&cert, &good.0).unwrap();
        fs::write(&key, &good.1).unwrap();
        assert_eq!(server.warnings(), [""; 0], "{says}");
    }
    fs::remove_file(&key).unwrap();
    assert_eq!(presented(), second);
    assert!(
        server.warnings()[0].contains("server.key: it cannot be read"),
        "{:?}",
        server.warnings()
    );

    // The files are replaced one after the other, as certificate renewal tools do.
    fs::copy(&third.0, &cert).unwrap();
    assert_eq!(presented(), second);
    fs::copy(&third.1, &key).unwrap();
    assert_eq!(presented(), certificate(&third.0));
    assert_eq!(server.pin_sha256(), hex(&sha256(&certificate(&third.0))));
}

#[test]
fn a_new_authority_for_clients_holds_from_the_next_handshake() {
    let (files, authority, before, after) = (Files::new(), ca("ours"), ca("before"), ca("after"));
    let clients = files.write("clients.pem", before.pem());
    let server = files.server(&authority).client_ca(&clients).unwrap().checked_always();
    let (cert, key) =
        files.issue(&before, "client", &CertificateParams::new(vec!["orders".to_owned()]).unwrap());
    let client = RouteTls {
        client_cert_file: Some(cert),
        client_key_file: Some(key),
        ..files.trusting(&authority)
    };
    assert!(connect(&server, &client).server.is_ok());
    fs::write(&clients, "nonsense").unwrap();
    assert!(connect(&server, &client).server.is_ok());
    assert!(server.warnings()[0].contains("clients.pem: it holds no certificate; it is no PEM"));
    fs::write(&clients, after.pem()).unwrap();
    assert!(connect(&server, &client).server.is_err());
}

#[test]
fn a_client_is_named_by_what_its_certificate_says() {
    let (files, authority) = (Files::new(), ca("ours"));
    let named = |change: fn(&mut CertificateParams)| {
        let mut params = CertificateParams::default();
        params.distinguished_name = rcgen::DistinguishedName::new();
        change(&mut params);
        let certificate = certificate(&files.issue(&authority, "client", &params).0);
        let name = peer_of(std::slice::from_ref(&certificate)).unwrap().name().to_owned();
        name.replace(&hex(&sha256(&certificate)), "<digest>")
    };
    assert_eq!(named(|_| {}), "sha256:<digest>");
    // A common name can be any text.
    let common = |params: &mut CertificateParams| {
        params.distinguished_name.push(DnType::CommonName, "spiffe://corp/admin")
    };
    assert_eq!(named(common), "sha256:<digest>");
    let dns = |params: &mut CertificateParams| {
        params.distinguished_name.push(DnType::CommonName, "orders");
        params.subject_alt_names.push(SanType::DnsName("orders.internal".try_into().unwrap()));
    };
    assert_eq!(named(dns), "dns:orders.internal");
    let spiffe = |params: &mut CertificateParams| {
        params.distinguished_name.push(DnType::OrganizationName, "o".repeat(200));
        params.subject_alt_names.push(SanType::DnsName("orders.internal".try_into().unwrap()));
        params.subject_alt_names.push(SanType::URI("spiffe://shop/orders".try_into().unwrap()));
    };
    assert_eq!(named(spiffe), "uri:spiffe://shop/orders");
    let long = |params: &mut CertificateParams| {
        params
            .subject_alt_names
            .push(SanType::URI(format!("spiffe://shop/{}", "x".repeat(300)).try_into().unwrap()));
    };
    assert_eq!(named(long), "sha256:<digest>");
    assert_eq!(peer_of(&[]), None);
    assert!(
        peer_of(&[CertificateDer::from(vec![0x30, 0x82])]).unwrap().name().starts_with("sha256:")
    );
}

#[test]
fn a_file_that_cannot_be_used_says_which_and_why() {
    let (files, authority) = (Files::new(), ca("ours"));
    let (cert, key) = files.issue(
        &authority,
        "good",
        &CertificateParams::new(vec!["localhost".to_owned()]).unwrap(),
    );
    let gone = files.0.path().join("gone.pem");
    let long = files.write("long.pem", vec![b'x'; (1 << 20) + 1]);
    let locked = files.write(
        "locked.key",
        "-----BEGIN ENCRYPTED PRIVATE KEY-----\nhunter2\n-----END ENCRYPTED PRIVATE KEY-----\n",
    );
    let odd = files
        .write("odd.key", "-----BEGIN PRIVATE KEY-----\naHVudGVyMg==\n-----END PRIVATE KEY-----\n");
    for (cert, key, says) in [
        (&gone, &key, "gone.pem: it cannot be read: "),
        (&files.0.path().to_owned(), &key, "it is no file"),
        (&long, &key, "long.pem: it is longer than 1 MiB"),
        (
            &key,
            &cert,
            "good.key: it holds no certificate; it holds a key, and `-----BEGIN CERTIFICATE-----` is wanted",
        ),
        (
            &cert,
            &cert,
            "good.pem: it holds no private key; it holds a certificate, and `-----BEGIN PRIVATE KEY-----`",
        ),
        (&cert, &locked, "locked.key: its key is encrypted; decrypt it with `openssl pkey`"),
        (&cert, &odd, "odd.key: its key is damaged or of a kind that is not supported"),
    ] {
        let text = Tls::from_pem(cert, key).unwrap_err().to_string();
        assert!(text.contains(says) && !text.contains("hunter2"), "{text}");
    }
    let text = Tls::self_signed(["localhost"]).unwrap().client_ca(&gone).unwrap_err().to_string();
    assert!(text.contains("gone.pem: it cannot be read"), "{text}");
    assert!(Tls::self_signed([""; 0]).unwrap_err().to_string().contains("name the host"));

    let config = |change: &dyn Fn(&mut RouteTls)| {
        let mut tls = RouteTls::default();
        change(&mut tls);
        client_config(&tls, &[]).unwrap_err().to_string()
    };
    let text = config(&|tls| tls.ca_file = Some(gone.clone()));
    assert!(text.starts_with("config.ca_file: ") && text.contains("gone.pem"), "{text}");
    let pair = |cert: &PathBuf, key: &PathBuf| {
        config(&|tls| {
            (tls.client_cert_file, tls.client_key_file) = (Some(cert.clone()), Some(key.clone()))
        })
    };
    assert!(pair(&key, &key).starts_with("config.client_cert_file: "), "{}", pair(&key, &key));
    assert!(
        pair(&cert, &locked).starts_with("config.client_key_file: "),
        "{}",
        pair(&cert, &locked)
    );
}

#[test]
fn debug_shows_no_key() {
    let (files, authority) = (Files::new(), ca("ours"));
    let text = format!(
        "{:?}",
        files.server(&authority).client_ca(files.write("ca.pem", authority.pem())).unwrap()
    );
    let key = fs::read_to_string(files.0.path().join("server.key")).unwrap();
    assert!(text.contains("pin_sha256") && text.contains("server.pem"), "{text}");
    assert!(text.len() < 1_000 && key.lines().all(|line| !text.contains(line)), "{text}");
}

#[test]
fn a_digest_tells_that_a_file_of_a_row_changed() {
    let (files, authority) = (Files::new(), ca("ours"));
    let tls = files.trusting(&authority);
    let before = files_digest(&tls);
    assert_eq!(files_digest(&tls), before);
    fs::remove_file(tls.ca_file.as_ref().unwrap()).unwrap();
    let gone = files_digest(&tls);
    assert_ne!(gone, before);
    files.trusting(&ca("another"));
    assert!(![before, gone].contains(&files_digest(&tls)));
}

#[test]
fn early_data_is_off_and_old_versions_too() {
    let (files, authority) = (Files::new(), ca("ours"));
    let server = files.server(&authority).server_config(&[b"connectivity/1"]).unwrap();
    assert_eq!((server.max_early_data_size, server.send_half_rtt_data), (0, false));
    let client = client_config(&files.trusting(&authority), &[b"mcp/1"]).unwrap();
    assert!(!client.enable_early_data);
    let error = handshake(&Arc::new(server), &Arc::new(client), "localhost").client.unwrap_err();
    assert_eq!(explain(&error), "the other side speaks none of our protocols");
    assert_eq!(
        explain_alert(AlertDescription::CertificateRequired.into()),
        explain(&Error::AlertReceived(AlertDescription::CertificateRequired))
    );
}

#[test]
fn the_name_to_ask_for_is_the_rows_or_the_hosts() {
    let name_for =
        |tls: &RouteTls, host: &str| server_name(tls, host).map(|name| name.to_str().into_owned());
    let plain = RouteTls::default();
    assert_eq!(name_for(&plain, "billing.internal").unwrap(), "billing.internal");
    assert_eq!(name_for(&plain, "[::1]").unwrap(), "::1");
    assert!(name_for(&plain, "a b").unwrap_err().to_string().starts_with("endpoint: "));
    let named = |name: &str| RouteTls { server_name: Some(name.to_owned()), ..RouteTls::default() };
    assert_eq!(name_for(&named("10.0.0.5"), "billing.internal").unwrap(), "10.0.0.5");
    assert!(
        name_for(&named("a b"), "billing.internal")
            .unwrap_err()
            .to_string()
            .starts_with("config.server_name: ")
    );
}
