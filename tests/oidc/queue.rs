//! The contract of the store's queues, kept by both: see `store.rs`.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use oidc_gateway::store::{Key, Store};

use crate::store::{Fixture, LEASE, SHORT, on_both, run};

fn entry(text: &'static str) -> Bytes {
    Bytes::from_static(text.as_bytes())
}

/// Each verb once: whoever asks is allowed to.
pub(crate) async fn works(store: &dyn Store) {
    let (queue, entries) = (Key::queue("x"), [entry("e")]);
    let put = store.enqueue(&queue, &entries, Duration::ZERO).await;
    put.unwrap();
    assert_eq!(store.due(&queue, 1, LEASE).await.unwrap(), entries);
    store.dequeue(&queue, &entries[0]).await.unwrap();
}

#[test]
fn entries_come_when_they_are_due() {
    run(|| {
        on_both(async |on: Arc<Fixture>| {
            let (queue, other) = (on.key(), on.key());
            let due = async |most, lease| on.store.due(&queue, most, lease).await.unwrap();
            let enqueue = async |entries: &[Bytes], after| {
                let put = on.store.enqueue(&queue, entries, after).await;
                put.unwrap();
            };
            let none: [Bytes; 0] = [];
            assert_eq!(due(10, LEASE).await, none);
            enqueue(&[], Duration::ZERO).await;
            let gone = on.store.dequeue(&queue, &entry("nobody's")).await;
            gone.unwrap();
            enqueue(&[entry("later")], SHORT * 2).await;
            enqueue(&[entry("a"), entry("b"), entry("a")], Duration::ZERO).await;
            let first = due(10, SHORT).await;
            assert_eq!(first, ["a", "b"], "each once, and what is not due waits");
            assert_eq!(due(10, SHORT).await, none, "it is somebody's");
            assert_eq!(on.store.due(&other, 10, LEASE).await.unwrap(), none);
            tokio::time::sleep(SHORT * 3).await;
            let again = due(2, LEASE).await;
            assert_eq!(again, ["a", "b"], "the longest due first, and no more");
            assert_eq!(due(2, LEASE).await, ["later"]);
            on.store.dequeue(&queue, &entry("a")).await.unwrap();
            enqueue(&[entry("b")], Duration::ZERO).await;
            let back = due(10, LEASE).await;
            assert_eq!(back, ["b"], "put back before its lease has ended");
            let octets: Bytes = (0..=255).collect();
            enqueue(std::slice::from_ref(&octets), Duration::ZERO).await;
            assert_eq!(due(10, LEASE).await, [octets]);
        })
    });
}

#[test]
fn an_entry_is_taken_by_one() {
    run(|| {
        on_both(async |on: Arc<Fixture>| {
            let queue = on.key();
            let entries: Vec<Bytes> = (0..50).map(|number: u8| vec![number].into()).collect();
            let put = on.store.enqueue(&queue, &entries, Duration::ZERO).await;
            put.unwrap();
            let taken = (0..20).map(|_| {
                let (on, queue) = (Arc::clone(&on), queue.clone());
                tokio::spawn(async move { on.store.due(&queue, 3, LEASE).await.unwrap() })
            });
            let mut all = Vec::new();
            for taken in taken.collect::<Vec<_>>() {
                all.extend(taken.await.unwrap());
            }
            all.sort();
            assert_eq!(all, entries);
        })
    });
}
