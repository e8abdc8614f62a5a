//! Types that existing applications have in their traits: those of well-known crates, and arguments
//! that are borrowed.
#![allow(dead_code, unnameable_types, reason = "contracts of which nobody else uses anything")]

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use connectivity_core::{Error, MemoryRoutes, register, service};

use tests::shop::router;
use tests::wires::Wires;

macro_rules! types {
    ($($name:ident: $type:ty = $value:expr;)+) => {
        #[service]
        pub trait Echo {
            $(async fn $name(&self, value: $type, after: u8) -> Result<$type, Error>;)+
        }

        struct Here;

        impl Echo for Here {
            $(async fn $name(&self, value: $type, after: u8) -> Result<$type, Error> {
                assert_eq!((&value, after), (&$value, 77));
                Ok(value)
            })+
        }

        async fn every_value_comes_back(client: &EchoClient, wire: &str) {
            $(
                let back = client.$name($value, 77).await;
                assert_eq!(back, Ok($value), "{} over {wire}", stringify!($name));
            )+
        }
    };
}

types! {
    chrono_instant: chrono::DateTime<chrono::Utc> = "2026-11-30T04:05:06.789Z".parse().unwrap();
    chrono_offset: chrono::DateTime<chrono::FixedOffset> = "2026-11-30T04:05:06+05:30".parse().unwrap();
    chrono_date: chrono::NaiveDate = "2026-02-28".parse().unwrap();
    chrono_local: Vec<chrono::NaiveDateTime> = vec!["2026-02-28T01:02:03".parse().unwrap()];
    time_instant: time::OffsetDateTime = time::OffsetDateTime::from_unix_timestamp(1_796_000_000).unwrap();
    time_date: Option<time::Date> = time::Date::from_ordinal_date(2026, 59).ok();
    uuid: uuid::Uuid = uuid::Uuid::from_u128(0x67e5_5044_10b1_426f_9247_bb68_0e5f_e0c8);
    uuids: BTreeMap<uuid::Uuid, u8> = BTreeMap::from([(uuid::Uuid::from_u128(7), 1)]);
    decimal: rust_decimal::Decimal = rust_decimal::Decimal::new(-123_456_789, 4);
    decimals: Vec<(rust_decimal::Decimal, u8)> = vec![(rust_decimal::Decimal::MAX, 1), (rust_decimal::Decimal::ZERO, 2)];
    url: url::Url = "https://example.com/a?b=c#d".parse().unwrap();
    json: serde_json::Value = serde_json::json!({"a": [1, -2.5, null, true], "b": {"c": "d"}});
    json_object: serde_json::Map<String, serde_json::Value> = serde_json::Map::from_iter([("a".to_owned(), 1.into())]);
    bytes: Bytes = Bytes::from_static(&[0, 250, 251, 252, 255]);
    vector: Vec<u8> = (0..=255).collect();
    path: PathBuf = PathBuf::from("/a/b");
    text: Cow<'static, str> = Cow::Borrowed("a");
}

#[tokio::test]
async fn values_of_well_known_crates_travel() {
    let server_router = router(&MemoryRoutes::new());
    register!(server_router, Echo => Here).unwrap();
    let wires = Wires::serve(&server_router, "echo").await;
    every_value_comes_back(&EchoClient::direct(Here), "no wire").await;
    every_value_comes_back(&EchoClient::rehearse(Here), "a rehearsal").await;
    for (wire, client) in wires.clients(EchoClient::new) {
        every_value_comes_back(&client, &wire).await;
    }
}

/// Every form in which an argument can be borrowed.
#[service]
pub trait Plain {
    async fn all<'a>(
        &self,
        ids: &[&str],
        paths: &'a [&'a Path],
        name: Cow<'_, str>,
        numbers: Cow<'a, [u32]>,
        bytes: &[u8],
        key: &[u8; 2],
    ) -> Result<String, Error>;
}

#[service]
#[async_trait]
pub trait Boxed: Send + Sync {
    async fn all<'a>(
        &self,
        ids: &[&str],
        paths: &'a [&'a Path],
        name: Cow<'_, str>,
        numbers: Cow<'a, [u32]>,
        bytes: &[u8],
        key: &[u8; 2],
    ) -> Result<String, Error>;
}

impl Plain for Here {
    async fn all<'a>(
        &self,
        ids: &[&str],
        paths: &'a [&'a Path],
        name: Cow<'_, str>,
        numbers: Cow<'a, [u32]>,
        bytes: &[u8],
        key: &[u8; 2],
    ) -> Result<String, Error> {
        tokio::task::yield_now().await;
        Ok(format!("{ids:?} {paths:?} {name:?} {numbers:?} {bytes:?} {key:?}"))
    }
}

#[async_trait]
impl Boxed for Here {
    async fn all<'a>(
        &self,
        ids: &[&str],
        paths: &'a [&'a Path],
        name: Cow<'_, str>,
        numbers: Cow<'a, [u32]>,
        bytes: &[u8],
        key: &[u8; 2],
    ) -> Result<String, Error> {
        Plain::all(self, ids, paths, name, numbers, bytes, key).await
    }
}

macro_rules! call {
    ($client:expr, $name:expr) => {{
        let (id, path) = (String::from("7"), PathBuf::from("/a"));
        let numbers = Cow::Borrowed(&[300_u32, 4][..]);
        let ids = [id.as_str(), "8"];
        $client.all(&ids, &[&path], $name, numbers, &[0, 255], &[1, 2]).await.unwrap()
    }};
}

const ALL: &str = r#"["7", "8"] ["/a"] "name" [300, 4] [0, 255] [1, 2]"#;

#[tokio::test]
async fn arguments_can_be_borrowed_in_every_usual_form() {
    let server_router = router(&MemoryRoutes::new());
    register!(server_router, Plain => Here, Boxed => Here).unwrap();
    let wires = Wires::serve(&server_router, "plain").await;
    let mut clients = wires.clients(PlainClient::new);
    clients.push(("no wire".into(), PlainClient::direct(Here)));
    clients.push(("a rehearsal".into(), PlainClient::rehearse(Here)));
    clients.push(("a router".into(), PlainClient::new(&server_router)));
    for (wire, client) in clients {
        assert_eq!(call!(client, Cow::Borrowed("name")), ALL, "{wire}");
        assert_eq!(call!(client, Cow::Owned("name".into())), ALL, "{wire}");
    }
    let wires = Wires::serve(&server_router, "boxed").await;
    let mut clients = wires.clients(BoxedClient::new);
    clients.push(("no wire".into(), BoxedClient::direct(Here)));
    clients.push(("a rehearsal".into(), BoxedClient::rehearse(Here)));
    for (wire, client) in clients {
        let client: Arc<dyn Boxed> = Arc::new(client);
        assert_eq!(call!(client, Cow::Borrowed("name")), ALL, "{wire}");
        assert_eq!(call!(client, Cow::Owned("name".into())), ALL, "{wire}");
    }
}
