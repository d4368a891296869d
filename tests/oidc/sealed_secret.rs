//! `client_secret_sealed`: a secret of the configuration that nobody but the key-service can use, looked at before anything
//! binds and again when the key-service answers.

use std::fs;
use std::time::{Duration, Instant};

use crate::rewrap::{
    PATIENCE, SEALED, WRITTEN, authenticate, change, file_of, gateway, seal_secret, start, table,
    text,
};
use crate::secrets::{configuration, folder};

#[tokio::test]
async fn sealed_secrets_of_the_configuration() {
    let stack = start();
    let file = file_of(&stack, 0);
    let lines = seal_secret(&file, SEALED.0, SEALED.1);
    let [sealed, hash] = &lines[..] else {
        panic!("{lines:?}");
    };
    let text_of_file = configuration(&folder(&stack), "gateway0").1;
    let changed = file.with_file_name("changed.toml");
    let basic = |table: String| table.replace("client_secret_jwt", "client_secret_basic");
    let hs256 = "id_token_signed_response_alg = \"HS256\"\n";
    #[rustfmt::skip]
    let rows = [
        ("good", table(SEALED.0, sealed), None),
        ("with a hash", table(SEALED.0, &format!("{sealed}\n{hash}")), None),
        ("another client's", table("other", sealed), Some("was sealed for another client_id")),
        ("not sealed", table(SEALED.0, "client_secret_sealed = \"a.b.c.d.e\""), Some("is not what `oidc-gateway seal-secret` prints")),
        ("no key", basic(table(SEALED.0, sealed)), Some("client_secret_hash is enough")),
        ("presented too", basic(table(SEALED.0, sealed)) + hs256, Some("is missing beside client_secret_sealed")),
        ("presented too, with a hash", basic(table(SEALED.0, &format!("{sealed}\n{hash}"))) + hs256, None),
        ("presented too, with a hash that is the key", basic(table(SEALED.0, &format!("{sealed}\nclient_secret_hash = \"$sha256$47DEQpj8HBSa-_TImW-5JCeuQeRkm5NMpJWZG3hSuFU\""))) + hs256, Some("would do as the key")),
        ("in clear too", table(SEALED.0, &format!("{sealed}\nclient_secret = \"{}\"", SEALED.1)), Some("give either client_secret or client_secret_sealed")),
    ];
    for (row, table, said) in rows {
        fs::write(&changed, format!("{text_of_file}{table}")).unwrap();
        let output = gateway(&changed, &["check-config"], "");
        let words = text(&output.stderr);
        assert_eq!(output.status.success(), said.is_none(), "{row}: {words}");
        assert!(words.contains(said.unwrap_or_default()), "{row}: {words}");
        assert!(!words.contains(SEALED.1), "{row}");
    }
    // By another key-service: it cannot be known before that answers, and then it is said.
    let stranger = start();
    let theirs = seal_secret(&file_of(&stranger, 0), SEALED.0, SEALED.1);
    drop(stranger);
    let table = table(SEALED.0, &theirs[0]);
    change(&stack, 0, |text| format!("{text}{table}"));
    let begun = Instant::now();
    while !stack
        .log("gateway0")
        .contains("cannot open this client's secret")
    {
        assert!(begun.elapsed() < PATIENCE, "{}", stack.log("gateway0"));
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let site = stack.site().at(0);
    assert_ne!(authenticate(&site, SEALED.0, SEALED.1).await, "200");
    assert_eq!(authenticate(&site, WRITTEN.0, WRITTEN.1).await, "200");
}
