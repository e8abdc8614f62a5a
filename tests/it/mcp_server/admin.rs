//! The admin tools: a catalog of their own, with writes that are dry runs unless requested
//! otherwise.

use connectivity_core::{Mcp, McpListener, MemoryRoutes, Router, Server, Tls};
use serde_json::{Value, json};
use tests::shop::router;

use super::http::{ask, post, serve};

struct Office {
    _dir: tempfile::TempDir,
    router: Router,
    address: String,
}

const TOKEN: &str = "authorization: Bearer s3cret\r\n";

async fn office() -> Office {
    let dir = tempfile::tempdir().unwrap();
    let router = Router::open_or_create(dir.path().join("routes.db")).await.unwrap();
    let address = serve(Mcp::admin(&router).unwrap().bearer("operator", "s3cret")).await;
    Office { _dir: dir, router, address }
}

impl Office {
    async fn call(&self, tool: &str, arguments: Value) -> Value {
        ask(&self.address, TOKEN, "tools/call", json!({ "name": tool, "arguments": arguments }))
            .await
    }

    async fn done(&self, tool: &str, arguments: Value) -> Value {
        let answer = self.call(tool, arguments).await;
        assert_eq!(answer["result"]["isError"], false, "{answer}");
        answer["result"]["structuredContent"].clone()
    }

    async fn refused(&self, tool: &str, arguments: Value) -> Value {
        let answer = self.call(tool, arguments).await;
        assert_eq!(answer["result"]["isError"], true, "{answer}");
        serde_json::from_str(answer["result"]["content"][0]["text"].as_str().unwrap()).unwrap()
    }
}

#[tokio::test]
async fn a_write_only_tries_unless_it_is_told_otherwise() {
    let office = office().await;
    let row = json!({ "name": "billing", "strategy": "noop" });
    for arguments in
        [row.clone(), json!({ "name": "billing", "strategy": "noop", "dry_run": true })]
    {
        let tried = office.done("routes.upsert", arguments).await;
        assert_eq!(
            (&tried["dry_run"], &tried["changes"][0]["kind"]),
            (&json!(true), &json!("insert")),
            "{tried}"
        );
        assert_eq!(office.done("routes.list", json!({})).await, json!({ "routes": [] }));
    }
    let done = office
        .done("routes.upsert", json!({ "name": "billing", "strategy": "noop", "dry_run": false }))
        .await;
    assert_eq!(done["outcome"], "done");
    assert_eq!(
        office.done("routes.get", json!({ "name": "billing" })).await["route"]["strategy"],
        "noop"
    );
    assert!(
        office.router.inspect().route("billing").is_some(),
        "it is in force when the tool has answered"
    );
    let generation = office.router.generation();
    let moved = json!({ "name": "billing", "strategy": "local", "dry_run": false });
    office.done("routes.set_strategy", moved).await;
    office.done("routes.delete", json!({ "name": "billing", "dry_run": false })).await;
    office.done("routes.rollback", json!({ "generation": generation, "dry_run": false })).await;
    let history = office.done("routes.history", json!({ "limit": 2 })).await;
    assert_eq!(history["changes"].as_array().unwrap().len(), 2);
    assert_eq!(history["changes"][0]["after"]["strategy"], "noop", "{history}");
    assert_eq!(office.done("services.inspect", json!({})).await["routes"][0]["name"], "billing");
}

#[tokio::test]
async fn names_values_and_options_are_data() {
    let office = office().await;
    let odd = ["'; DROP TABLE routes; --", "--help", "", "a b", "../x"];
    for name in odd {
        let refused = office
            .refused("routes.upsert", json!({ "name": name, "strategy": "noop", "dry_run": false }))
            .await;
        assert_eq!(refused["kind"], "invalid", "{refused}");
        assert_eq!(
            office.done("routes.get", json!({ "name": name })).await,
            json!({ "route": null })
        );
        assert_eq!(
            office.refused("routes.delete", json!({ "name": name, "dry_run": false })).await["kind"],
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
        office.refused(tool, arguments).await;
    }
    assert_eq!(
        office.done("routes.list", json!({})).await,
        json!({ "routes": [] }),
        "nothing was written"
    );
}

#[tokio::test]
async fn plain_secrets_in_a_row_are_not_shown() {
    let office = office().await;
    let config = json!({ "headers": { "authorization": "Bearer hunter2", "x-key": "env:KEY" } });
    let row = json!({ "name": "billing", "strategy": "http", "endpoint": "http://billing.example.com/", "config": config, "dry_run": false });
    let mut shown = vec![office.done("routes.upsert", row).await];
    for (tool, arguments) in [
        ("routes.list", json!({})),
        ("routes.get", json!({ "name": "billing" })),
        ("routes.history", json!({})),
        ("services.inspect", json!({})),
    ] {
        shown.push(office.done(tool, arguments).await);
    }
    for shown in &shown {
        assert!(!shown.to_string().contains("hunter2"), "{shown}");
    }
    let config = &shown[2]["route"]["config"];
    assert_eq!(config["headers"]["x-key"], "env:KEY", "a reference is no secret");
    let back = json!({ "name": "billing", "strategy": "http", "config": config, "dry_run": false });
    assert!(
        office.refused("routes.upsert", back).await["message"]
            .as_str()
            .unwrap()
            .contains("(hidden)")
    );
}

#[tokio::test]
async fn they_are_for_callers_that_were_authenticated() {
    let office = office().await;
    let list = json!({ "jsonrpc": "2.0", "id": 1, "method": "tools/list" }).to_string();
    assert_eq!(post(&office.address, "", &list).await.0, 401);
    let without_rule = serve(Mcp::admin(&office.router).unwrap()).await;
    assert_eq!(post(&without_rule, "", &list).await.0, 401, "without a rule there is nobody");
    let start = |address: &'static str| {
        let tls = Tls::self_signed(["localhost"]).unwrap();
        let listener = McpListener::offering(Mcp::admin(&office.router).unwrap(), address, tls)
            .open_to_everyone();
        Server::builder(&office.router).expose_all().listener("mcp-admin", listener).start()
    };
    assert!(start("0.0.0.0:0").await.is_err(), "everyone is no identity");
    assert!(start("127.0.0.1:0").await.is_ok());
    assert!(Mcp::admin(&router(&MemoryRoutes::new())).is_err(), "rows in memory have no admin");
}

#[tokio::test]
async fn they_say_what_they_do() {
    let office = office().await;
    let listed = ask(&office.address, TOKEN, "tools/list", json!({})).await;
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
