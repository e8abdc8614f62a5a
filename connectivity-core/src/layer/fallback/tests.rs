use std::time::Duration;

use tower_layer::Layer;

use super::*;
use crate::layer::tests::{Backend, error, once, repeatable};

fn local() -> Backend {
    Backend::new(|_| Ok(Reply::raw("here")))
}

fn with_fallback(backend: &Backend, local: &Backend) -> CallService {
    CallService::new(FallbackLayer::new(local.service.clone()).layer(backend.service.clone()))
}

#[tokio::test]
async fn it_steps_in_where_the_first_was_not_reached_and_nowhere_else() {
    for &kind in ErrorKind::ALL {
        let (backend, local) = (Backend::failing(error(kind).with_sent(Sent::No)), local());
        let reply = with_fallback(&backend, &local).send(once()).await;
        let steps_in = FALLBACK_ON.contains(&kind);
        assert_eq!((reply.is_ok(), local.calls()), (steps_in, usize::from(steps_in)), "{kind:?}");
    }
}

#[tokio::test]
async fn it_never_steps_in_after_an_answer() {
    let relayed = error(ErrorKind::Connect).relay();
    let declined = Backend::new(|_| Ok(Reply::encoded(crate::Codec::Json, "\"declined\"", true)));
    for backend in [declined, Backend::failing(relayed)] {
        let local = local();
        let reply = with_fallback(&backend, &local).send(repeatable()).await;
        assert!(reply.is_err() || reply.is_ok_and(|reply| reply.is_app_error()));
        assert_eq!(local.calls(), 0);
    }
}

#[tokio::test]
async fn a_call_that_may_have_run_is_answered_elsewhere_only_if_it_may_run_twice() {
    let backend = Backend::failing(error(ErrorKind::Timeout).with_sent(Sent::Maybe));
    assert!(with_fallback(&backend, &local()).send(repeatable()).await.is_ok());
    assert_eq!(
        with_fallback(&backend, &local()).send(once()).await.unwrap_err().kind(),
        ErrorKind::Timeout
    );
}

#[tokio::test]
async fn its_error_tells_what_the_first_may_have_done() {
    let backend = Backend::failing(error(ErrorKind::Closed).with_sent(Sent::Maybe));
    let full = Backend::failing(error(ErrorKind::Overloaded));
    let failed = with_fallback(&backend, &full).send(repeatable()).await.unwrap_err();
    assert_eq!((failed.kind(), failed.sent()), (ErrorKind::Overloaded, Sent::Maybe));
}

#[tokio::test(start_paused = true)]
async fn a_limit_inside_leaves_time_and_the_callers_deadline_does_not() {
    let slow = CallService::from_fn(|call| async move {
        let limit = call
            .context()
            .remaining()
            .map_or(Duration::from_secs(1), |left| left.min(Duration::from_secs(1)));
        tokio::time::sleep(limit).await;
        Err(call.failed(ErrorKind::Timeout, ""))
    });
    for (deadline, answered) in [(None, true), (Some(2000), true), (Some(500), false)] {
        let local = local();
        let with_fallback =
            CallService::new(FallbackLayer::new(local.service.clone()).layer(slow.clone()));
        let mut call = repeatable();
        if let Some(ms) = deadline {
            *call.context_mut() =
                crate::context::Context::new().with_timeout(Duration::from_millis(ms));
        }
        assert_eq!(with_fallback.send(call).await.is_ok(), answered, "{deadline:?}");
        assert_eq!(local.calls(), usize::from(answered), "{deadline:?}");
    }
}
