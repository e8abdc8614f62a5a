//! What a change of the rows does, and what it must not do.
