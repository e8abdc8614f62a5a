//! The admin tools: a catalog of their own, with writes that are dry runs unless requested
//! otherwise.

use connectivity_core::{Mcp, McpListener, MemoryRoutes, Router, Server, Tls};
use serde_json::{Value, json};
use tests::shop::router;

use super::http::{post, request, serve};

struct AdminServer {
    _dir: tempfile::TempDir,
    router: Router,
    address: String,
}

const TOKEN: &str = "authorization: Bearer s3cret\r\n";

async fn start_server() -> AdminServer {
    let dir = tempfile::tempdir().unwrap();
    let router = Router::open_or_create(dir.path().join("routes.db")).await.unwrap();
    let address = serve(Mcp::admin(&router).unwrap().bearer("operator", "s3cret")).await;
    AdminServer { _dir: dir, router, address }
}

impl AdminServer {
    async fn call(&self, tool: &str, arguments: Value) -> Value {
        request(&self.address, TOKEN, "tools/call", json!({ "name": tool, "arguments": arguments }))
            .await
    }

    async fn call_ok(&self, tool: &str, arguments: Value) -> Value {
        let response = self.call(tool, arguments).await;
        assert_eq!(response["result"]["isError"], false, "{response}");
        response["result"]["structuredContent"].clone()
    }

    async fn call_err(&self, tool: &str, arguments: Value) -> Value {
        let response = self.call(tool, arguments).await;
        assert_eq!(response["result"]["isError"], true, "{response}");
        serde_json::from_str(response["result"]["content"][0]["text"].as_str().unwrap()).unwrap()
    }
}

#[tokio::test]
async fn a_write_only_tries_unless_it_is_told_otherwise() {
    let server = start_server().await;
    let row = json!({ "name": "billing", "strategy": "noop" });
    for arguments in
        [row.clone(), json!({ "name": "billing", "strategy": "noop", "dry_run": true })]
    {
        let tried = server.call_ok("routes.upsert", arguments).await;
        assert_eq!(
            (&tried["dry_run"], &tried["changes"][0]["kind"]),
            (&json!(true), &json!("insert")),
            "{tried}"
        );
        assert_eq!(server.call_ok("routes.list", json!({})).await, json!({ "routes": [] }));
    }
    let done = server
        .call_ok(
            "routes.upsert",
            json!({ "name": "billing", "strategy": "noop", "dry_run": false }),
        )
        .await;
    assert_eq!(done["outcome"], "done");
    assert_eq!(
        server.call_ok("routes.get", json!({ "name": "billing" })).await["route"]["strategy"],
        "noop"
    );
    assert!(
        server.router.inspect().route("billing").is_some(),
        "it is in force when the tool has answered"
    );
    let generation = server.router.generation();
    let moved = json!({ "name": "billing", "strategy": "local", "dry_run": false });
    server.call_ok("routes.set_strategy", moved).await;
    server.call_ok("routes.delete", json!({ "name": "billing", "dry_run": false })).await;
    server.call_ok("routes.rollback", json!({ "generation": generation, "dry_run": false })).await;
    let history = server.call_ok("routes.history", json!({ "limit": 2 })).await;
    assert_eq!(history["changes"].as_array().unwrap().len(), 2);
    assert_eq!(history["changes"][0]["after"]["strategy"], "noop", "{history}");
    assert_eq!(server.call_ok("services.inspect", json!({})).await["routes"][0]["name"], "billing");
}

#[tokio::test]
async fn names_values_and_options_are_data() {
    let server = start_server().await;
    let odd = ["'; DROP TABLE routes; --", "--help", "", "a b", "../x"];
    for name in odd {
        let refused = server
            .call_err(
                "routes.upsert",
                json!({ "name": name, "strategy": "noop", "dry_run": false }),
            )
            .await;
        assert_eq!(refused["kind"], "invalid", "{refused}");
        assert_eq!(
            server.call_ok("routes.get", json!({ "name": name })).await,
            json!({ "route": null })
        );
        assert_eq!(
            server.call_err("routes.delete", json!({ "name": name, "dry_run": false })).await["kind"],
            "not_found"
        );
    }
    for (tool, arguments) in [
        ("routes.upsert", json!({ "name": "billing", "strategy": "htpp" })),
        (
            "routes.upsert",
            json!({ "name": "billing", "strategy": "local", "config": { "timeout": 1 } }),
        ),
        ("routes.upsert", json!({ "name": "billing", "strategy": "local", "dry-run": false })),
        ("routes.upsert", json!({ "name": "billing", "strategy": "local", "dry_run": "no" })),
        ("routes.rollback", json!({ "generation": -1 })),
        ("routes.history", json!({ "limit": "all" })),
        ("routes.list", json!({ "where": "1=1" })),
    ] {
        server.call_err(tool, arguments).await;
    }
    assert_eq!(
        server.call_ok("routes.list", json!({})).await,
        json!({ "routes": [] }),
        "nothing was written"
    );
}

#[tokio::test]
async fn plain_secrets_in_a_row_are_not_shown() {
    let server = start_server().await;
    let config = json!({ "headers": { "authorization": "Bearer hunter2", "x-key": "env:KEY" } });
    let row = json!({ "name": "billing", "strategy": "http", "endpoint": "http://billing.example.com/", "config": config, "dry_run": false });
    let mut outputs = vec![server.call_ok("routes.upsert", row).await];
    for (tool, arguments) in [
        ("routes.list", json!({})),
        ("routes.get", json!({ "name": "billing" })),
        ("routes.history", json!({})),
        ("services.inspect", json!({})),
    ] {
        outputs.push(server.call_ok(tool, arguments).await);
    }
    for output in &outputs {
        assert!(!output.to_string().contains("hunter2"), "{output}");
    }
    let config = &outputs[2]["route"]["config"];
    assert_eq!(config["headers"]["x-key"], "env:KEY", "a reference is no secret");
    let back = json!({ "name": "billing", "strategy": "http", "config": config, "dry_run": false });
    assert!(
        server.call_err("routes.upsert", back).await["message"]
            .as_str()
            .unwrap()
            .contains("(hidden)")
    );
}

#[tokio::test]
async fn they_are_for_callers_that_were_authenticated() {
    let server = start_server().await;
    let list = json!({ "jsonrpc": "2.0", "id": 1, "method": "tools/list" }).to_string();
    assert_eq!(post(&server.address, "", &list).await.0, 401);
    let without_rule = serve(Mcp::admin(&server.router).unwrap()).await;
    assert_eq!(post(&without_rule, "", &list).await.0, 401, "without a rule there is nobody");
    let start = |address: &'static str| {
        let tls = Tls::self_signed(["localhost"]).unwrap();
        let listener = McpListener::offering(Mcp::admin(&server.router).unwrap(), address, tls)
            .open_to_everyone();
        Server::builder(&server.router).expose_all().listener("mcp-admin", listener).start()
    };
    assert!(start("0.0.0.0:0").await.is_err(), "everyone is no identity");
    assert!(start("127.0.0.1:0").await.is_ok());
    assert!(Mcp::admin(&router(&MemoryRoutes::new())).is_err(), "rows in memory have no admin");
}

#[tokio::test]
async fn they_say_what_they_do() {
    let server = start_server().await;
    let listed = request(&server.address, TOKEN, "tools/list", json!({})).await;
    let tools = listed["result"]["tools"].as_array().unwrap();
    let names: Vec<_> = tools.iter().map(|tool| tool["name"].as_str().unwrap()).collect();
    let all = [
        "routes.delete",
        "routes.get",
        "routes.history",
        "routes.list",
        "routes.rollback",
        "routes.set_strategy",
        "routes.upsert",
        "services.inspect",
    ];
    assert_eq!(names, all);
    for tool in tools {
        let writes = tool["inputSchema"]["properties"]["dry_run"]["default"] == true;
        assert_eq!(tool["annotations"]["readOnlyHint"], !writes, "{tool}");
        assert_eq!(tool["annotations"]["destructiveHint"], writes, "{tool}");
    }
}
