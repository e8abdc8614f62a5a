//! What a publisher publishes.

/// The tables, rows and columns that a [`Publisher`](super::Publisher) publishes. Everything else of
/// the database stays at home.
///
/// A condition is an SQL expression over the columns of its table; rows for which it is NULL stay at
/// home too. A column that is not kept exists in the copy, without its values: it is NULL, or if it
/// is `NOT NULL` then 0, `''` or `x''`. Views, triggers and statistics are never published, and
/// virtual tables cannot be.
///
/// ```
/// use connectivity_core::dbsync::Filter;
///
/// let filter = Filter::new()
///     .table("products")
///     .rows("offers", "active AND ends_at > unixepoch()")
///     .columns("customers", ["id", "city"])
///     .columns_of_rows("orders", ["id", "total"], "state = 'open'");
/// ```
#[derive(Clone, Debug, Default)]
pub struct Filter {
    pub(super) tables: Vec<TableFilter>,
}

/// What is published of one table.
#[derive(Clone, Debug)]
pub(super) struct TableFilter {
    pub(super) table: String,
    /// `None` keeps all columns.
    pub(super) columns: Option<Vec<String>>,
    /// `None` keeps all rows.
    pub(super) condition: Option<String>,
}

impl Filter {
    /// Creates a filter that publishes nothing.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Publishes a whole table.
    #[must_use]
    pub fn table(self, table: impl Into<String>) -> Self {
        self.with(table.into(), None, None)
    }

    /// Publishes the rows of a table for which a condition is true.
    #[must_use]
    pub fn rows(self, table: impl Into<String>, condition: impl Into<String>) -> Self {
        self.with(table.into(), None, Some(condition.into()))
    }

    /// Publishes these columns of all rows of a table.
    #[must_use]
    pub fn columns<C: Into<String>>(
        self,
        table: impl Into<String>,
        columns: impl IntoIterator<Item = C>,
    ) -> Self {
        let columns = columns.into_iter().map(Into::into).collect();
        self.with(table.into(), Some(columns), None)
    }

    /// Publishes these columns of the rows of a table for which a condition is true. The condition
    /// may use the other columns too.
    #[must_use]
    pub fn columns_of_rows<C: Into<String>>(
        self,
        table: impl Into<String>,
        columns: impl IntoIterator<Item = C>,
        condition: impl Into<String>,
    ) -> Self {
        let columns = columns.into_iter().map(Into::into).collect();
        self.with(table.into(), Some(columns), Some(condition.into()))
    }

    fn with(
        mut self,
        table: String,
        columns: Option<Vec<String>>,
        condition: Option<String>,
    ) -> Self {
        self.tables.push(TableFilter { table, columns, condition });
        self
    }
}
