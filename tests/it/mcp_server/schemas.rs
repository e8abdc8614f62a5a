//! Values of every serde shape through a tool and back, validated against the tool's schemas.

use std::collections::BTreeMap;

use connectivity_core::{
    Error, Exposure, HttpListener, Mcp, McpTransport, MemoryRoutes, Router, Server, Tls, register,
    service,
};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tests::shop::router;

use super::http::{request, serve};

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Order {
    id: String,
    lines: Vec<Line>,
    note: Option<String>,
    by_day: BTreeMap<i32, Line>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Line(char, u16);

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
enum External {
    Unit,
    New(u8),
    Tuple(u8, bool),
    Struct { x: f64 },
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind")]
enum Internal {
    A { x: u8 },
    B,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", content = "value")]
enum Adjacent {
    A(Vec<u8>),
    B(String),
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
enum Untagged {
    Number(u64),
    Text(String),
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Tree {
    value: u8,
    children: Vec<Self>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Flat {
    a: u8,
    #[serde(flatten)]
    rest: BTreeMap<String, u8>,
}

#[service]
trait Shapes {
    async fn order(&self, value: Order) -> Result<Order, Error>;
    async fn external(&self, value: External) -> Result<External, Error>;
    async fn internal(&self, value: Internal) -> Result<Internal, Error>;
    async fn adjacent(&self, value: Adjacent) -> Result<Adjacent, Error>;
    async fn untagged(&self, value: Untagged) -> Result<Untagged, Error>;
    async fn tree(&self, value: Tree) -> Result<Tree, Error>;
    async fn trees(&self, value: Vec<Tree>) -> Result<Vec<Tree>, Error>;
    async fn flat(&self, value: Flat) -> Result<Flat, Error>;
    async fn option(&self, value: Option<u32>) -> Result<Option<u32>, Error>;
    async fn map(&self, value: BTreeMap<String, i8>) -> Result<BTreeMap<String, i8>, Error>;
    async fn unit(&self, value: ()) -> Result<(), Error>;
    async fn tuple(&self, value: (bool, String)) -> Result<(bool, String), Error>;
}

struct Echo;

macro_rules! echo {
    ($($method:ident: $type:ty;)+) => {
        impl Shapes for Echo {$(
            async fn $method(&self, value: $type) -> Result<$type, Error> {
                Ok(value)
            }
        )+}
    };
}

echo! {
    order: Order;
    external: External;
    internal: Internal;
    adjacent: Adjacent;
    untagged: Untagged;
    tree: Tree;
    trees: Vec<Tree>;
    flat: Flat;
    option: Option<u32>;
    map: BTreeMap<String, i8>;
    unit: ();
    tuple: (bool, String);
}

fn is_valid(schema: &Value, value: &Value) -> bool {
    jsonschema::draft202012::new(schema).unwrap().is_valid(value)
}

#[tokio::test]
async fn every_form_goes_through_a_tool_and_back() {
    let router = router(&MemoryRoutes::new());
    register!(router, Shapes => Echo).unwrap();
    let address = serve(Mcp::new(router.inbound(Exposure::all()))).await;
    let listed = request(&address, "", "tools/list", json!({})).await;
    let tool = |name: &str| {
        let mut tools = listed["result"]["tools"].as_array().unwrap().iter();
        tools.find(|tool| tool["name"] == name).unwrap_or_else(|| panic!("{name}"))
    };
    let tree = json!({ "value": 1, "children": [{ "value": 2, "children": [] }] });
    for (method, value, wrong) in [
        (
            "order",
            json!({ "id": "1", "lines": [["a", 1]], "note": "x", "by_day": { "-1": ["b", 2] } }),
            json!({ "id": 1 }),
        ),
        ("external", json!("Unit"), json!("unit")),
        ("external", json!({ "New": 1 }), json!({ "New": 256 })),
        ("external", json!({ "Tuple": [1, true] }), json!({ "Tuple": [1] })),
        ("external", json!({ "Struct": { "x": 0.5 } }), json!({ "Struct": {} })),
        ("internal", json!({ "kind": "A", "x": 1 }), json!("A")),
        ("internal", json!({ "kind": "B" }), json!(7)),
        ("adjacent", json!({ "kind": "A", "value": [1] }), json!({ "kind": "C", "value": [1] })),
        ("untagged", json!("x"), Value::Null),
        ("tree", tree.clone(), json!({ "value": 1, "children": [{}] })),
        ("trees", json!([tree]), json!([[]])),
        ("flat", json!({ "a": 1, "b": 2 }), json!([])),
        ("option", json!(1), json!("1")),
        ("option", Value::Null, json!(-1)),
        ("map", json!({ "a": -128 }), json!({ "a": -129 })),
        ("unit", Value::Null, json!({})),
        ("tuple", json!([true, "x"]), json!([true])),
    ] {
        let name = format!("shapes.{method}");
        let (tool, arguments) = (tool(&name), json!({ "value": value }));
        assert!(is_valid(&tool["inputSchema"], &arguments), "{tool} {arguments}");
        let response =
            request(&address, "", "tools/call", json!({ "name": name, "arguments": arguments }))
                .await;
        let content = &response["result"]["structuredContent"];
        assert!(is_valid(&tool["outputSchema"], content), "{tool} {response}");
        assert!(*content == value || content["result"] == value, "{response}");
        let text: Value =
            serde_json::from_str(response["result"]["content"][0]["text"].as_str().unwrap())
                .unwrap();
        assert_eq!(text, *content, "the text is the same");
        let wrong = json!({ "value": wrong });
        let refused =
            request(&address, "", "tools/call", json!({ "name": name, "arguments": wrong })).await;
        assert_eq!(refused["result"]["isError"], true, "{name} {wrong} {refused}");
        let says_nothing = method == "untagged";
        assert!(says_nothing || !is_valid(&tool["inputSchema"], &wrong), "{tool} {wrong}");
    }
}

/// Calls methods through a client and asserts that each returns its argument.
macro_rules! assert_round_trip {
    ($client:expr, $($method:ident: $value:expr;)+) => {$(
        let value = $value;
        assert_eq!($client.$method(value.clone()).await.unwrap(), value, stringify!($method));
    )+};
}

#[tokio::test]
async fn every_form_comes_back_to_a_typed_client() {
    let router = router(&MemoryRoutes::new());
    register!(router, Shapes => Echo).unwrap();
    let tls = Tls::self_signed(["localhost"]).unwrap();
    let pinned = format!(r#"{{"pin_sha256":"{}"}}"#, tls.pin_sha256());
    let http = HttpListener::new("127.0.0.1:0").mcp(|mcp| mcp);
    let builder =
        Server::builder(&router).expose_all().mcp("127.0.0.1:0", tls).listener("http", http);
    let server = builder.start().await.unwrap();
    let url = format!("http://{}/mcp", server.address("http").unwrap());
    for (endpoint, config) in [(server.address("mcp").unwrap(), &*pinned), (&url, "{}")] {
        let routes = MemoryRoutes::new();
        routes.set("shapes", "mcp", Some(endpoint), config);
        let client_router =
            Router::builder().source(routes).transport("mcp", McpTransport::new().allow_internal());
        let client = ShapesClient::new(&client_router.build().unwrap());
        let leaf = Tree { value: 2, children: Vec::new() };
        let tree = Tree { value: 1, children: vec![leaf.clone(), leaf] };
        let by_day = BTreeMap::from([(-1, Line('"', 2))]);
        assert_round_trip! { client,
            order: Order { id: "1".into(), lines: vec![Line('a', 1)], note: None, by_day };
            external: External::Unit;
            external: External::New(1);
            external: External::Tuple(1, true);
            external: External::Struct { x: 0.1 };
            internal: Internal::A { x: 1 };
            internal: Internal::B;
            adjacent: Adjacent::A(vec![1]);
            adjacent: Adjacent::B("{\"result\":1}".into());
            untagged: Untagged::Number(u64::MAX);
            untagged: Untagged::Text("null".into());
            tree: tree.clone();
            trees: vec![tree];
            flat: Flat { a: 1, rest: BTreeMap::from([("b".to_owned(), 2)]) };
            option: Some(u32::MAX);
            option: None::<u32>;
            map: BTreeMap::from([("result".to_owned(), -128)]);
            unit: ();
            tuple: (true, "\u{0}\n<".to_owned());
        }
    }
}
