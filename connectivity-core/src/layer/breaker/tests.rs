use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicUsize};
use std::thread;

use tokio::sync::Notify;
use tower_layer::Layer;

use super::*;
use crate::call::{CallService, Reply};
use crate::error::{Error, ErrorKind, Sent};
use crate::layer::tests::{Backend, error, once};

const RESET: Duration = Duration::from_secs(30);

/// A breaker with a clock that the test advances.
fn breaker(probes: u32) -> (CircuitBreaker, Arc<Mutex<Instant>>) {
    let now = Arc::new(Mutex::new(Instant::now()));
    let clock = Arc::clone(&now);
    let breaker =
        CircuitBreaker::builder().failures(5).probes(probes).clock(move || *clock.lock().unwrap());
    (breaker.build(), now)
}

fn advance(clock: &Mutex<Instant>, time: Duration) {
    *clock.lock().unwrap() += time;
}

fn trip(breaker: &CircuitBreaker) {
    for _ in 0..5 {
        breaker.record_failure();
    }
    assert!(matches!(breaker.state(), BreakerState::Open { .. }));
}

/// Runs `run` on 64 threads at once.
fn all_at_once(run: impl Fn() + Sync) {
    let barrier = std::sync::Barrier::new(64);
    thread::scope(|scope| {
        for _ in 0..64 {
            scope.spawn(|| {
                barrier.wait();
                run();
            });
        }
    });
}

#[test]
fn sixty_four_callers_open_it_at_exactly_five_and_one_probe_at_a_time_closes_it() {
    let (breaker, clock) = breaker(2);
    for round in 0..20 {
        let passed = AtomicUsize::new(0);
        for failed in 1..=5 {
            assert_eq!(
                breaker.state(),
                BreakerState::Closed { failures: failed - 1 },
                "round {round}"
            );
            breaker.allow().unwrap().failure();
        }
        all_at_once(|| assert!(breaker.allow().is_none(), "round {round}: open"));
        advance(&clock, RESET);
        for probe in 0..2 {
            let (out, most) = (AtomicUsize::new(0), AtomicUsize::new(0));
            let held = Mutex::new(Vec::new());
            all_at_once(|| {
                if let Some(permit) = breaker.allow() {
                    most.fetch_max(out.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                    passed.fetch_add(1, Ordering::SeqCst);
                    held.lock().unwrap().push(permit);
                }
            });
            let mut held = held.into_inner().unwrap();
            assert_eq!((held.len(), most.into_inner()), (1, 1), "round {round}, probe {probe}");
            held.pop().unwrap().success();
        }
        assert_eq!(passed.into_inner(), 2, "round {round}");
        assert_eq!(breaker.state(), BreakerState::Closed { failures: 0 }, "round {round}");
    }
}

#[test]
fn failures_at_once_count_up_to_the_threshold_and_late_ones_not_at_all() {
    let (breaker, clock) = breaker(1);
    let permits: Vec<_> = (0..64).map(|_| breaker.allow().unwrap()).collect();
    let permits = Mutex::new(permits);
    all_at_once(|| {
        let permit = permits.lock().unwrap().pop().unwrap();
        permit.failure();
    });
    assert!(breaker.allow().is_none());
    advance(&clock, RESET);
    let late = breaker.allow().expect("59 late failures have not begun the time anew");
    late.success();
    assert_eq!(breaker.state(), BreakerState::Closed { failures: 0 });
}

#[test]
fn failures_are_counted_in_a_row() {
    let (breaker, _clock) = breaker(1);
    for _ in 0..10 {
        (0..4).for_each(|_| breaker.allow().unwrap().failure());
        breaker.allow().unwrap().success();
    }
    assert_eq!(breaker.state(), BreakerState::Closed { failures: 0 });
}

#[test]
fn the_late_success_of_an_old_call_closes_nothing() {
    let (breaker, clock) = breaker(1);
    let old = [breaker.allow().unwrap(), breaker.allow().unwrap()];
    trip(&breaker);
    let [first, second] = old;
    first.success();
    assert!(breaker.allow().is_none(), "still open");
    advance(&clock, RESET);
    let probe = breaker.allow().unwrap();
    second.success();
    breaker.record_success();
    assert_eq!(breaker.state(), BreakerState::HalfOpen { successes: 0 });
    probe.failure();
    assert!(breaker.allow().is_none(), "one failure of a probe opens it for another time");
    advance(&clock, RESET);
    assert!(breaker.allow().is_some());
}

#[test]
fn a_probe_without_a_verdict_gives_its_place_back() {
    let (breaker, clock) = breaker(1);
    trip(&breaker);
    advance(&clock, RESET);
    for _ in 0..50 {
        let probe = breaker.allow().expect("the place is free");
        assert!(breaker.allow().is_none());
        drop(probe);
    }
    breaker.allow().unwrap().success();
    assert_eq!(breaker.state(), BreakerState::Closed { failures: 0 });
}

#[test]
fn reset_closes_it_and_forgets_who_is_out() {
    let (breaker, clock) = breaker(1);
    let old: Vec<_> = (0..5).map(|_| breaker.allow().unwrap()).collect();
    trip(&breaker);
    advance(&clock, RESET);
    let probe = breaker.allow().unwrap();
    breaker.reset();
    probe.failure();
    old.into_iter().for_each(Permit::failure);
    assert_eq!(breaker.state(), BreakerState::Closed { failures: 0 });
}

#[test]
fn other_settings_leave_what_is_open_open() {
    let (breaker, clock) = breaker(1);
    trip(&breaker);
    advance(&clock, RESET / 2);
    breaker.retune(BreakerConfig { failures: 1, reset: RESET * 2, probes: 1 });
    advance(&clock, RESET);
    assert!(breaker.allow().is_none(), "the new time counts from when it opened");
    advance(&clock, RESET / 2);
    breaker.allow().unwrap().success();
    breaker.allow().unwrap().failure();
    assert!(breaker.allow().is_none(), "one failure is enough now");
}

#[test]
fn a_panic_through_a_permit_is_a_failure() {
    let breaker = CircuitBreaker::builder().failures(1).build();
    let panicked = catch_unwind(AssertUnwindSafe(|| {
        let _permit = breaker.allow().unwrap();
        panic!("in the call");
    }));
    assert!(panicked.is_err() && breaker.allow().is_none());
}

/// How the next call fails.
#[derive(Clone, Copy, Debug)]
enum Failure {
    Dropped,
    TimesOut,
    Panics,
}

/// A service under a breaker that replies while `healthy` is set, and otherwise fails as `failure`
/// says.
fn failing(breaker: &CircuitBreaker, failure: Failure, healthy: Arc<AtomicBool>) -> CallService {
    let inner = CallService::from_fn(move |_call| {
        let healthy = healthy.load(Ordering::SeqCst);
        async move {
            match failure {
                _ if healthy => Ok(Reply::raw("")),
                Failure::Panics => panic!("a probe"),
                Failure::Dropped | Failure::TimesOut => std::future::pending().await,
            }
        }
    });
    CallService::new(BreakerLayer::new(breaker.clone()).layer(inner))
}

#[tokio::test(start_paused = true)]
async fn a_probe_that_is_dropped_times_out_or_panics_never_holds_its_place() {
    for failure in [Failure::Dropped, Failure::TimesOut, Failure::Panics] {
        let breaker = CircuitBreaker::builder().failures(1).reset(RESET).probes(1).build();
        let healthy = Arc::new(AtomicBool::new(false));
        let service = failing(&breaker, failure, Arc::clone(&healthy));
        for round in 0..50 {
            breaker.record_failure();
            tokio::time::sleep(RESET).await;
            assert_eq!(
                breaker.state(),
                BreakerState::HalfOpen { successes: 0 },
                "{failure:?} {round}"
            );
            let mut call = once();
            let limit = Duration::from_millis(10);
            if matches!(failure, Failure::TimesOut) {
                *call.context_mut() = crate::context::Context::new().with_timeout(limit);
            }
            let probe = tokio::spawn(tokio::time::timeout(limit, service.send(call)));
            assert!(
                !matches!(probe.await, Ok(Ok(_))),
                "{failure:?} {round}: it has not ended well"
            );
            let opened = matches!(breaker.state(), BreakerState::Open { .. });
            assert_eq!(
                opened,
                !matches!(failure, Failure::Dropped),
                "{failure:?} {round}: a cancellation is no failure"
            );
            tokio::time::sleep(RESET).await;
            healthy.store(true, Ordering::SeqCst);
            assert!(
                service.send(once()).await.is_ok(),
                "{failure:?} {round}: the next probe may go"
            );
            assert_eq!(breaker.state(), BreakerState::Closed { failures: 0 });
            healthy.store(false, Ordering::SeqCst);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn half_open_it_lets_one_of_fifty_callers_through() {
    let breaker = CircuitBreaker::builder().failures(1).probes(1).build();
    let (gate, inside) = (Arc::new(Notify::new()), Arc::new(AtomicUsize::new(0)));
    let (opens, counts) = (Arc::clone(&gate), Arc::clone(&inside));
    let inner = CallService::from_fn(move |_call| {
        let (gate, inside) = (Arc::clone(&gate), Arc::clone(&inside));
        async move {
            inside.fetch_add(1, Ordering::SeqCst);
            gate.notified().await;
            Ok(Reply::raw(""))
        }
    });
    let service = CallService::new(BreakerLayer::new(breaker.clone()).layer(inner));
    breaker.record_failure();
    tokio::time::sleep(RESET).await;
    let probe = tokio::spawn(service.send(once()));
    tokio::task::yield_now().await;
    for _ in 0..49 {
        let refused = service.send(once()).await.unwrap_err();
        assert_eq!((refused.kind(), refused.sent()), (ErrorKind::CircuitOpen, Sent::No));
    }
    opens.notify_one();
    assert!(probe.await.unwrap().is_ok());
    assert_eq!(counts.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn cancelled_calls_do_not_open_it_and_a_panic_does() {
    let breaker = CircuitBreaker::builder().failures(1).build();
    let healthy = Arc::new(AtomicBool::new(false));
    let service = failing(&breaker, Failure::Dropped, Arc::clone(&healthy));
    for _ in 0..5 {
        let mut call = service.send(once());
        assert!(is_pending_once(&mut call).await);
    }
    assert_eq!(breaker.state(), BreakerState::Closed { failures: 0 });
    let panics = failing(&breaker, Failure::Panics, healthy);
    assert!(tokio::spawn(panics.send(once())).await.unwrap_err().is_panic());
    assert!(matches!(breaker.state(), BreakerState::Open { .. }));
}

/// Polls a future once; returns whether it is pending.
async fn is_pending_once<F: Future + Unpin>(future: &mut F) -> bool {
    std::future::poll_fn(|cx| {
        std::task::Poll::Ready(std::pin::Pin::new(&mut *future).poll(cx).is_pending())
    })
    .await
}

#[tokio::test]
async fn services_that_share_a_breaker_open_together_and_an_answer_keeps_it_closed() {
    let breaker = CircuitBreaker::builder().failures(2).build();
    let layer = BreakerLayer::new(breaker.clone());
    let (down, up) =
        (Backend::failing(error(ErrorKind::Connect)), Backend::new(|_| Ok(Reply::raw(""))));
    let [down_service, up_service] =
        [&down, &up].map(|backend| CallService::new(layer.layer(backend.service.clone())));
    down_service.send(once()).await.unwrap_err();
    assert!(up_service.send(once()).await.is_ok(), "a success takes the failure back");
    for _ in 0..2 {
        down_service.send(once()).await.unwrap_err();
    }
    let refused: Error = up_service.send(once()).await.unwrap_err();
    assert_eq!((refused.kind(), up.calls()), (ErrorKind::CircuitOpen, 1));
}

#[tokio::test(start_paused = true)]
async fn a_probe_that_hangs_makes_room_for_another_after_one_more_reset() {
    let breaker = CircuitBreaker::builder().failures(1).reset(RESET).probes(2).build();
    let hangs = failing(&breaker, Failure::Dropped, Arc::default());
    breaker.record_failure();
    tokio::time::sleep(RESET).await;
    let hanging = tokio::spawn(hangs.send(once()));
    tokio::time::sleep(RESET - Duration::from_millis(1)).await;
    assert!(breaker.allow().is_none(), "the probe may still be answered");
    tokio::time::sleep(Duration::from_millis(1)).await;
    let second = breaker.allow().expect("the first probe has had its time");
    assert!(breaker.allow().is_none(), "one at a time still");
    hanging.abort();
    assert!(hanging.await.unwrap_err().is_cancelled());
    assert!(breaker.allow().is_none(), "the first probe gives back no place of the second");
    second.success();
    breaker.allow().unwrap().success();
    assert_eq!(breaker.state(), BreakerState::Closed { failures: 0 });
}

#[test]
fn the_late_verdict_of_a_probe_counts_and_leaves_the_place_of_the_next_one() {
    let (breaker, clock) = breaker(3);
    trip(&breaker);
    advance(&clock, RESET);
    let [first, second] = [(); 2].map(|()| {
        let probe = breaker.allow().unwrap();
        advance(&clock, RESET);
        probe
    });
    let third = breaker.allow().unwrap();
    first.success();
    assert_eq!(
        breaker.state(),
        BreakerState::HalfOpen { successes: 1 },
        "a slow far end is no dead one"
    );
    assert!(breaker.allow().is_none());
    second.failure();
    assert!(matches!(breaker.state(), BreakerState::Open { .. }));
    third.success();
    assert!(
        matches!(breaker.state(), BreakerState::Open { .. }),
        "it began before the breaker opened"
    );
}

#[test]
fn without_a_pause_there_is_one_probe_at_a_time_still() {
    let now = Arc::new(Mutex::new(Instant::now()));
    let clock = Arc::clone(&now);
    let builder = CircuitBreaker::builder().failures(1).reset(Duration::ZERO);
    let breaker = builder.clock(move || *clock.lock().unwrap()).build();
    breaker.record_failure();
    let _probe = breaker.allow().expect("it opens for no time");
    assert!(breaker.allow().is_none(), "a probe is out");
    advance(&now, Duration::from_secs(1));
    assert!(breaker.allow().is_some(), "it has had its time");
}
