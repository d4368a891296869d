//! The same operations without a service: aws-lc-rs, or a PKCS#11 module asked by a process of its own, with a thread for
//! each core. A module reads its configuration from the environment, so the program starts itself again for that.

use std::fmt::Write as _;
use std::process::{Command, ExitCode};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, RSA_PKCS1_SHA256, RsaKeyPair,
};
use cryptoki::context::{CInitializeArgs, CInitializeFlags, Pkcs11};
use cryptoki::mechanism::Mechanism;
use cryptoki::mechanism::eddsa::{EddsaParams, EddsaSignatureScheme};
use cryptoki::object::{Attribute, ObjectHandle};
use cryptoki::session::{Session, UserType};
use cryptoki::types::AuthPin;

use super::home::{Home, Token};
use crate::cpu;
use crate::load::{Bench, Figures};

/// First argument of the program's copy of itself.
pub(crate) const SUBCOMMAND: &str = "raw-module";
/// secp256r1 and Ed25519 as CKA_EC_PARAMS: object identifier, and the curve's name (RFC 8410 §3 as PKCS #11 3.1 has it).
const P256: &[u8] = &[0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07];
const ED25519: &[u8] = b"\x13\x0cedwards25519";
/// RFC 8017 §9.2: what stands before a SHA-256 digest.
const DIGEST_INFO: &[u8] = &[
    0x30, 0x31, 0x30, 0x0d, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x01, 0x05,
    0x00, 0x04, 0x20,
];

/// A line of figures for the algorithm, and the figures: of the cheaper of token key and session copy.
pub(super) fn measure(
    bench: &Bench,
    home: &Home,
    algorithm: &str,
) -> anyhow::Result<Option<Figures>> {
    let Some(token) = &home.token else {
        let (figures, name) = (software(bench.length(), algorithm)?, "aws-lc-rs");
        bench.line(&format!("{name} {algorithm}"), cores(), &figures)?;
        return Ok(Some(figures));
    };
    let mut least: Option<Figures> = None;
    for key in ["token", "copy"] {
        let seconds = bench.length().as_secs_f64().to_string();
        let output = ask(home, token, &["sign", algorithm, key, &seconds])?;
        let name = format!("module {algorithm}, {key}");
        let Some(figures) = read(&output) else {
            bench.remark(&format!("{name}: {}", output.trim()))?;
            continue;
        };
        bench.line(&name, cores(), &figures)?;
        if least.is_none_or(|least| figures.cpu < least.cpu) {
            least = Some(figures);
        }
    }
    Ok(least)
}

/// Keys in the token that are not the service's.
pub(super) fn add_strangers(home: &Home, count: usize) -> anyhow::Result<()> {
    let token = home.token.as_ref().context("a token")?;
    ask(home, token, &["fill", &count.to_string()]).map(|_| ())
}

fn ask(home: &Home, token: &Token, arguments: &[&str]) -> anyhow::Result<String> {
    let output = Command::new("/proc/self/exe")
        .arg(SUBCOMMAND)
        .arg(&token.module)
        .args([token.label, token.pin])
        .args(arguments)
        .envs(
            home.environment
                .as_ref()
                .map(|(name, value)| (*name, value)),
        )
        .output()?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    ensure!(
        output.status.success(),
        "{text}{}",
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(text)
}

fn read(line: &str) -> Option<Figures> {
    let mut words = line.split_whitespace();
    let mut number = || words.next()?.parse::<f64>().ok();
    Some(Figures {
        rate: number()?,
        p50: Duration::from_secs_f64(number()? / 1e6),
        p99: Duration::from_secs_f64(number()? / 1e6),
        cpu: number()?,
    })
}

fn cores() -> usize {
    thread::available_parallelism().map_or(1, usize::from)
}

/// The copy's `main`.
pub(crate) fn main(arguments: &[String]) -> ExitCode {
    use std::io::Write as _;
    let (mut out, mut errors) = (std::io::stdout(), std::io::stderr());
    let written = match run(arguments) {
        Ok(text) => writeln!(out, "{text}").map(|()| ExitCode::SUCCESS),
        Err(error) => writeln!(errors, "{error:#}").map(|()| ExitCode::FAILURE),
    };
    written.unwrap_or(ExitCode::FAILURE)
}

fn run(arguments: &[String]) -> anyhow::Result<String> {
    let [module, label, pin, rest @ ..] = arguments else {
        bail!("MODULE LABEL PIN …");
    };
    let rest: Vec<&str> = rest.iter().map(String::as_str).collect();
    let module = Pkcs11::new(module)?;
    module.initialize(CInitializeArgs::new(CInitializeFlags::OS_LOCKING_OK))?;
    let mut slots = module.get_slots_with_token()?.into_iter();
    let slot = slots
        .find(|slot| {
            let info = module.get_token_info(*slot);
            info.is_ok_and(|info| info.label().trim() == label)
        })
        .context("no such token")?;
    let open = || -> anyhow::Result<Session> { Ok(module.open_rw_session(slot)?) };
    let first = open()?;
    first.login(UserType::User, Some(&AuthPin::new(pin.clone().into())))?;
    match rest[..] {
        ["fill", count] => {
            for _ in 0..count.parse::<usize>()? {
                make(&first, "ES256", "stranger")?;
            }
            Ok(String::new())
        }
        ["sign", algorithm, key, seconds] => {
            let (public, key_of_token) = match make(&first, algorithm, "raw") {
                Ok(pair) => pair,
                Err(error) => return Ok(format!("{error:#}")),
            };
            let length = Duration::from_secs_f64(seconds.parse()?);
            let mut threads = Vec::new();
            for _ in 0..cores() {
                let session = open()?;
                let key = match key {
                    "copy" => match session.copy_object(key_of_token, &[Attribute::Token(false)]) {
                        Ok(copy) => copy,
                        Err(error) => return Ok(format!("no copies: {error}")),
                    },
                    _ => key_of_token,
                };
                let algorithm = algorithm.to_owned();
                threads.push(thread::spawn(move || {
                    let (mechanism, input) = mechanism(&algorithm);
                    counted(|| {
                        repeat(length, || {
                            session.sign(&mechanism, key, &input)?;
                            Ok(())
                        })
                    })
                }));
            }
            let figures = together(threads, length)?;
            for half in [key_of_token, public] {
                first.destroy_object(half)?;
            }
            let mut text = String::new();
            write!(
                text,
                "{} {} {} {}",
                figures.rate,
                figures.p50.as_micros(),
                figures.p99.as_micros(),
                figures.cpu
            )?;
            Ok(text)
        }
        _ => bail!("fill COUNT, or sign ALGORITHM token|copy SECONDS"),
    }
}

/// How long each operation of a thread took, and the CPU time of all of them. A thread that has ended cannot be asked.
type Counted = anyhow::Result<(Vec<Duration>, Duration)>;

fn counted(run: impl FnOnce() -> anyhow::Result<Vec<Duration>>) -> Counted {
    let before = cpu::of_this_thread();
    let seen = run()?;
    Ok((seen, cpu::of_this_thread().saturating_sub(before)))
}

fn together(
    threads: Vec<thread::JoinHandle<Counted>>,
    length: Duration,
) -> anyhow::Result<Figures> {
    let mut seen = Vec::new();
    let mut used = Duration::ZERO;
    for thread in threads {
        let (latencies, cpu) = thread.join().map_err(|_| anyhow::anyhow!("a panic"))??;
        seen.extend(latencies);
        used += cpu;
    }
    Ok(Figures::of(seen, length, used))
}

fn repeat(
    length: Duration,
    mut operation: impl FnMut() -> anyhow::Result<()>,
) -> anyhow::Result<Vec<Duration>> {
    let until = Instant::now() + length;
    let mut seen = Vec::new();
    while Instant::now() < until {
        let start = Instant::now();
        operation()?;
        seen.push(start.elapsed());
    }
    Ok(seen)
}

fn mechanism(algorithm: &str) -> (Mechanism<'static>, Vec<u8>) {
    match algorithm {
        "RS256" => (Mechanism::RsaPkcs, [DIGEST_INFO, &[7; 32]].concat()),
        "EdDSA" => {
            let parameters = EddsaParams::new(EddsaSignatureScheme::Ed25519);
            (Mechanism::Eddsa(parameters), vec![7; 350])
        }
        _ => (Mechanism::Ecdsa, vec![7; 32]),
    }
}

/// A key pair in the token.
/// A key pair: the public half first.
fn make(
    session: &Session,
    algorithm: &str,
    label: &str,
) -> anyhow::Result<(ObjectHandle, ObjectHandle)> {
    let (mechanism, kind) = match algorithm {
        "RS256" => (
            Mechanism::RsaPkcsKeyPairGen,
            vec![
                Attribute::ModulusBits(2048.into()),
                Attribute::PublicExponent(vec![1, 0, 1]),
            ],
        ),
        "EdDSA" => (
            Mechanism::EccEdwardsKeyPairGen,
            vec![Attribute::EcParams(ED25519.to_vec())],
        ),
        _ => (
            Mechanism::EccKeyPairGen,
            vec![Attribute::EcParams(P256.to_vec())],
        ),
    };
    let common = |private| {
        vec![
            Attribute::Token(true),
            Attribute::Private(private),
            Attribute::Label(label.into()),
        ]
    };
    let public = [common(false), kind, vec![Attribute::Verify(true)]].concat();
    let private = [
        common(true),
        vec![
            Attribute::Sign(true),
            Attribute::Sensitive(true),
            Attribute::Extractable(false),
        ],
    ]
    .concat();
    Ok(session.generate_key_pair(&mechanism, &public, &private)?)
}

fn software(length: Duration, algorithm: &str) -> anyhow::Result<Figures> {
    let input = vec![7_u8; 350];
    let threads: Vec<_> = (0..cores())
        .map(|_| {
            let (input, algorithm) = (input.clone(), algorithm.to_owned());
            thread::spawn(move || software_thread(length, &algorithm, &input))
        })
        .collect();
    together(threads, length)
}

fn software_thread(length: Duration, algorithm: &str, input: &[u8]) -> Counted {
    let random = SystemRandom::new();
    match algorithm {
        "ES256" => {
            let key = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING)?;
            counted(|| repeat(length, || Ok(key.sign(&random, input).map(|_| ())?)))
        }
        "EdDSA" => {
            let key = Ed25519KeyPair::generate()?;
            counted(|| {
                repeat(length, || {
                    let _ = key.sign(input);
                    Ok(())
                })
            })
        }
        _ => {
            let key = RsaKeyPair::generate(aws_lc_rs::rsa::KeySize::Rsa2048)?;
            let mut signature = vec![0; key.public_modulus_len()];
            counted(|| {
                repeat(length, || {
                    Ok(key.sign(&RSA_PKCS1_SHA256, &random, input, &mut signature)?)
                })
            })
        }
    }
}
