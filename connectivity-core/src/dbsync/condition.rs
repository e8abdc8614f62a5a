//! Checks the condition of a table: SQLite itself parses it, and its authorizer says what it may
//! read.

use rusqlite::Connection;
use rusqlite::config::DbConfig;
use rusqlite::hooks::{AuthAction, AuthContext, Authorization};

use super::error::SyncError;
use super::schema::{SOURCE, quoted};
use crate::routes::MayFail;

/// Checks that a condition is one expression over the columns of one table of the source, without
/// parameters. Text in double quotes that is no column is refused, and not taken as a string.
pub(super) fn check(
    connection: &mut Connection,
    table: &str,
    condition: &str,
) -> Result<(), SyncError> {
    let invalid = |problem: &dyn std::fmt::Display| {
        SyncError::filter(
            table,
            format_args!("the condition is no expression over its columns: {problem}"),
        )
    };
    connection
        .set_db_config(DbConfig::SQLITE_DBCONFIG_DQS_DML, false)
        .and_then(|_| authorize(connection, table))
        .map_err(|cause| invalid(&cause))?;
    let checked = prepare_both(connection, table, condition);
    connection
        .authorizer(None::<fn(AuthContext<'_>) -> Authorization>)
        .checked()
        .map_err(|cause| invalid(&cause))?;
    match checked {
        Ok(0) => Ok(()),
        Ok(_) => Err(invalid(&"it has a parameter")),
        Err(cause) => Err(invalid(&cause)),
    }
}

/// Parses the condition in two sentences, and returns the number of its parameters. No text but an
/// expression fits into both: what closes the bracket of the one is no sentence in the other. The
/// line breaks end a comment.
fn prepare_both(connection: &Connection, table: &str, condition: &str) -> rusqlite::Result<usize> {
    let table = quoted(table);
    let filters = format!("SELECT 1 FROM {SOURCE}.{table} WHERE (\n{condition}\n)");
    let casts = format!("SELECT 1 FROM {SOURCE}.{table} WHERE CAST(\n{condition}\n AS NUMERIC)");
    let parameters = connection.prepare(&filters)?.parameter_count();
    connection.prepare(&casts)?;
    Ok(parameters)
}

/// Lets statements read this table of the source only, and not through a view.
fn authorize(connection: &mut Connection, table: &str) -> rusqlite::Result<()> {
    let table = table.to_owned();
    let hook = move |context: AuthContext<'_>| {
        let allowed = match context.action {
            AuthAction::Select => true,
            AuthAction::Read { table_name, .. } => {
                table_name.eq_ignore_ascii_case(&table)
                    && context.database_name == Some(SOURCE)
                    && context.accessor.is_none()
            }
            AuthAction::Function { function_name } => {
                !function_name.eq_ignore_ascii_case("load_extension")
            }
            _ => false,
        };
        if allowed { Authorization::Allow } else { Authorization::Deny }
    };
    connection.authorizer(Some(hook)).checked()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source() -> (tempfile::TempDir, Connection) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("source.db");
        Connection::open(&path)
            .unwrap()
            .execute_batch("CREATE TABLE t (a, \"b c\" TEXT); CREATE TABLE secrets (token); CREATE VIEW v AS SELECT * FROM t")
            .unwrap();
        let connection = Connection::open_in_memory().unwrap();
        connection.execute("ATTACH ?1 AS source", [path.to_str()]).unwrap();
        (dir, connection)
    }

    #[test]
    fn an_expression_over_the_table_is_a_condition() {
        let (_dir, mut connection) = source();
        for condition in [
            "a = 1",
            "a = 'x;y' OR a = 'into the -- /* DROP '",
            "\"b c\" LIKE '%(%' -- to the end of the line",
            "a IN (SELECT max(a) FROM t)",
            "t.a > unixepoch()",
            "a IS NOT NULL AND length(\"b c\") > 3",
        ] {
            check(&mut connection, "t", condition).unwrap_or_else(|e| panic!("{condition}: {e}"));
        }
    }

    #[test]
    fn everything_else_is_refused() {
        let (_dir, mut connection) = source();
        for condition in [
            "",
            "1=1) OR (1=1",
            "1) GROUP BY (a",
            "1) UNION SELECT (token) FROM secrets WHERE (1",
            "a = 1; DROP TABLE t",
            "a = 1 /*",
            "a = 1 AS INTEGER) OR CAST(1",
            "a IN (SELECT token FROM secrets)",
            "EXISTS (SELECT 1 FROM v)",
            "EXISTS (SELECT 1 FROM sqlite_schema)",
            "EXISTS (SELECT 1 FROM pragma_table_info('t'))",
            "a = ?1",
            "a = :a",
            "load_extension('x')",
            "nobody = 1",
            "\"no column\" = 'no column'",
            "max(a) > 1",
            "a = 1 LIMIT 1",
        ] {
            let error = check(&mut connection, "t", condition).expect_err(condition).to_string();
            assert!(error.starts_with("filter of table `t`: the condition is no"), "{error}");
        }
    }
}
