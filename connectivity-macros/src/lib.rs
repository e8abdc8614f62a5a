//! connectivity-macros
