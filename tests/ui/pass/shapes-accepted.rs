//! Every method signature that a service may have.
#![deny(warnings, async_fn_in_trait, refining_impl_trait)]

use std::borrow::Cow;
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use connectivity_core::service;

type Result<T, E = connectivity_core::Error> = std::result::Result<T, E>;

#[service]
pub trait Shapes: Send + Sync {
    async fn nothing(&self) -> Result<()>;
    async fn owned(&self, text: String, list: Vec<u8>, map: HashMap<String, u64>) -> Result<String>;
    async fn borrowed(&self, text: &str, list: &[u8], path: &Path, value: &PathBuf) -> Result<u64>;
    async fn lifetimes<'a, 'b: 'a>(&'a self, left: &'a str, right: &'b str) -> Result<u64>;
    async fn cow(&self, text: Cow<'static, str>) -> Result<Cow<'static, str>>;
    async fn r#type(&self, r#match: u32) -> Result<u32>;
    async fn with_default(&self, text: &str) -> Result<usize> {
        let length = self.nothing().await.map(|()| text.len())?;
        Ok(length)
    }
    async fn tuple(&self, pair: (u8, Option<String>), array: [u8; 4]) -> Result<(u8, char)>;
}

struct Here;

impl Shapes for Here {
    async fn nothing(&self) -> Result<()> {
        Ok(())
    }
    async fn owned(&self, text: String, _list: Vec<u8>, _map: HashMap<String, u64>) -> Result<String> {
        Ok(text)
    }
    async fn borrowed(&self, text: &str, list: &[u8], path: &Path, value: &PathBuf) -> Result<u64> {
        Ok((text.len() + list.len() + usize::from(path == value)) as u64)
    }
    async fn lifetimes<'a, 'b: 'a>(&'a self, left: &'a str, right: &'b str) -> Result<u64> {
        Ok((left.len() + right.len()) as u64)
    }
    async fn cow(&self, text: Cow<'static, str>) -> Result<Cow<'static, str>> {
        Ok(text)
    }
    async fn r#type(&self, r#match: u32) -> Result<u32> {
        Ok(r#match)
    }
    async fn tuple(&self, pair: (u8, Option<String>), _array: [u8; 4]) -> Result<(u8, char)> {
        Ok((pair.0, 'x'))
    }
}

#[tokio::main]
async fn main() {
    let direct = ShapesClient::direct(Arc::new(Here));
    let enveloped = direct.with_timeout(std::time::Duration::from_secs(10));
    for client in [direct, enveloped] {
        assert_eq!(client.nothing().await, Ok(()));
        assert_eq!(client.owned("a".to_owned(), vec![], HashMap::new()).await, Ok("a".to_owned()));
        assert_eq!(client.borrowed("ab", &[1], Path::new("x"), &PathBuf::from("x")).await, Ok(4));
        assert_eq!(client.lifetimes("a", "b").await, Ok(2));
        assert_eq!(client.cow("x".into()).await.as_deref(), Ok("x"));
        assert_eq!(client.r#type(7).await, Ok(7));
        assert_eq!(client.with_default("abc").await, Ok(3));
        assert_eq!(client.tuple((1, None), [0; 4]).await, Ok((1, 'x')));
    }
}
