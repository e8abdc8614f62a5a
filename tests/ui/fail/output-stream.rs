use std::pin::Pin;

use connectivity_core::{Error, service};
use futures_util::Stream;
use futures_util::stream::BoxStream;

#[service]
pub trait Stock {
    async fn opaque(&self) -> Result<impl Stream<Item = u64>, Error>;
    async fn boxed(&self) -> Result<BoxStream<'static, u64>, Error>;
    async fn pinned(&self) -> Result<Pin<Box<dyn Stream<Item = u64> + Send>>, Error>;
}

fn main() {}
