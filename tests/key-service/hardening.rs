//! HS-01, HS-04: what the process gives up, whom it does not let near its secrets, and how it gets the PIN. The real
//! program, as a child.

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, Command, Stdio};
use std::sync::Once;

use cryptoki::mechanism::Mechanism;
use cryptoki::object::Attribute;
use nix::unistd::{Gid, Uid, chown, geteuid};
use pki::Authority;
use support::softhsm::{MODULE, SoftHsm, Token, write_secret};

use crate::running::{KeyService, jwks, sign, write_certificate};
use crate::surface::get;
use crate::token::intruder;

const RING: &str = "id-token/ES256";
/// EX_USAGE of sysexits.h: to start it again changes nothing.
const USAGE: Option<i32> = Some(64);
/// nobody's, where the tests run as root.
const NOBODY: u32 = 65534;

/// The program, which no other test of this binary needs to be built.
pub(crate) fn program() -> PathBuf {
    static BUILT: Once = Once::new();
    BUILT.call_once(|| {
        let built = Command::new(env!("CARGO"))
            .args(["build", "--quiet", "--workspace", "--bins"])
            .current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap())
            .status()
            .unwrap();
        assert!(built.success());
    });
    Path::new(env!("CARGO_BIN_EXE_stack")).with_file_name("key-service")
}

/// A configuration that may be started by root.
pub(crate) fn configuration(backend: &str, more: &str) -> String {
    format!("allow_root = true\n{}", for_users(backend, more))
}

fn for_users(backend: &str, more: &str) -> String {
    let uid = geteuid();
    format!(
        "[listen]\nunix = \"socket\"\n\
         [[callers.allow]]\nname = \"local\"\nuid = {uid}\nservices = [\"keys\", \"admin\"]\nrings = [\"*\"]\nimports = true\n\
         [backend]\n{backend}\n[policy]\nissuer = \"https://issuer.example\"\n\
         [[rings]]\nname = \"{RING}\"\n{more}"
    )
}

const SOFTWARE: &str =
    "kind = \"software\"\ndirectory = \"keys\"\npassphrase_file = \"passphrase\"";

fn token(pin: &str) -> String {
    format!("kind = \"pkcs11\"\nmodule = \"{MODULE}\"\ntoken = \"signet\"\n{pin}")
}

fn write(folder: &Path, text: &str) -> PathBuf {
    let path = folder.join("key-service.toml");
    fs::write(&path, text).unwrap();
    set_mode(&path, 0o644);
    path
}

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

pub(crate) fn serve(configuration: &Path) -> Command {
    let mut command = Command::new(program());
    command.args(["serve", "--config"]).arg(configuration);
    command
}

/// The same with the content of `file` at descriptor 3.
fn serve_with_descriptor(configuration: &Path, file: &Path) -> Command {
    let mut command = Command::new("sh");
    command
        .args(["-c", r#"exec "$0" serve --config "$1" 3< "$2""#])
        .arg(program())
        .args([configuration, file]);
    command
}

/// The exit code, and all that it said.
fn refused(mut command: Command) -> (Option<i32>, String) {
    let output = command.stdin(Stdio::null()).output().unwrap();
    let words = [output.stdout, output.stderr].concat();
    (output.status.code(), String::from_utf8(words).unwrap())
}

/// One that serves. Ended when dropped.
pub(crate) struct Serving {
    child: Child,
    _log: BufReader<ChildStderr>,
}

impl Serving {
    pub(crate) fn start(mut command: Command) -> Serving {
        let child = command.stderr(Stdio::piped()).spawn().unwrap();
        Serving::wait(child)
    }

    fn wait(mut child: Child) -> Serving {
        let mut log = BufReader::new(child.stderr.take().unwrap());
        let mut said = String::new();
        loop {
            let mut line = String::new();
            assert_ne!(log.read_line(&mut line).unwrap(), 0, "it ended: {said}");
            said += &line;
            if line.contains("\"serving\"") {
                return Serving { child, _log: log };
            }
        }
    }

    fn proc(&self, name: &str) -> PathBuf {
        Path::new("/proc")
            .join(self.child.id().to_string())
            .join(name)
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        // It may have ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn it_gives_up_what_it_does_not_need() {
    let folder = tempfile::tempdir().unwrap();
    write_secret(&folder.path().join("passphrase"), "correct horse");
    let path = write(folder.path(), &for_users(SOFTWARE, ""));
    let mut command = serve(&path);
    if geteuid().is_root() {
        // As root it does not start; so nobody starts it, with a program that nobody can reach.
        let (code, words) = refused(serve(&path));
        assert_eq!(code, USAGE, "{words}");
        assert!(words.contains("running as root"), "{words}");
        let reachable = folder.path().join("key-service");
        fs::copy(program(), &reachable).unwrap();
        for path in [
            folder.path(),
            &reachable,
            &path,
            &folder.path().join("passphrase"),
        ] {
            let (user, group) = (Uid::from_raw(NOBODY), Gid::from_raw(NOBODY));
            chown(path, Some(user), Some(group)).unwrap();
        }
        command = Command::new(reachable);
        command
            .args(["serve", "--config"])
            .arg(&path)
            .uid(NOBODY)
            .gid(NOBODY);
    }
    let serving = Serving::start(command);
    let limits = fs::read_to_string(serving.proc("limits")).unwrap();
    let core = limits
        .lines()
        .find(|line| line.starts_with("Max core file size"));
    let core: Vec<&str> = core.unwrap().split_whitespace().skip(4).take(2).collect();
    assert_eq!(core, ["0", "0"]);
    let status = fs::read_to_string(serving.proc("status")).unwrap();
    for line in ["NoNewPrivs:\t1", "Umask:\t0077"] {
        assert!(status.lines().any(|it| it == line), "{line}: {status}");
    }
    // The files below /proc/PID belong to root when the process is not dumpable, and otherwise to its user (proc(5)).
    let user = if geteuid().is_root() {
        NOBODY
    } else {
        geteuid().as_raw()
    };
    assert!(
        status.contains(&format!("Uid:\t{user}\t{user}")),
        "{status}"
    );
    assert_eq!(fs::metadata(serving.proc("status")).unwrap().uid(), 0);
}

#[test]
fn what_others_can_read_or_change_refuses_the_start() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    write_secret(&at("passphrase"), "correct horse");
    let authority = Authority::new("test CA").unwrap();
    write_certificate(folder.path(), &authority);
    fs::write(at("ca.pem"), authority.certificate_pem()).unwrap();
    for name in ["audit", "module"] {
        fs::create_dir(at(name)).unwrap();
        set_mode(&at(name), 0o755);
    }
    fs::copy(MODULE, at("module/module.so")).unwrap();
    set_mode(&at("module/module.so"), 0o644);
    let more = "[audit]\npath = \"audit/audit.log\"\n\
                [tls]\ncertificate_file = \"key-service.pem\"\nkey_file = \"key-service.key\"\n\
                client_ca_file = \"ca.pem\"\n";
    let text = configuration(SOFTWARE, more);
    let software = text.replace("[listen]\n", "[listen]\ntcp = \"127.0.0.1:0\"\n");
    // Makes the keys.
    drop(Serving::start(serve(&write(folder.path(), &software))));
    let keys = fs::read_dir(at("keys")).unwrap();
    let mut keys = keys.map(|entry| entry.unwrap().path());
    let key = keys
        .find(|path| path.extension().is_some_and(|it| it == "key"))
        .unwrap();
    let module = at("module/module.so");
    let pkcs11 = configuration(
        &format!(
            "kind = \"pkcs11\"\nmodule = {module:?}\ntoken = \"t\"\npin_file = \"passphrase\""
        ),
        "",
    );
    for (what, text, path, loose, remedy) in [
        (
            "configuration",
            &software,
            at("key-service.toml"),
            0o646,
            "chmod go-w",
        ),
        (
            "TLS private key",
            &software,
            at("key-service.key"),
            0o640,
            "chmod 600",
        ),
        (
            "callers' authority",
            &software,
            at("ca.pem"),
            0o646,
            "chmod go-w",
        ),
        (
            "passphrase",
            &software,
            at("passphrase"),
            0o604,
            "chmod 600",
        ),
        ("folder of keys", &software, at("keys"), 0o710, "chmod 700"),
        ("salt", &software, at("keys/salt.json"), 0o602, "chmod 600"),
        ("sealed key", &software, key, 0o640, "chmod 600"),
        ("audit folder", &software, at("audit"), 0o757, "chmod o-w"),
        ("module", &pkcs11, module.clone(), 0o646, "chmod go-w"),
        ("its folder", &pkcs11, at("module"), 0o757, "chmod go-w"),
        (
            "folder of the configuration",
            &software,
            folder.path().to_owned(),
            0o707,
            "chmod go-w",
        ),
    ] {
        let configuration = write(folder.path(), text);
        let mode = fs::metadata(&path).unwrap().permissions().mode();
        set_mode(&path, loose);
        let (code, words) = refused(serve(&configuration));
        set_mode(&path, mode);
        assert_eq!(code, USAGE, "{what}: {words}");
        let said = format!("run `{remedy} {}`", path.display());
        assert!(words.contains(&said), "{what}: {said}: {words}");
        assert!(
            words.contains(&format!("mode {loose:03o}")),
            "{what}: {words}"
        );
        assert!(!words.contains("correct horse"), "{what}: {words}");
    }
    // With the modes that they had, it starts.
    drop(Serving::start(serve(&write(folder.path(), &software))));
}

/// Where this machine lets us have mounts of our own.
#[test]
fn a_configuration_on_a_read_only_mount_is_changed_by_nobody() {
    let folder = tempfile::tempdir().unwrap();
    write_secret(&folder.path().join("passphrase"), "correct horse");
    let path = write(folder.path(), &configuration(SOFTWARE, ""));
    set_mode(&path, 0o666);
    assert_eq!(refused(serve(&path)).0, USAGE);
    let apart = || {
        let mut command = Command::new("unshare");
        command.args(["--mount", "--map-root-user", "sh", "-c"]);
        command
    };
    let mount = r#"mount --bind "$1" "$1" && mount -o remount,ro,bind "$1""#;
    let mut tried = apart();
    tried.args([mount, "sh"]).arg(&path);
    if !tried.output().is_ok_and(|output| output.status.success()) {
        return;
    }
    let mut command = apart();
    let run = format!("{mount} && exec \"$0\" serve --config \"$1\"");
    command.arg(run).arg(program()).arg(&path);
    drop(Serving::start(command));
}

#[test]
fn hs_04_the_pin_comes_by_file_descriptor_or_credential() {
    let name = "hardening::hs_04_the_pin_comes_by_file_descriptor_or_credential";
    let Some(softhsm) = SoftHsm::in_own_process(name) else {
        return;
    };
    let made = softhsm.token("signet", "correct-4711");
    let folder = tempfile::tempdir().unwrap();
    let credentials = folder.path().join("credentials");
    fs::create_dir(&credentials).unwrap();
    let credential = credentials.join("hsm-pin");
    write_secret(&credential, "correct-4711\n");
    set_mode(&credential, 0o400);
    let with = |pin: &str| write(folder.path(), &configuration(&token(pin), ""));

    // To make keys it must have logged in.
    let serving = Serving::start(serve_with_descriptor(&with("pin_fd = 3"), &made.pin_file));
    // Only root sees the descriptors of a process that cannot be traced.
    if geteuid().is_root() {
        let links = fs::read_dir(serving.proc("fd")).unwrap();
        let is_open = |path: PathBuf| fs::read_link(path).is_ok_and(|to| to == made.pin_file);
        assert!(!links.map(|entry| entry.unwrap().path()).any(is_open));
    }
    drop(serving);
    // From a pipe.
    let mut command = Command::new("sh");
    command
        .args([
            "-c",
            r#"exec 3<&0 < /dev/null; exec "$0" serve --config "$1""#,
        ])
        .arg(program())
        .arg(with("pin_fd = 3"))
        .stdin(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut pipe = child.stdin.take().unwrap();
    pipe.write_all(b"correct-4711\n").unwrap();
    drop(pipe);
    drop(Serving::wait(child));
    let mut command = serve(&with("pin_credential = \"hsm-pin\""));
    command.env("CREDENTIALS_DIRECTORY", &credentials);
    drop(Serving::start(command));
    let file = format!("pin_file = {:?}", made.pin_file);
    drop(Serving::start(serve(&with(&file))));

    let wrong = softhsm.secret("wrong", "wrong-0815");
    let loose = softhsm.secret("loose", "correct-4711");
    set_mode(&loose, 0o644);
    let in_the_folder = |name: &str| {
        let mut command = serve(&with(&format!("pin_credential = \"{name}\"")));
        command.env("CREDENTIALS_DIRECTORY", &credentials);
        command
    };
    let mut without = serve(&with("pin_credential = \"hsm-pin\""));
    without.env_remove("CREDENTIALS_DIRECTORY");
    // Each is written just before it is read.
    let run = |pin: &str| refused(serve(&with(pin)));
    for (what, (code, words), said) in [
        (
            "no source",
            run(""),
            "exactly one of `pin_file`, `pin_fd` and `pin_credential`",
        ),
        (
            "two",
            run(&format!("{file}\npin_fd = 3")),
            "exactly one of `pin_file`",
        ),
        ("not open", run("pin_fd = 9"), "descriptor 9 is not open"),
        (
            "standard input",
            run("pin_fd = 0"),
            "pin_fd = 0 is not a descriptor",
        ),
        (
            "loose",
            run(&format!("pin_file = {loose:?}")),
            "run `chmod 600",
        ),
        (
            "a wrong one",
            refused(serve_with_descriptor(&with("pin_fd = 3"), &wrong)),
            "PIN from descriptor 3",
        ),
        (
            "empty",
            refused(serve_with_descriptor(
                &with("pin_fd = 3"),
                Path::new("/dev/null"),
            )),
            "descriptor 3 is empty",
        ),
        (
            "no folder of credentials",
            {
                with("pin_credential = \"hsm-pin\"");
                refused(without)
            },
            "LoadCredential=hsm-pin:FILE",
        ),
        (
            "not in the folder",
            refused(in_the_folder("other")),
            "credentials/other",
        ),
        (
            "outside of it",
            refused(in_the_folder("../wrong")),
            "is not the name of a file",
        ),
    ] {
        assert_eq!(code, USAGE, "{what}: {words}");
        assert!(words.contains(said), "{what}: {words}");
        let told = ["correct-4711", "wrong-0815"]
            .iter()
            .any(|pin| words.contains(pin));
        assert!(!told, "{what}: {words}");
    }
    // A wrong PIN was tried once: it still opens.
    drop(Serving::start(serve(&with(&file))));
}

#[test]
fn a_passphrase_comes_the_same_ways() {
    let folder = tempfile::tempdir().unwrap();
    let passphrase = folder.path().join("passphrase");
    write_secret(&passphrase, "correct horse");
    let with = |source: &str| {
        let backend = SOFTWARE.replace("passphrase_file = \"passphrase\"", source);
        write(folder.path(), &configuration(&backend, ""))
    };
    drop(Serving::start(serve(&with(
        "passphrase_file = \"passphrase\"",
    ))));
    let path = with("passphrase_fd = 3");
    drop(Serving::start(serve_with_descriptor(&path, &passphrase)));
    let mut command = serve(&with("passphrase_credential = \"passphrase\""));
    command.env("CREDENTIALS_DIRECTORY", folder.path());
    drop(Serving::start(command));
    let other = folder.path().join("other");
    write_secret(&other, "wrong horse");
    let (code, words) = refused(serve_with_descriptor(&with("passphrase_fd = 3"), &other));
    assert_eq!(code, USAGE, "{words}");
    assert!(
        words.contains("the passphrase in descriptor 3 is not"),
        "{words}"
    );
}

/// A key that this service did not make: it can be taken out of the token.
fn extractable(token: &Token, label: &str, id: &[u8]) {
    let names = [
        Attribute::Token(true),
        Attribute::Label(label.as_bytes().to_vec()),
        Attribute::Id(id.to_vec()),
    ];
    let p256 = [0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07];
    let mut public = names.to_vec();
    public.extend([Attribute::EcParams(p256.to_vec()), Attribute::Verify(true)]);
    let mut private = names.to_vec();
    private.extend([
        Attribute::Private(true),
        Attribute::Sensitive(true),
        Attribute::Extractable(true),
        Attribute::Sign(true),
        Attribute::Decrypt(false),
        Attribute::Derive(false),
        Attribute::Unwrap(false),
        Attribute::SignRecover(false),
    ]);
    intruder(token)
        .generate_key_pair(&Mechanism::EccKeyPairGen, &public, &private)
        .unwrap();
}

#[tokio::test]
async fn hs_01_a_weak_key_is_not_used_and_refuses_the_next_start() {
    let name = "hardening::hs_01_a_weak_key_is_not_used_and_refuses_the_next_start";
    let Some(softhsm) = SoftHsm::in_own_process(name) else {
        return;
    };
    let made = softhsm.token("signet", "1234");
    let home = crate::contract::pkcs11(&made);
    let service = KeyService::start_at(&home, &format!("[[rings]]\nname = \"{RING}\"\n"));
    let mut keys = service.keys().await;
    let before = sign(&mut keys, RING, service.now()).await.unwrap().kid;
    let alarm = |is_raised: u8| {
        let line = format!("key_service_alarm{{ring=\"{RING}\",alarm=\"defective\"}} {is_raised}");
        let metrics = get(service.running.metrics_address().unwrap(), "/metrics");
        assert!(metrics.contains(&line), "{line}: {metrics}");
    };
    alarm(0);
    // With this label it would win its generation, and sign.
    let now = service.now();
    extractable(&made, &format!("k1/{RING}/2/{}", now - 3600), b"weak");
    service.running.keyring().keep_up().await.unwrap();
    alarm(1);
    let after = sign(&mut keys, RING, service.now()).await.unwrap().kid;
    assert_eq!(after, before);
    assert_eq!(jwks(&mut keys).await.keys.len(), 2);
    drop(service);

    let folder = tempfile::tempdir().unwrap();
    let text = configuration(&token(&format!("pin_file = {:?}", made.pin_file)), "");
    let path = write(folder.path(), &text);
    let (code, words) = refused(serve(&path));
    assert_eq!(code, Some(1), "{words}");
    for said in [
        "SoftHSM v2 token \"signet\"",
        "id 7765616b: extractable, was extractable",
        "pkcs11-tool --delete-object",
        &format!("k1/{RING}/2/"),
    ] {
        assert!(words.contains(said), "{said}: {words}");
    }
    // As it says.
    for kind in ["privkey", "pubkey"] {
        let mut tool = Command::new("pkcs11-tool");
        tool.args([
            "--module",
            MODULE,
            "--token-label",
            "signet",
            "--login",
            "--pin",
            "1234",
        ]);
        tool.args(["--delete-object", "--type", kind, "--id", "7765616b"]);
        let output = tool.output();
        // Of the package opensc, which not everybody has.
        let is_gone = output.is_ok_and(|output| output.status.success());
        if !is_gone {
            let id = [Attribute::Id(b"weak".to_vec())];
            let session = intruder(&made);
            for object in session.find_objects(&id).unwrap() {
                session.destroy_object(object).unwrap();
            }
        }
    }
    drop(Serving::start(serve(&path)));
}

#[test]
fn init_makes_keys_and_serves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    write_secret(&folder.path().join("passphrase"), "correct horse");
    let more = "[[rings]]\nname = \"id-token/EdDSA\"\n[[rings]]\nname = \"seal/A256GCM\"\n";
    let path = write(folder.path(), &configuration(SOFTWARE, more));
    let init = |more: &[&str]| {
        let mut command = Command::new(program());
        command.args(["init", "--config"]).arg(&path).args(more);
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut text = String::new();
        let mut out = child.stdout.take().unwrap();
        out.read_to_string(&mut text).unwrap();
        (child.wait().unwrap().code(), text)
    };
    let (code, first) = init(&[]);
    assert_eq!(code, Some(0));
    let set: jsonwebtoken::jwk::JwkSet = serde_json::from_str(&first).unwrap();
    // Of each ring the first key and its standby; of those for ourselves nothing.
    assert_eq!(set.keys.len(), 4);
    assert!(!folder.path().join("socket").exists());
    // What is there is not made again.
    assert_eq!(init(&[]), (Some(0), first));
    let (_, one) = init(&["--ring", RING]);
    let set: jsonwebtoken::jwk::JwkSet = serde_json::from_str(&one).unwrap();
    assert_eq!(set.keys.len(), 2);
    assert_eq!(init(&["--ring", "id-token/RS256"]).0, USAGE);
}
