//! The admin tools: a catalogue of their own, in which a write is a dry run by default.

pub(super) mod actions;
mod shown;

use std::sync::Arc;

use rmcp::model::{CallToolResult, JsonObject};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::tool::{Kind, Listed, Spelling, Tools, failure, into_object, sorted, success};
use crate::context;
use crate::name::shown as shown_name;
use crate::router::Router;
use crate::routes::{Admin, AdminError, Change, RouteSpec};

use actions::{Action, MAX_HISTORY};

/// The admin tools, and the router and routes they work on.
#[derive(Debug)]
pub(super) struct AdminTools {
    router: Router,
    admin: Admin,
    tools: Tools,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NoArguments {}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Get {
    name: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct History {
    name: Option<String>,
    limit: Option<usize>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Upsert {
    name: String,
    strategy: String,
    endpoint: Option<String>,
    config: Option<JsonObject>,
    dry_run: Option<bool>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SetStrategy {
    name: String,
    strategy: String,
    dry_run: Option<bool>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Delete {
    name: String,
    dry_run: Option<bool>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Rollback {
    generation: u64,
    name: Option<String>,
    dry_run: Option<bool>,
}

/// Reason why an admin tool failed.
enum ToolError {
    Arguments(String),
    Admin(AdminError),
}

impl From<AdminError> for ToolError {
    fn from(error: AdminError) -> Self {
        Self::Admin(error)
    }
}

impl AdminTools {
    pub(super) fn new(router: Router, admin: Admin, spelling: Spelling) -> Self {
        let tools = Action::ALL.iter().filter_map(|action| spelling.spell(listed(*action)));
        Self { router, admin, tools: sorted(tools.map(Arc::new)) }
    }

    pub(super) fn tools(&self) -> Tools {
        Arc::clone(&self.tools)
    }

    pub(super) async fn call(&self, tool: &Listed, arguments: JsonObject) -> CallToolResult {
        let Kind::Admin(action) = tool.kind else { return failure("no tool of the admin") };
        match self.execute(action, arguments).await {
            Ok(output) => success(into_object(output)),
            Err(refusal) => {
                let (kind, message) = describe(refusal);
                failure(
                    json!({ "kind": kind, "name": tool.name(), "message": message }).to_string(),
                )
            }
        }
    }

    async fn execute(&self, action: Action, arguments: JsonObject) -> Result<Value, ToolError> {
        match action {
            Action::List => {
                parse_arguments::<NoArguments>(arguments)?;
                let routes: Vec<_> = self.admin.list().await?.iter().map(shown::route).collect();
                Ok(json!({ "routes": routes }))
            }
            Action::Get => {
                let Get { name } = parse_arguments(arguments)?;
                let route = self.admin.get(&name).await?;
                Ok(json!({ "route": route.as_ref().map(shown::route) }))
            }
            Action::History => {
                let History { name, limit } = parse_arguments(arguments)?;
                let changes = self
                    .admin
                    .history(name.as_deref(), limit.unwrap_or(20).min(MAX_HISTORY))
                    .await?;
                Ok(json!({ "changes": changes.iter().map(shown::change).collect::<Vec<_>>() }))
            }
            Action::Inspect => {
                parse_arguments::<NoArguments>(arguments)?;
                let inspection = serde_json::to_value(self.router.inspect());
                inspection.map_err(|cause| ToolError::Arguments(cause.to_string()))
            }
            Action::Upsert | Action::SetStrategy | Action::Delete | Action::Rollback => {
                self.write(action, arguments).await
            }
        }
    }

    async fn write(&self, action: Action, arguments: JsonObject) -> Result<Value, ToolError> {
        match action {
            Action::Upsert => {
                let Upsert { name, strategy, endpoint, config, dry_run } =
                    parse_arguments(arguments)?;
                let write = self.begin(action, &name, dry_run);
                let spec =
                    endpoint.into_iter().fold(RouteSpec::new(name, strategy), RouteSpec::endpoint);
                let spec = match config {
                    Some(config) if shown::contains_hidden(&config) => {
                        return Err(ToolError::Arguments(shown::HIDDEN_IN_CONFIG.to_owned()));
                    }
                    Some(config) => spec.config(Value::Object(config).to_string()),
                    None => spec,
                };
                Ok(write.report(write.admin.upsert(spec).await?.as_slice()))
            }
            Action::SetStrategy => {
                let SetStrategy { name, strategy, dry_run } = parse_arguments(arguments)?;
                let write = self.begin(action, &name, dry_run);
                Ok(write.report(write.admin.set_strategy(&name, &strategy).await?.as_slice()))
            }
            Action::Delete => {
                let Delete { name, dry_run } = parse_arguments(arguments)?;
                let write = self.begin(action, &name, dry_run);
                Ok(write.report(write.admin.delete(&name).await?.as_slice()))
            }
            _ => {
                let Rollback { generation, name, dry_run } = parse_arguments(arguments)?;
                let write = self.begin(action, name.as_deref().unwrap_or("(all)"), dry_run);
                let report = write.admin.rollback(generation, name.as_deref()).await?;
                let mut result = write.report(&report.changes);
                result["bad"] = report.bad.iter().map(ToString::to_string).collect();
                Ok(result)
            }
        }
    }

    /// Logs who is about to change what. The change is a dry run unless the call says otherwise.
    fn begin(&self, action: Action, name: &str, dry_run: Option<bool>) -> Write {
        let dry_run = dry_run.unwrap_or(true);
        let context = context::current();
        let peer = context.peer().map_or("nobody in particular", |peer| peer.name());
        tracing::info!(
            tool = action.name(),
            route = shown_name(name),
            peer,
            dry_run,
            "a change by a tool"
        );
        Write { admin: if dry_run { self.admin.dry_run() } else { self.admin.clone() }, dry_run }
    }
}

/// Returns the tool of an action.
fn listed(action: Action) -> Listed {
    Listed::new(action.name(), action.docs(), Kind::Admin(action))
        .schemas(action.input(), Some(action.output()))
        .annotated(action.annotations())
}

/// A change to make, or to try as a dry run.
struct Write {
    admin: Admin,
    dry_run: bool,
}

impl Write {
    fn report(&self, changes: &[Change]) -> Value {
        let outcome = match (changes.is_empty(), self.dry_run) {
            (true, _) => "nothing to change: it is so already",
            (false, true) => "not done, only tried; `\"dry_run\": false` does it",
            (false, false) => "done",
        };
        let changes: Vec<_> = changes.iter().map(shown::change).collect();
        json!({ "outcome": outcome, "dry_run": self.dry_run, "changes": changes })
    }
}

fn parse_arguments<T: DeserializeOwned>(arguments: JsonObject) -> Result<T, ToolError> {
    serde_json::from_value(Value::Object(arguments))
        .map_err(|cause| ToolError::Arguments(cause.to_string()))
}

/// Returns the kind and the message of an error.
fn describe(refusal: ToolError) -> (&'static str, String) {
    match refusal {
        ToolError::Arguments(cause) => ("decode", cause),
        ToolError::Admin(error) => {
            let kind = match &error {
                AdminError::Invalid(_) | AdminError::UnknownStrategy { .. } => "invalid",
                AdminError::NotFound { .. } => "not_found",
                AdminError::NoSuchGeneration { .. } => "no_such_generation",
                AdminError::ReadOnly => "read_only",
                _ => "source",
            };
            (kind, error.to_string())
        }
    }
}
