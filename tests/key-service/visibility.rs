//! K-3: what one process writes into a token, the others see, also when they write at the same moment: a key that one of
//! them does not see is missing from what relying parties get of it.

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use key_service::backend::{Device, Label, Settings};
use support::softhsm::{self, SoftHsm, Token};

/// Names the PIN file to the other process.
const OTHER: &str = "SIGNET_TEST_OTHER_PROCESS";
/// Within the time that `generation` has by far.
const SEEN: Duration = Duration::from_secs(20);

fn settings(pin_file: &Path) -> Settings {
    let toml = format!(
        "kind = \"pkcs11\"\nmodule = \"{}\"\ntoken = \"signet\"\npin_file = \"{}\"\nlanes = 1",
        softhsm::MODULE,
        pin_file.display()
    );
    toml::from_str(&toml).unwrap()
}

fn label(generation: u64) -> Label {
    format!("k1/id-token/ES256/{generation}/1").parse().unwrap()
}

/// Not a test of its own: makes a key or says how many it sees, as it is told.
#[tokio::test]
#[ignore = "a process that another test starts"]
async fn the_other_process() {
    let Some(pin_file) = std::env::var_os(OTHER).map(PathBuf::from) else {
        return;
    };
    let device = Device::open(&settings(&pin_file)).unwrap();
    let mut out = std::io::stdout();
    // After the harness' own words.
    writeln!(out, "\nready").unwrap();
    for line in std::io::stdin().lock().lines() {
        let line = line.unwrap();
        match line.parse() {
            Ok(generation) => drop(device.generate(&label(generation)).await.unwrap()),
            Err(_) => assert_eq!(line, "list"),
        }
        let seen = device.list().await.unwrap().keys.len();
        writeln!(out, "sees {seen}").unwrap();
    }
}

struct Other {
    process: Child,
    told: ChildStdin,
    says: BufReader<ChildStdout>,
}

impl Drop for Other {
    fn drop(&mut self) {
        // It may have ended.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Other {
    fn start(token: &Token) -> Other {
        let mut process = Command::new(std::env::current_exe().unwrap())
            .args([
                "visibility::the_other_process",
                "--exact",
                "--ignored",
                "--nocapture",
            ])
            .env(OTHER, &token.pin_file)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let (told, says) = (
            process.stdin.take().unwrap(),
            process.stdout.take().unwrap(),
        );
        let mut other = Other {
            process,
            told,
            says: BufReader::new(says),
        };
        other.until("ready");
        other
    }

    fn until(&mut self, wanted: &str) -> String {
        loop {
            let mut line = String::new();
            let length = self.says.read_line(&mut line).unwrap();
            assert!(length > 0, "the other process ended");
            if let Some(rest) = line.trim().strip_prefix(wanted) {
                return rest.trim().to_owned();
            }
        }
    }

    fn ask(&mut self, word: &str) -> usize {
        writeln!(self.told, "{word}").unwrap();
        self.until("sees ").parse().unwrap()
    }
}

#[tokio::test]
async fn processes_that_write_at_once_see_each_other() {
    let name = "visibility::processes_that_write_at_once_see_each_other";
    let Some(softhsm) = SoftHsm::in_own_process(name) else {
        return;
    };
    let token = softhsm.token("signet", "1234");
    let device = Device::open(&settings(&token.pin_file)).unwrap();
    let mut other = Other::start(&token);
    let mut made = 0;
    for _ in 0..3 {
        // It looks, the other one writes, and then it writes itself: SoftHSM thinks that it has seen everything.
        device.list().await.unwrap();
        other.ask(&format!("{}", made + 1));
        device.generate(&label(made + 2)).await.unwrap();
        made += 2;
        let wanted = usize::try_from(made).unwrap();
        let begun = Instant::now();
        loop {
            let seen = (device.list().await.unwrap().keys.len(), other.ask("list"));
            if seen == (wanted, wanted) {
                break;
            }
            assert!(begun.elapsed() < SEEN, "{seen:?} of {wanted}");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        // What is written for that alone is gone again, and is none of ours.
        let listing = device.list().await.unwrap();
        assert_eq!((listing.tombstones.len(), listing.strange.len()), (0, 0));
    }
}
