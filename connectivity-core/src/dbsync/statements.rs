//! The SQL that makes the copy of one table.

use super::error::SyncError;
use super::filter::TableFilter;
use super::schema::{Column, Index, SOURCE, Table, quoted};

/// The statements that make the copy of one table, in their order.
pub(super) struct Statements {
    pub(super) create: String,
    pub(super) insert: String,
    pub(super) indexes: Vec<String>,
}

impl Statements {
    /// Returns the statements for a table and its filter, whose condition has been checked.
    pub(super) fn new(table: &Table, filter: &TableFilter) -> Result<Self, SyncError> {
        let kept = match &filter.columns {
            None => return Ok(Self::whole(table, filter.condition.as_deref())),
            Some(names) => kept(table, filter, names)?,
        };
        let collations =
            table.collations().map_err(|cause| SyncError::filter(&filter.table, cause))?;
        let copy = Columns { table, kept, collations };
        Ok(Self {
            create: copy.create(),
            insert: insert(table, filter.condition.as_deref(), |at| copy.value(at)),
            indexes: copy.indexes(),
        })
    }

    /// Returns the statements for a table with all of its columns: those of the source.
    fn whole(table: &Table, condition: Option<&str>) -> Self {
        let value = |at: usize| {
            let column = table.columns.get(at)?;
            (!column.generated).then(|| quoted(&column.name))
        };
        Self {
            create: table.sql.clone(),
            insert: insert(table, condition, value),
            indexes: table.indexes.iter().filter_map(|index| index.sql.clone()).collect(),
        }
    }
}

/// Returns for each column whether the filter keeps it.
fn kept(table: &Table, filter: &TableFilter, names: &[String]) -> Result<Vec<bool>, SyncError> {
    let is = |column: &Column, name: &str| column.name.eq_ignore_ascii_case(name);
    if names.is_empty() {
        return Err(SyncError::filter(&filter.table, "it keeps no column"));
    }
    for name in names {
        if !table.columns.iter().any(|column| is(column, name)) {
            let problem = format_args!("it has no column `{name}`");
            return Err(SyncError::filter(&filter.table, problem));
        }
    }
    let is_kept = |column| names.iter().any(|name| is(column, name));
    Ok(table.columns.iter().map(is_kept).collect())
}

/// Returns the statement that copies the rows. Columns without a value are left out. Reading
/// without an index keeps the order of the rows, so that equal data make equal files.
fn insert(
    table: &Table,
    condition: Option<&str>,
    value: impl Fn(usize) -> Option<String>,
) -> String {
    let (columns, values): (Vec<_>, Vec<_>) = table
        .columns
        .iter()
        .enumerate()
        .filter_map(|(at, column)| Some((quoted(&column.name), value(at)?)))
        .unzip();
    let (columns, values, name) = (columns.join(", "), values.join(", "), quoted(&table.name));
    let condition = condition.map(|text| format!(" WHERE (\n{text}\n)")).unwrap_or_default();
    format!(
        "INSERT INTO main.{name} ({columns}) SELECT {values} FROM {SOURCE}.{name} NOT INDEXED{condition}"
    )
}

/// The copy of a table that keeps some of its columns. It has the same columns, without defaults,
/// checks and expressions, which may tell of what is hidden; and those constraints and indexes of
/// which every column is kept.
struct Columns<'a> {
    table: &'a Table,
    kept: Vec<bool>,
    collations: Vec<String>,
}

impl Columns<'_> {
    fn create(&self) -> String {
        let mut parts: Vec<String> =
            (0..self.table.columns.len()).filter_map(|at| self.definition(at)).collect();
        let key = self.primary_key();
        parts.extend(key.iter().map(|columns| format!("PRIMARY KEY ({columns})")));
        for index in self.table.indexes.iter().filter(|index| !index.is_primary_key) {
            let is_constraint = index.sql.is_none();
            let columns = self.index_columns(index).filter(|_| is_constraint);
            parts.extend(columns.map(|columns| format!("UNIQUE ({columns})")));
        }
        let mut options = Vec::new();
        if self.table.without_rowid && key.is_some() {
            options.push("WITHOUT ROWID");
        }
        if self.table.strict {
            options.push("STRICT");
        }
        let name = quoted(&self.table.name);
        format!("CREATE TABLE {name} ({}) {}", parts.join(", "), options.join(", "))
    }

    fn definition(&self, at: usize) -> Option<String> {
        let column = self.table.columns.get(at)?;
        let not_null = if column.not_null { " NOT NULL" } else { "" };
        let (name, declared) = (quoted(&column.name), declared_type(column, self.table.strict));
        let collation = quoted(self.collations.get(at)?);
        Some(format!("{name} {declared} COLLATE {collation}{not_null}"))
    }

    /// Returns the columns of the primary key, if all of them are kept.
    fn primary_key(&self) -> Option<String> {
        let mut columns: Vec<_> = self
            .table
            .columns
            .iter()
            .zip(&self.kept)
            .filter(|(column, _)| column.key > 0)
            .collect();
        columns.sort_by_key(|(column, _)| column.key);
        let all_kept = !columns.is_empty() && columns.iter().all(|(_, kept)| **kept);
        let names = columns.iter().map(|(column, _)| quoted(&column.name));
        all_kept.then(|| names.collect::<Vec<_>>().join(", "))
    }

    /// Returns what stands for a column: the column itself, or nothing of its value.
    fn value(&self, at: usize) -> Option<String> {
        let (column, kept) = (self.table.columns.get(at)?, *self.kept.get(at)?);
        Some(match kept {
            true => quoted(&column.name),
            false if column.not_null => empty(&column.declared_type).to_owned(),
            false => "NULL".to_owned(),
        })
    }

    fn indexes(&self) -> Vec<String> {
        let made = self.table.indexes.iter().filter(|index| index.sql.is_some() && !index.partial);
        let create = |index: &Index| {
            let columns = self.index_columns(index)?;
            let unique = if index.unique { "UNIQUE " } else { "" };
            let (name, table) = (quoted(&index.name), quoted(&self.table.name));
            Some(format!("CREATE {unique}INDEX {name} ON {table} ({columns})"))
        };
        made.filter_map(create).collect()
    }

    /// Returns the columns of an index, if all of them are kept.
    fn index_columns(&self, index: &Index) -> Option<String> {
        let column = |column: &super::schema::IndexColumn| {
            let name = column.name.as_ref()?;
            let at = self.table.columns.iter().position(|other| other.name == *name)?;
            let order = if column.descending { " DESC" } else { "" };
            let (name, collation) = (quoted(name), quoted(&column.collation));
            self.kept.get(at)?.then(|| format!("{name} COLLATE {collation}{order}"))
        };
        let columns: Option<Vec<String>> = index.columns.iter().map(column).collect();
        columns.map(|columns| columns.join(", "))
    }
}

/// Returns the declared type of a column. In a table that is not strict it can be any text, which is
/// kept in quotes for its affinity.
fn declared_type(column: &Column, strict: bool) -> String {
    match strict || column.declared_type.is_empty() {
        true => column.declared_type.clone(),
        false => quoted(&column.declared_type),
    }
}

/// Returns an empty value of a column's affinity (<https://sqlite.org/datatype3.html>, 3.1).
fn empty(declared_type: &str) -> &'static str {
    let declared = declared_type.to_ascii_uppercase();
    let has = |words: &[&str]| words.iter().any(|word| declared.contains(word));
    match () {
        () if has(&["INT"]) => "0",
        () if has(&["CHAR", "CLOB", "TEXT"]) => "''",
        () if has(&["BLOB"]) || declared.is_empty() => "x''",
        () if has(&["REAL", "FLOA", "DOUB"]) => "0.0",
        () => "0",
    }
}

#[cfg(test)]
mod tests {
    use super::empty;

    #[test]
    fn an_empty_value_has_the_affinity_of_its_column() {
        for (declared, expected) in [
            ("INTEGER", "0"),
            ("varchar(20)", "''"),
            ("", "x''"),
            ("DOUBLE PRECISION", "0.0"),
            ("DECIMAL(10,2)", "0"),
            ("POINT", "0"),
        ] {
            assert_eq!(empty(declared), expected, "{declared}");
        }
    }
}
