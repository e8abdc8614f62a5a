//! Compile tests of `#[service]`: what it accepts, and its error messages.
//!
//! The files `ui/fail/*.stderr` hold the messages of Rust 1.95. `TRYBUILD=overwrite cargo test -p
//! tests --test ui` rewrites them. Review each one: a mistake produces one error, at the smallest
//! token that is wrong.

#[test]
fn ui() {
    let cases = trybuild::TestCases::new();
    cases.pass("ui/pass/*.rs");
    cases.compile_fail("ui/fail/*.rs");
}
