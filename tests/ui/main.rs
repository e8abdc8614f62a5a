//! What `#[service]` accepts, and what it says of what it does not.
//!
//! The texts in `ui/fail/*.stderr` are those of Rust 1.95. `TRYBUILD=overwrite cargo test -p tests
//! --test ui` writes them anew; read each one: one mistake gives one error, at the smallest token
//! that is wrong.

#[test]
fn ui() {
    let cases = trybuild::TestCases::new();
    cases.pass("ui/pass/*.rs");
    cases.compile_fail("ui/fail/*.rs");
}
