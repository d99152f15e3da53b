//! The memory of used proofs.

use std::cell::Cell;

use super::*;

/// Runs a future that is ready at once.
fn now_or_never<T>(future: impl Future<Output = T>) -> T {
    let mut future = std::pin::pin!(future);
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    match future.as_mut().poll(&mut context) {
        std::task::Poll::Ready(value) => value,
        std::task::Poll::Pending => panic!("it waits"),
    }
}

#[test]
fn rfc9449_11_1_1__a_proof_is_good_for_one_request_to_one_uri() {
    let memory = SingleProcess::new();
    let key = key();
    let uris = vec![
        RequestUri::parse(URI).unwrap(),
        RequestUri::parse("https://alias.test/token").unwrap(),
    ];
    let proof = |changes: Value| {
        expected(&uris)
            .verify(&signed(&key, &with(&changes)))
            .unwrap()
    };
    let spend = |proof: &Proof, now| now_or_never(memory.spend(proof, now));
    let first = proof(json!({}));
    assert_eq!(spend(&first, NOW), Presented::First);
    assert_eq!(spend(&first, NOW), Presented::Again);
    assert_eq!(spend(&first, NOW + 60), Presented::Again);
    // The same one in another spelling of its URI is the same.
    let spelled = proof(json!({ "htu": "https://AS.test:443/token" }));
    assert_eq!(spend(&spelled, NOW), Presented::Again);
    for other in [
        json!({ "jti": "b" }),
        json!({ "htu": "https://alias.test/token" }),
    ] {
        assert_eq!(spend(&proof(other), NOW), Presented::First);
    }
    // When it is not in force any more, it need not be remembered.
    assert_eq!(
        spend(&proof(json!({ "jti": "c" })), NOW + 61),
        Presented::First
    );
    assert_eq!(memory.note(&first, NOW + 61), Presented::First);
}

#[test]
fn a_full_memory_takes_no_further_proof() {
    let memory = SingleProcess::new();
    let one = verified(&claims()).unwrap();
    let next = Cell::new(0_u32);
    let another = || {
        next.set(next.get() + 1);
        one.clone().with_id(&next.get().to_string())
    };
    for _ in 0..spent::MOST {
        assert_eq!(memory.note(&another(), NOW), Presented::First);
    }
    assert_eq!(memory.note(&another(), NOW), Presented::Unremembered);
    assert_eq!(memory.note(&another(), NOW + 61), Presented::First);
}
