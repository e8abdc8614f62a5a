//! Tests of the typed path, with handwritten versions of the generated code.

use std::sync::Arc;
use std::time::Duration;

use super::*;
use crate::call::{BoxFuture, Call, MethodDesc, Reply, ServiceDesc};
use crate::codec::Codec;
use crate::context;
use crate::error::{Error, ErrorKind};

trait DynAdder: Send + Sync + 'static {
    fn add<'a>(&'a self, left: &'a str, right: Option<u32>) -> BoxFuture<'a, Result<u32, Error>>;
}

struct Adder;

impl DynAdder for Adder {
    fn add<'a>(&'a self, left: &'a str, right: Option<u32>) -> BoxFuture<'a, Result<u32, Error>> {
        Box::pin(async move {
            match left {
                "panic" => panic!("secret text"),
                "pending" => std::future::pending().await,
                _ => Ok(left.parse::<u32>().unwrap_or(0) + right.unwrap_or(0)),
            }
        })
    }
}

struct Left;

impl Referent for Left {
    type Type = str;
    type Owned = String;
}

struct Right;

impl Value for Right {
    type Type = Option<u32>;
}

struct Add;

impl Method for Add {
    const DESC: &'static MethodDesc =
        &MethodDesc::of::<Self>(0, "adder", "add", "adder.add", &["left", "right"]);
    type Args = (Ref<Left>, Own<Right>);
    type Output = Result<u32, Error>;
    type Ok = u32;
    type Err = Error;

    fn error_form() -> ErrorForm<Error> {
        ErrorForm::of::<Self, _>()
    }
}

static DESC: ServiceDesc = ServiceDesc::new("adder", "", &[Add::DESC]);

struct AdderService(Arc<dyn DynAdder>);

impl Dispatch for AdderService {
    fn desc(&self) -> &'static ServiceDesc {
        &DESC
    }

    fn dispatch(&self, index: usize, call: Call) -> BoxFuture<'static, Result<Reply, Error>> {
        let service = Arc::clone(&self.0);
        match index {
            0 => serve::<Add, _>(call, move |(left, right)| async move {
                service.add(&left, right).await
            }),
            _ => unknown_method(call),
        }
    }
}

impl Registrable for AdderService {
    type Dyn = dyn DynAdder;

    fn into_parts(self) -> (Arc<dyn DynAdder>, Arc<dyn Dispatch>) {
        (Arc::clone(&self.0), Arc::new(self))
    }
}

fn handle() -> Handle<dyn DynAdder> {
    Handle::direct(AdderService(Arc::new(Adder)))
}

async fn json(arguments: &'static str) -> Result<Reply, Error> {
    let call = Call::encoded(crate::Name::parse("adder.add").unwrap(), Codec::Json, arguments);
    invoke(&AdderService(Arc::new(Adder)), call).await
}

#[tokio::test]
async fn both_paths_give_the_same_answer() {
    let handle = handle();
    assert_eq!(handle.fast::<Add>().unwrap().add("40", Some(2)).await, Ok(42));
    assert_eq!(handle.slow::<Add>(("40", Some(2))).await, Ok(42));
    assert!(
        handle.with_timeout(Duration::from_secs(1)).fast::<Add>().is_none(),
        "a time limit needs the envelope"
    );
}

#[tokio::test]
async fn json_arguments_are_named_and_forgiving_where_that_is_safe() {
    for good in [
        r#"{"left":"40","right":2}"#,
        r#"{"right":2,"left":"40"}"#,
        r#"["40",2]"#,
        r#"{"left":"42"}"#,
        r#"{"left":"42","note":null}"#,
    ] {
        let reply = json(good).await.unwrap();
        assert_eq!(Reply::into_output::<Add>(Ok(reply)), Ok(42), "{good}");
    }
}

#[tokio::test]
async fn json_mistakes_are_named_before_anything_runs() {
    for (bad, says) in [
        (r#"{"right":2}"#, "missing field `left`"),
        (r#"{"left":"1","nope":2}"#, "unknown field, expected `left` or `right`"),
        (r#"{"left":"1","left":"2"}"#, "duplicate field `left`"),
        (r#"{"left":1}"#, "the argument `left`: an integer, where a string is expected"),
        (r#"{"left":"1"} x"#, "trailing"),
    ] {
        let error = json(bad).await.unwrap_err();
        assert_eq!((error.kind(), error.sent()), (ErrorKind::Decode, crate::Sent::No));
        assert!(error.message().contains(says), "{bad}: {error}");
    }
}

#[tokio::test]
async fn borrowed_arguments_encode_like_owned_ones() {
    let owned = Args::<Add, _>::new(("a".to_owned(), Some(1u32)));
    let lent = Args::<Add, _>::new(<Add as Method>::Args::lend(("a", Some(1u32))));
    for codec in [Codec::Json, Codec::Bincode] {
        assert_eq!(codec.encode(&owned).unwrap(), codec.encode(&lent).unwrap());
    }
}

#[tokio::test]
async fn a_panic_is_one_typed_error_and_its_text_stays_here() {
    let error = handle().slow::<Add>(("panic", None)).await.unwrap_err();
    assert_eq!(
        (error.kind(), error.name(), error.message()),
        (ErrorKind::Panicked, "adder.add", "")
    );
}

#[tokio::test(start_paused = true)]
async fn a_time_limit_ends_a_local_call() {
    let limited = handle().with_timeout(Duration::from_millis(50));
    let error = limited.slow::<Add>(("pending", None)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Timeout);

    let inherited = context::timeout(Duration::from_millis(50), async {
        handle().with_timeout(Duration::from_secs(60)).slow::<Add>(("pending", None)).await
    });
    assert_eq!(inherited.await.flatten().unwrap_err().kind(), ErrorKind::Timeout);
}

#[tokio::test]
async fn an_unknown_method_did_not_run() {
    let call = Call::encoded(crate::Name::parse("adder.subtract").unwrap(), Codec::Json, "{}");
    let error = invoke(&AdderService(Arc::new(Adder)), call).await.unwrap_err();
    assert_eq!((error.kind(), error.sent()), (ErrorKind::Unimplemented, crate::Sent::No));
}
