//! Typed calls between services that a row in a SQLite table moves between processes at run time.

mod name;

pub use name::{Name, NameError};
