//! The memory of `once_key`: one answer for each key, for its time and within its octets.
#![allow(clippy::unwrap_used)]

use super::*;

const PRINT: [u8; 32] = [1; 32];
const OTHER: [u8; 32] = [2; 32];

fn once(size: usize) -> (Arc<Once>, Counter) {
    let forgotten = Counter::default();
    (Arc::new(Once::new(120, size, forgotten.clone())), forgotten)
}

fn name(caller: usize, key: u64) -> Name {
    Name {
        caller,
        key: key.to_be_bytes().into(),
    }
}

fn made(compact: &str) -> Made {
    Made {
        jws: Signed {
            compact: compact.to_owned(),
            key: None,
        },
        jwe: None,
    }
}

/// What somebody is told who asks.
fn told(once: &Arc<Once>, name: Name, now: i64, print: [u8; 32]) -> String {
    match once.ask(name, now, || Some(print)) {
        // Dropped: it was not signed.
        Ok(Turn::First(_)) => "first".to_owned(),
        Ok(Turn::Again(made)) => made.jws.compact.clone(),
        Err(error) => error.to_string(),
    }
}

fn reserve(once: &Arc<Once>, name: Name, now: i64) -> Reservation {
    match once.ask(name, now, || None) {
        Ok(Turn::First(reservation)) => reservation,
        other => panic!("{other:?}"),
    }
}

#[test]
fn one_key_one_answer() {
    let (once, forgotten) = once(1 << 20);
    assert_eq!(told(&once, name(0, 1), 0, PRINT), "first");
    let reservation = reserve(&once, name(0, 1), 0);
    let busy = Error::BeingSigned.to_string();
    for print in [PRINT, OTHER] {
        assert_eq!(told(&once, name(0, 1), 0, print), busy);
    }
    reservation.answer(PRINT, made("a")).keep(0);
    let refused = Error::from(Rule::Once).to_string();
    for (what, asked, now, print, expected) in [
        ("the same", name(0, 1), 0, PRINT, "a"),
        ("something else", name(0, 1), 0, OTHER, refused.as_str()),
        ("another caller's", name(1, 1), 0, OTHER, "first"),
        ("another key", name(0, 2), 0, OTHER, "first"),
        ("until the end", name(0, 1), 119, PRINT, "a"),
        ("and not after it", name(0, 1), 120, OTHER, "first"),
        ("a clock that was set back", name(0, 1), 0, PRINT, "first"),
    ] {
        assert_eq!(told(&once, asked, now, print), expected, "{what}");
    }
    assert_eq!(forgotten.get(), 0);
    assert!(once.memory().held.is_empty());
    assert_eq!(once.memory().octets, 0);
}

#[test]
fn without_room_the_oldest_goes_and_is_counted() {
    let each = made(&"x".repeat(1000)).size();
    let (once, forgotten) = once(3 * each);
    for key in 0..5 {
        reserve(&once, name(0, key), 0)
            .answer(PRINT, made(&"x".repeat(1000)))
            .keep(0);
        assert!(once.memory().octets <= 3 * each);
    }
    assert_eq!(forgotten.get(), 2);
    for (key, is_known) in [(0, false), (1, false), (2, true), (3, true), (4, true)] {
        let answer = told(&once, name(0, key), 0, PRINT);
        assert_eq!(answer.starts_with('x'), is_known, "{key}");
    }
    // One that has no room at all is forgotten too, and nothing goes wrong.
    reserve(&once, name(0, 9), 0)
        .answer(PRINT, made(&"x".repeat(9000)))
        .keep(0);
    let memory = once.memory();
    assert_eq!(
        (memory.octets, memory.held.len(), memory.order.len()),
        (0, 0, 0)
    );
}

#[test]
fn many_at_once_sign_once() {
    let (once, _) = once(1 << 20);
    let signed: usize = std::thread::scope(|scope| {
        let threads = [(); 8].map(|()| {
            scope.spawn(|| {
                (0..100)
                    .filter(|key| match once.ask(name(0, *key), 0, || Some(PRINT)) {
                        Ok(Turn::First(reservation)) => {
                            reservation.answer(PRINT, made("a")).keep(0);
                            true
                        }
                        _ => false,
                    })
                    .count()
            })
        });
        threads.map(|thread| thread.join().unwrap()).iter().sum()
    });
    assert_eq!(signed, 100);
}

#[test]
fn a_fingerprint_is_of_all_that_is_asked() {
    let secret = |alg: &str| v1::WrappedSecret {
        sealed: "s".to_owned(),
        context: "c".to_owned(),
        alg: alg.to_owned(),
    };
    let recipient = |key: Option<recipient::Key>, enc: &str| v1::Recipient {
        key,
        alg: "RSA-OAEP".to_owned(),
        enc: enc.to_owned(),
        cty: String::new(),
    };
    let hash = |claim: &str, item| v1::HashOf {
        claim: claim.to_owned(),
        item,
    };
    let base = v1::SignItem {
        profile: 1,
        key: Some(sign_item::Key::Ring("a".to_owned())),
        claims: "{}".into(),
        ..v1::SignItem::default()
    };
    let changed = |change: &dyn Fn(&mut v1::SignItem)| {
        let mut item = base.clone();
        change(&mut item);
        item
    };
    let jwk = Some(recipient::Key::Jwk("j".into()));
    let items = [
        base.clone(),
        changed(&|it| it.profile = 2),
        changed(&|it| it.key = None),
        changed(&|it| it.key = Some(sign_item::Key::Ring("b".to_owned()))),
        changed(&|it| it.key = Some(sign_item::Key::WrappedSecret(secret("HS256")))),
        changed(&|it| it.key = Some(sign_item::Key::WrappedSecret(secret("HS384")))),
        changed(&|it| it.claims = "{} ".into()),
        changed(&|it| it.hash_of = vec![hash("at_hash", 0)]),
        changed(&|it| it.hash_of = vec![hash("c_hash", 0)]),
        changed(&|it| it.hash_of = vec![hash("at_hash", 1)]),
        changed(&|it| it.encrypt_to = Some(recipient(None, "A128GCM"))),
        changed(&|it| it.encrypt_to = Some(recipient(jwk.clone(), "A128GCM"))),
        changed(&|it| it.encrypt_to = Some(recipient(jwk.clone(), "A256GCM"))),
    ];
    let tokens = [made("t"), made("u")];
    let of = |item: &v1::SignItem| fingerprint(item, |index| tokens.get(index as usize));
    for (index, item) in items.iter().enumerate() {
        for (other, another) in items.iter().enumerate() {
            assert_eq!(of(item) == of(another), index == other, "{index} {other}");
        }
    }
    // The key itself is no part of it, nor is the number of a token.
    let same = changed(&|it| it.once_key = Some("k".into()));
    assert_eq!(of(&same), of(&base));
    let hashed = changed(&|it| it.hash_of = vec![hash("at_hash", 0)]);
    let moved = changed(&|it| it.hash_of = vec![hash("at_hash", 7)]);
    assert_eq!(fingerprint(&moved, |_| tokens.first()), of(&hashed));
    assert_eq!(of(&moved), None);
}

#[test]
fn keys_are_of_some_length_and_each_is_there_once() {
    let item = |key: Option<&str>, hash_of: &[u32]| v1::SignItem {
        once_key: key.map(|key| key.to_owned().into()),
        hash_of: hash_of
            .iter()
            .map(|&item| v1::HashOf {
                claim: "at_hash".to_owned(),
                item,
            })
            .collect(),
        ..v1::SignItem::default()
    };
    let (a, b) = ("0123456789abcdef", "0123456789abcdeg");
    let long = "k".repeat(65);
    for (what, items, is_good) in [
        ("none", vec![item(None, &[]), item(None, &[0])], true),
        ("one", vec![item(Some(a), &[]), item(None, &[])], true),
        ("two", vec![item(Some(a), &[]), item(Some(b), &[0])], true),
        ("the longest", vec![item(Some(&long[1..]), &[])], true),
        ("too short", vec![item(Some(&a[1..]), &[])], false),
        ("empty", vec![item(Some(""), &[])], false),
        ("too long", vec![item(Some(&long), &[])], false),
        ("twice", vec![item(Some(a), &[]), item(Some(a), &[])], false),
        (
            "hash of what has none",
            vec![item(None, &[]), item(Some(a), &[0])],
            false,
        ),
        (
            "hash of a first",
            vec![item(Some(a), &[]), item(None, &[0])],
            true,
        ),
    ] {
        assert_eq!(names(&items, 0).is_ok(), is_good, "{what}");
    }
}
