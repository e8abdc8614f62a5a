//! Who may push, and whom a publisher trusts.

use connectivity_core::{RouteConfig, RouteTls, Strategy};

use super::*;

const TABLE: &str = "CREATE TABLE t (v INT); INSERT INTO t VALUES (1)";

/// What becomes of a push.
enum Expected {
    Taken,
    Failed(&'static str),
}

use Expected::{Failed, Taken};

fn row(keys: &str) -> RouteTls {
    let strategy = Strategy::parse("dbsync").unwrap();
    RouteConfig::parse(&format!("{{{keys}}}"), &strategy).unwrap().tls
}

#[tokio::test]
async fn a_publisher_and_a_subscriber_verify_each_other() {
    let (files, stranger_files, self_files) = (Files::new(), Files::new(), Files::new());
    let (fleet, other) = (ca("fleet"), ca("other"));
    let ca_file = files.write("ca.pem", &fleet.pem());
    let other_file = files.write("other.pem", &other.pem());
    let server = Identity::new(Some(&fleet), "127.0.0.1", |_| {});
    let main = files.client_identity(&Identity::new(Some(&fleet), "main.internal", |_| {}));
    let stranger =
        stranger_files.client_identity(&Identity::new(Some(&other), "main.internal", |_| {}));
    let alone = Identity::new(None, "alone.internal", |_| {});
    let alone_keys = self_files.client_identity(&alone);
    let trusted = format!(r#""ca_file":{ca_file:?}"#);
    let by_ca = || tls(&server).client_ca(&ca_file).unwrap();
    let by_pin = |pin: &str| tls(&server).client_pins([pin]).unwrap();
    let wrong_pin = "ab".repeat(32);
    for (label, identity, pushers, keys, expected) in [
        ("a certificate of the fleet", by_ca(), &[][..], format!("{trusted},{main}"), Taken),
        ("its name", by_ca(), &["dns:main.internal"], format!("{trusted},{main}"), Taken),
        (
            "another name",
            by_ca(),
            &["dns:x"],
            format!("{trusted},{main}"),
            Failed("`dns:main.internal` may not push here"),
        ),
        ("no certificate", by_ca(), &[], trusted.clone(), Failed("certificate")),
        ("a stranger's", by_ca(), &[], format!("{trusted},{stranger}"), Failed("certificate")),
        ("a pinned one", by_pin(&pin_of(&alone)), &[], format!("{trusted},{alone_keys}"), Taken),
        (
            "one that is not pinned",
            by_pin(&wrong_pin),
            &[],
            format!("{trusted},{alone_keys}"),
            Failed("certificate"),
        ),
        ("no pinned one", by_pin(&wrong_pin), &[], trusted.clone(), Failed("certificate")),
        (
            "a server of another authority",
            by_ca(),
            &[],
            format!(r#""ca_file":{other_file:?},{main}"#),
            Failed("unknown issuer"),
        ),
        (
            "a server with another pin",
            by_ca(),
            &[],
            format!(r#""pin_sha256":"{wrong_pin}",{main}"#),
            Failed("wrong pin"),
        ),
    ] {
        let (source, dir) = (Source::new(TABLE), tempfile::tempdir().unwrap());
        let builder = Subscriber::builder(dir.path());
        let builder = pushers.iter().fold(builder, |builder, name| builder.pusher(*name));
        let subscriber = builder.open().await.unwrap();
        let listener = subscriber.listen("127.0.0.1:0", identity).await.unwrap();
        let builder = Publisher::builder(source.path(), Filter::new().table("t"));
        let publisher = builder.target(listener.address(), row(&keys)).start().await.unwrap();
        let state = || format!("{:?}", publisher.status().targets[0].state);
        match expected {
            Taken => until(label, || subscriber.status().has_db).await,
            Failed(cause) => {
                until(&format!("{label}: {}", state()), || state().contains(cause)).await;
                assert!(!subscriber.status().has_db, "{label}");
            }
        }
    }
}

#[tokio::test]
async fn an_address_that_others_reach_needs_a_rule() {
    let dir = tempfile::tempdir().unwrap();
    let identity = Identity::new(None, "localhost", |_| {});
    let subscriber = Subscriber::builder(dir.path()).open().await.unwrap();
    let error = subscriber.listen("0.0.0.0:0", tls(&identity)).await.unwrap_err().to_string();
    assert!(error.contains("open_to_everyone"), "{error}");
    let dir = tempfile::tempdir().unwrap();
    let subscriber = Subscriber::builder(dir.path()).open_to_everyone().open().await.unwrap();
    assert!(subscriber.listen("0.0.0.0:0", tls(&identity)).await.is_ok());
}

#[test]
fn a_pin_of_a_client_is_a_digest() {
    let identity = || Tls::self_signed(["localhost"]).unwrap();
    assert!(identity().client_pins(["ab".repeat(32)]).is_ok());
    for bad in [&["ab"][..], &[], &["ab", "zz"]] {
        assert!(identity().client_pins(bad).is_err(), "{bad:?}");
    }
}
