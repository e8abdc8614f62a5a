use std::sync::{Arc, Mutex};

use tower_layer::Layer;

use super::*;
use crate::call::CallService;
use crate::layer::tests::{Backend, error, once, repeatable};

fn retrying(layer: &RetryLayer, backend: &Backend) -> CallService {
    CallService::new(layer.layer(backend.service.clone()))
}

fn large_budget() -> RetryBudget {
    RetryBudget::new(1000, 1000)
}

#[tokio::test(start_paused = true)]
async fn a_call_is_made_once_more_than_the_maximum_at_the_most() {
    for max in [0, 1, 3] {
        let backend = Backend::failing(error(ErrorKind::Connect));
        let sent = retrying(&RetryLayer::new(max), &backend).send(once()).await;
        assert_eq!(sent.unwrap_err().kind(), ErrorKind::Connect);
        assert_eq!(backend.calls(), max as usize + 1);
    }
}

#[tokio::test(start_paused = true)]
async fn a_future_that_is_polled_again_after_its_end_sends_nothing() {
    for answers in [true, false] {
        let backend = Backend::new(move |_| {
            if answers { Ok(Reply::raw("yes")) } else { Err(error(ErrorKind::Denied)) }
        });
        let mut service = RetryLayer::new(3).layer(backend.service.clone());
        let mut future = std::pin::pin!(Service::call(&mut service, repeatable()));
        assert_eq!(future.as_mut().await.is_ok(), answers);
        assert!(crate::layer::testing::poll_once(future.as_mut()).is_pending());
        tokio::time::sleep(Duration::from_secs(60)).await;
        assert!(crate::layer::testing::poll_once(future).is_pending());
        assert_eq!(backend.calls(), 1, "answered: {answers}");
    }
}

#[tokio::test(start_paused = true)]
async fn it_ends_with_the_first_answer() {
    let backend =
        Backend::new(
            |n| if n < 2 { Err(error(ErrorKind::Overloaded)) } else { Ok(Reply::raw("yes")) },
        );
    assert!(retrying(&RetryLayer::new(5), &backend).send(once()).await.is_ok());
    assert_eq!(backend.calls(), 3);
}

#[tokio::test(start_paused = true)]
async fn an_open_circuit_and_other_lasting_causes_cost_one_attempt() {
    for &kind in ErrorKind::ALL.iter().filter(|kind| !TRANSIENT.contains(kind)) {
        let backend = Backend::failing(error(kind).with_sent(Sent::No));
        retrying(&RetryLayer::new(3), &backend).send(repeatable()).await.unwrap_err();
        assert_eq!(backend.calls(), 1, "{kind:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn the_last_error_tells_what_an_earlier_attempt_may_have_done() {
    let backend = Backend::new(|n| match n {
        0 => Err(error(ErrorKind::Closed).with_sent(Sent::Maybe)),
        _ => Err(error(ErrorKind::Connect)),
    });
    let failed = retrying(&RetryLayer::new(2), &backend).send(repeatable()).await.unwrap_err();
    assert_eq!(
        (failed.kind(), failed.sent(), backend.calls()),
        (ErrorKind::Connect, Sent::Maybe, 3)
    );
}

#[tokio::test(start_paused = true)]
async fn it_does_not_wait_beyond_the_deadline() {
    let backend = Backend::failing(error(ErrorKind::Connect));
    let retry = retrying(&RetryLayer::new(5).backoff(Duration::from_millis(100)), &backend);
    let began = Instant::now();
    let mut call = once();
    *call.context_mut() = crate::context::Context::new().with_timeout(Duration::from_millis(40));
    assert_eq!(
        retry.send(call).await.unwrap_err().kind(),
        ErrorKind::Connect,
        "the last error, not a timeout"
    );
    assert_eq!((backend.calls(), began.elapsed()), (1, Duration::ZERO), "and at once");
}

#[tokio::test(start_paused = true)]
async fn dropping_a_call_ends_its_retries() {
    let backend = Backend::failing(error(ErrorKind::Connect));
    let sent = retrying(&RetryLayer::new(5), &backend).send(once());
    assert!(tokio::time::timeout(Duration::from_millis(10), sent).await.is_err());
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(backend.calls(), 1);
}

/// A server that fails every call, with 1,000 calls a second for 10 s.
#[tokio::test(start_paused = true)]
async fn retries_stay_within_a_fifth_of_the_calls_and_ten_a_second() {
    let backend = Backend::failing(error(ErrorKind::Connect));
    let retry = retrying(&RetryLayer::new(3), &backend);
    let began = Instant::now();
    let calls: Vec<_> = (0..10_000)
        .map(|n| {
            let retry = retry.clone();
            tokio::spawn(async move {
                sleep_until(began + Duration::from_millis(n)).await;
                retry.send(once()).await.is_err()
            })
        })
        .collect();
    for call in calls {
        assert!(call.await.unwrap());
    }
    assert!(backend.calls() > 11_000, "{} attempts: it does retry", backend.calls());
    assert!(backend.calls() <= 12_000 + 100, "{} attempts", backend.calls());
}

#[tokio::test(start_paused = true)]
async fn layers_can_share_a_budget() {
    let backend = Backend::failing(error(ErrorKind::Connect));
    let budget = RetryBudget::new(0, 1);
    let layers = [0, 1].map(|_| RetryLayer::new(5).budget(budget.clone()));
    for layer in layers {
        for _ in 0..10 {
            retrying(&layer, &backend).send(once()).await.unwrap_err();
        }
    }
    assert_eq!(backend.calls(), 20 + 10, "one a second, saved up for ten");
}

#[tokio::test(start_paused = true)]
async fn a_budget_holds_for_any_ten_seconds_and_fills_up_again() {
    let budget = RetryBudget::new(20, 10);
    let all = |budget: &RetryBudget| std::iter::from_fn(|| budget.withdraw().then_some(())).count();
    tokio::time::sleep(Duration::from_millis(900)).await;
    assert_eq!(all(&budget), 100);
    tokio::time::sleep(Duration::from_secs(10)).await;
    assert_eq!(all(&budget), 0, "they went out less than eleven seconds ago");
    (0..50).for_each(|_| budget.deposit());
    assert_eq!(all(&budget), 10);
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert_eq!(all(&budget), 100);
    tokio::time::sleep(Duration::from_secs(3600)).await;
    assert_eq!(all(&budget), 100, "an hour saves no more");
}

#[tokio::test(start_paused = true)]
async fn first_waits_differ_and_none_is_over_its_bounds() {
    let at = Arc::new(Mutex::new(Vec::new()));
    let mut waits = Vec::new();
    for _ in 0..200 {
        let times = Arc::clone(&at);
        let backend = Backend::new(move |_| {
            times.lock().unwrap().push(Instant::now());
            Err(error(ErrorKind::Connect))
        });
        retrying(&RetryLayer::new(1).budget(large_budget()), &backend)
            .send(once())
            .await
            .unwrap_err();
        let times = std::mem::take(&mut *at.lock().unwrap());
        waits.push((times[1] - times[0]).as_secs_f64());
    }
    let mean = waits.iter().sum::<f64>() / 200.0;
    let variance = waits.iter().map(|wait| (wait - mean).powi(2)).sum::<f64>() / 200.0;
    assert!(variance.sqrt() / mean >= 0.1, "{} of {mean}", variance.sqrt());
    // Tokio's clock has a resolution of one millisecond.
    assert!(waits.iter().all(|wait| (0.025..=0.052).contains(wait)), "{waits:?}");
}

#[test]
fn waits_double_up_to_the_longest() {
    let first = Duration::from_millis(50);
    let longest = |waited| backoff_for(first, waited, 1.0);
    assert_eq!([0, 1, 2, 7].map(longest), [50, 100, 200, 6400].map(Duration::from_millis));
    assert_eq!([8, 31, u32::MAX].map(longest), [MAX_BACKOFF; 3]);
    assert_eq!(backoff_for(first, 1, 0.0), first, "half of it is certain");
    assert_eq!(backoff_for(Duration::from_secs(60), 3, 1.0), Duration::from_secs(60));
    assert_eq!(backoff_for(Duration::MAX, 3, f64::NAN.clamp(0.0, 0.5).max(0.0)), Duration::MAX / 2);
}
