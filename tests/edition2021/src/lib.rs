//! Compiles the code that `#[service]` generates in edition 2021, with the lints of rustc and
//! clippy denied.

#![deny(
    warnings,
    missing_docs,
    missing_debug_implementations,
    unreachable_pub,
    unused_qualifications
)]
#![deny(unused_crate_dependencies, single_use_lifetimes, unused_lifetimes, unnameable_types)]
#![deny(clippy::all, clippy::pedantic, clippy::same_name_method)]

use std::path::{Path, PathBuf};

use connectivity_core::{service, Error};
use serde as _;
#[cfg(test)]
use tokio as _;

/// Takes the name that generic parameters usually have.
#[derive(Clone, Debug, serde::Serialize, serde::Deserialize)]
pub struct T(pub u64);

/// A contract with the patterns that lints look for.
#[service(name = "shelf")]
#[expect(
    clippy::too_many_arguments,
    clippy::ptr_arg,
    reason = "told of the trait, and not again of what is generated"
)]
pub trait Shelf {
    /// Takes the maximum number of arguments.
    #[readonly]
    #[noop = T(0)]
    async fn many(
        &self,
        a: u8,
        b: Option<u8>,
        c: Vec<(String, Vec<Option<T>>)>,
        d: &T,
        e: T,
        f: &str,
        g: &[T],
        h: &Path,
        i: &PathBuf,
        j: &String,
        k: [u8; 4],
        l: (),
    ) -> Result<T, Error>;

    /// Has a default body.
    async fn count(&self, directory: &str) -> Result<usize, Error> {
        Ok(directory.len())
    }

    /// Has named lifetimes.
    async fn longest<'a>(&self, left: &'a str, right: &'a str) -> Result<String, Error> {
        Ok(if left.len() < right.len() { right.to_owned() } else { left.to_owned() })
    }
}

mod private {
    use connectivity_core::{service, Error};

    #[service]
    #[allow(dead_code)]
    trait Hidden {
        async fn never_called(&self) -> Result<(), Error>;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Here;

    impl Shelf for Here {
        async fn many(
            &self,
            a: u8,
            _b: Option<u8>,
            _c: Vec<(String, Vec<Option<T>>)>,
            d: &T,
            e: T,
            _f: &str,
            _g: &[T],
            _h: &Path,
            _i: &PathBuf,
            _j: &String,
            _k: [u8; 4],
            _l: (),
        ) -> Result<T, Error> {
            Ok(T(u64::from(a) + d.0 + e.0))
        }
    }

    #[tokio::test]
    async fn both_paths_answer() {
        let direct = ShelfClient::direct(Here);
        for client in [direct.with_timeout(std::time::Duration::from_mins(1)), direct] {
            let path = PathBuf::new();
            let text = String::new();
            let result = client
                .many(1, None, vec![], &T(2), T(3), "", &[], &path, &path, &text, [0; 4], ())
                .await;
            assert_eq!(result.map(|result| result.0), Ok(6));
            assert_eq!(client.count("ab").await, Ok(2));
            assert_eq!(client.longest("a", "bc").await.as_deref(), Ok("bc"));
        }
    }
}
