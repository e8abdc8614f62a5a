//! examples/contracts
