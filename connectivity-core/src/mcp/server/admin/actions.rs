//! Definitions of the admin tools, as clients see them.

use rmcp::model::ToolAnnotations;
use serde_json::{Map, Value, json};

/// Maximum number of changes that `routes.history` returns.
pub(super) const MAX_HISTORY: usize = 1_000;

/// Operation of an admin tool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::mcp::server) enum Action {
    List,
    Get,
    Upsert,
    SetStrategy,
    Delete,
    History,
    Rollback,
    Inspect,
}

impl Action {
    pub(super) const ALL: &[Self] = &[
        Self::List,
        Self::Get,
        Self::Upsert,
        Self::SetStrategy,
        Self::Delete,
        Self::History,
        Self::Rollback,
        Self::Inspect,
    ];

    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::List => "routes.list",
            Self::Get => "routes.get",
            Self::Upsert => "routes.upsert",
            Self::SetStrategy => "routes.set_strategy",
            Self::Delete => "routes.delete",
            Self::History => "routes.history",
            Self::Rollback => "routes.rollback",
            Self::Inspect => "services.inspect",
        }
    }

    pub(super) const fn docs(self) -> &'static str {
        match self {
            Self::List => "Lists all routes as they stand in the file, good and bad.",
            Self::Get => "Reads the route of one name, if there is one.",
            Self::Upsert => {
                "Adds a route, or changes the one of that name. What is not stated stays as it is. Only tries it, unless `dry_run` is false."
            }
            Self::SetStrategy => {
                "Gives a route another strategy; its endpoint and config stay. Only tries it, unless `dry_run` is false."
            }
            Self::Delete => {
                "Deletes a route; its calls go by the service's route then, or to what is registered in the process. Only tries it, unless `dry_run` is false."
            }
            Self::History => "Reads the newest changes of routes, newest first.",
            Self::Rollback => {
                "Puts all routes, or the one named, back to what they were at a generation, which `routes.history` shows. Only tries it, unless `dry_run` is false."
            }
            Self::Inspect => {
                "Shows every route with what became of it in this process, and what is wrong; and the services that it knows."
            }
        }
    }

    /// Returns the names of the arguments, and of the required ones.
    fn arguments(self) -> (Vec<&'static str>, &'static [&'static str]) {
        match self {
            Self::List | Self::Inspect => (vec![], &[]),
            Self::Get => (vec!["name"], &["name"]),
            Self::Upsert => {
                (vec!["name", "strategy", "endpoint", "config", "dry_run"], &["name", "strategy"])
            }
            Self::SetStrategy => (vec!["name", "strategy", "dry_run"], &["name", "strategy"]),
            Self::Delete => (vec!["name", "dry_run"], &["name"]),
            Self::History => (vec!["name", "limit"], &[]),
            Self::Rollback => (vec!["generation", "name", "dry_run"], &["generation"]),
        }
    }

    /// Returns the schema of the arguments.
    pub(super) fn input(self) -> Value {
        let (arguments, required) = self.arguments();
        let properties: Map<_, _> =
            arguments.iter().map(|name| ((*name).to_owned(), argument(name))).collect();
        json!({
            "type": "object", "properties": properties, "required": required, "additionalProperties": false
        })
    }

    /// Returns the schema of the result.
    pub(super) fn output(self) -> Value {
        let objects = json!({ "type": "array", "items": { "type": "object" } });
        let (properties, required) = match self {
            Self::List => (json!({ "routes": objects }), json!(["routes"])),
            Self::Get => (json!({ "route": { "type": ["object", "null"] } }), json!(["route"])),
            Self::History => (json!({ "changes": objects }), json!(["changes"])),
            Self::Inspect => {
                let list = &objects;
                (
                    json!({ "generation": { "type": "integer" }, "routes": list, "services": list }),
                    json!(["generation"]),
                )
            }
            Self::Upsert | Self::SetStrategy | Self::Delete | Self::Rollback => {
                let mut properties = json!({ "outcome": { "type": "string" }, "dry_run": { "type": "boolean" }, "changes": objects });
                if self == Self::Rollback {
                    properties["bad"] = json!({ "type": "array", "items": { "type": "string" } });
                }
                (properties, json!(["outcome", "dry_run", "changes"]))
            }
        };
        json!({ "type": "object", "properties": properties, "required": required })
    }

    pub(super) fn annotations(self) -> ToolAnnotations {
        let annotations = ToolAnnotations::new().open_world(false);
        match self {
            Self::List | Self::Get | Self::History | Self::Inspect => {
                annotations.read_only(true).idempotent(true).destructive(false)
            }
            Self::Upsert | Self::SetStrategy | Self::Delete | Self::Rollback => {
                annotations.read_only(false).idempotent(true).destructive(true)
            }
        }
    }
}

fn argument(name: &str) -> Value {
    match name {
        "name" => {
            json!({ "type": "string", "description": "A service, or one of its methods: billing, billing.quote" })
        }
        "strategy" => {
            json!({ "type": "string", "description": "local, noop, or the word of a transport" })
        }
        "endpoint" => {
            json!({ "type": "string", "description": "Where the transport goes; an empty text takes it away" })
        }
        "config" => json!({ "type": "object", "description": "The whole config" }),
        "limit" => {
            json!({ "type": "integer", "minimum": 1, "maximum": MAX_HISTORY, "default": 20 })
        }
        "generation" => {
            json!({ "type": "integer", "minimum": 0, "description": "What was changed after it is undone" })
        }
        _ => {
            json!({ "type": "boolean", "default": true, "description": "Says what would be done, or why not, and does nothing" })
        }
    }
}
