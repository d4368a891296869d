//! What only a token does: it is not there, it is not as it should be, it goes away and comes back.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use bytes::Bytes;
use cryptoki::mechanism::Mechanism;
use cryptoki::object::Attribute;
use key_service::algorithm::{RingAlgorithm, SignatureAlgorithm};
use key_service::backend::{Device, Error, KeyId, Settings, State};
use support::softhsm::{self, SoftHsm, Token};

use crate::contract::{INPUT, make, pkcs11};

#[test]
fn a_home_that_cannot_be_used_says_why() {
    let name = "token::a_home_that_cannot_be_used_says_why";
    let Some(softhsm) = SoftHsm::in_own_process(name) else {
        return;
    };
    let open = |token: &str, pin_file: PathBuf| {
        let settings = pkcs11(&Token {
            module: softhsm::MODULE.into(),
            label: token.to_owned(),
            pin_file,
        });
        Device::open(&settings).unwrap_err().to_string()
    };
    let good = softhsm.secret("good", "1234");
    let wrong = softhsm.secret("wrong", "9999");
    let loose = softhsm.secret("loose", "1234");
    fs::set_permissions(&loose, fs::Permissions::from_mode(0o644)).unwrap();
    let none = open("signet", good.clone());
    assert!(none.contains("no initialised token"), "{none}");
    let _token = softhsm.token("signet", "1234");
    let _other = softhsm.token("other", "1234");
    for (token, pin_file, said) in [
        ("signet", &wrong, "PIN refused; not tried again"),
        ("signet", &loose, "chmod 600"),
        ("signet", &softhsm.tokens().join("none"), "cannot read"),
        ("Signet", &good, "\"other\""),
    ] {
        let error = open(token, pin_file.clone());
        assert!(error.contains(said), "{error}");
    }
    for (module, said) in [
        ("/usr/lib/none.so", "no PKCS#11 module"),
        ("libsofthsm2.so", "absolute path"),
        ("/etc/hostname", "cannot load"),
    ] {
        let toml = format!(
            "kind = \"pkcs11\"\nmodule = \"{module}\"\ntoken = \"signet\"\npin_file = \"{}\"",
            good.display()
        );
        let settings: Settings = toml::from_str(&toml).unwrap();
        let error = Device::open(&settings).unwrap_err().to_string();
        assert!(error.contains(said), "{error}");
    }
    for wrong in [
        "kind = \"none\"",
        "kind = \"software\"",
        "kind = \"software\"\ndirectory = \"k\"\npassphrase_file = \"p\"\nlanes = 2",
        "kind = \"software\"\ndirectory = \"k\"\npassphrase_file = \"p\"\nrsa_bits = 1024",
    ] {
        assert!(toml::from_str::<Settings>(wrong).is_err(), "{wrong}");
    }
}

/// A session of our own beside the device's, as another program would have it.
pub(crate) fn intruder(token: &Token) -> cryptoki::session::Session {
    use cryptoki::context::Pkcs11;
    let module = Pkcs11::new(&token.module).unwrap();
    let slots = module.get_slots_with_initialized_token().unwrap();
    let slot = slots
        .into_iter()
        .find(|slot| module.get_token_info(*slot).unwrap().label() == token.label)
        .unwrap();
    module.open_rw_session(slot).unwrap()
}

#[tokio::test]
async fn keys_that_are_not_as_they_should_be_are_seen() {
    let name = "token::keys_that_are_not_as_they_should_be_are_seen";
    let Some(softhsm) = SoftHsm::in_own_process(name) else {
        return;
    };
    let token = softhsm.token("signet", "1234");
    let device = Device::open(&pkcs11(&token)).unwrap();
    let es256 = RingAlgorithm::Signature(SignatureAlgorithm::Es256);
    let good = make(&device, es256).await;
    let session = intruder(&token);
    let pair = |label: &str, id: &[u8], extractable: bool, decrypt: bool| {
        let names = [
            Attribute::Token(true),
            Attribute::Label(label.as_bytes().to_vec()),
            Attribute::Id(id.to_vec()),
        ];
        let mut public = names.to_vec();
        let p256 = [0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07];
        public.extend([Attribute::EcParams(p256.to_vec()), Attribute::Verify(true)]);
        let mut private = names.to_vec();
        private.extend([
            Attribute::Private(true),
            Attribute::Sensitive(!extractable),
            Attribute::Extractable(extractable),
            Attribute::Sign(true),
            Attribute::Decrypt(decrypt),
            Attribute::Derive(false),
            Attribute::Unwrap(false),
            Attribute::SignRecover(false),
        ]);
        session
            .generate_key_pair(&Mechanism::EccKeyPairGen, &public, &private)
            .unwrap()
    };
    pair(
        "k1/id-token/ES256/2/1700000000",
        b"extractable",
        true,
        false,
    );
    pair("k1/id-token/ES256/3/1700000000", b"two usages", false, true);
    pair(
        "k1/id-token/ES384/4/1700000000",
        b"another curve",
        false,
        false,
    );
    pair("k1/id-token/XS256/5/1700000000", b"strange", false, false);
    pair("somebody else's", b"somebody else's", true, true);
    let (rogue, _) = pair("k1/id-token/ES256/6/1700000000", b"swapped", false, false);
    let (other, _) = pair("rogue", b"rogue", false, false);
    // HS-02: the public half of another key under this key's id.
    session.destroy_object(rogue).unwrap();
    let renamed = [Attribute::Id(b"swapped".to_vec())];
    session.copy_object(other, &renamed).unwrap();

    let listing = device.list().await.unwrap();
    assert_eq!(listing.strange, ["k1/id-token/XS256/5/1700000000"]);
    let mut seen: Vec<(u64, bool)> = listing
        .keys
        .iter()
        .map(|key| (key.label.generation, key.defects.is_empty()))
        .collect();
    seen.sort_unstable();
    assert_eq!(
        seen,
        [(1, true), (2, false), (3, false), (4, false), (6, false)]
    );
    let swapped = listing
        .keys
        .iter()
        .find(|key| key.label.generation == 6)
        .unwrap();
    assert_eq!(swapped.defects, ["its public key is not its own"]);

    // A second public key under a good key's id: which one to publish could not be told.
    session
        .copy_object(other, &[Attribute::Id(good.id.0.to_vec())])
        .unwrap();
    let listing = device.list().await.unwrap();
    let key = listing.keys.iter().find(|key| key.id == good.id).unwrap();
    assert_eq!(key.defects, ["without one public key of its own"]);

    let extractable = KeyId(b"extractable".to_vec().into());
    let input = Bytes::from_static(INPUT);
    let asked = device
        .sign(&extractable, SignatureAlgorithm::Es256, input, None)
        .await;
    assert!(matches!(asked, Err(Error::NoSuchKey)), "{asked:?}");
}

#[tokio::test]
async fn a_token_that_comes_back_signs_again() {
    let name = "token::a_token_that_comes_back_signs_again";
    let Some(softhsm) = SoftHsm::in_own_process(name) else {
        return;
    };
    let device = Device::open(&pkcs11(&softhsm.token("signet", "1234"))).unwrap();
    let es256 = RingAlgorithm::Signature(SignatureAlgorithm::Es256);
    let key = make(&device, es256).await;
    let probe = || device.probe(&key.id, SignatureAlgorithm::Es256);
    probe().await.unwrap();

    let away = softhsm.tokens().with_extension("away");
    fs::rename(softhsm.tokens(), &away).unwrap();
    let gone = within(Duration::from_secs(5), async || probe().await.is_err()).await;
    assert!(gone, "a token that has vanished still signs");
    assert_eq!(device.state(), State::Down);
    let asked = probe().await;
    assert!(matches!(asked, Err(Error::Device(_))), "{asked:?}");

    fs::rename(&away, softhsm.tokens()).unwrap();
    let back = within(Duration::from_secs(10), async || probe().await.is_ok()).await;
    assert!(back, "the token did not come back");
    assert_eq!(device.state(), State::Up);
    assert_eq!(device.list().await.unwrap().keys.len(), 1);
}

async fn within(limit: Duration, is_so: impl AsyncFn() -> bool) -> bool {
    let end = Instant::now() + limit;
    while Instant::now() < end {
        if is_so().await {
            return true;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    false
}
