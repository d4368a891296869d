//! What a type cannot say: which settings go together, and the inequalities of the keys' life cycle, with the numbers.

use std::collections::HashSet;
use std::iter;
use std::num::NonZeroUsize;
use std::time::Duration;

use super::{Allow, Config, Invalid, Period, Ring, Service, rules};
use crate::algorithm::{RingAlgorithm, RingName};
use crate::backend;
use crate::keyring::policy::{Policy, Profile};
use crate::keyring::{self, RingSettings};

/// The most sessions with one token: more than any module signs in at a time.
const LANES: usize = 256;

impl Config {
    pub(super) fn check(&self) -> Result<(), Invalid> {
        self.check_listen()?;
        self.check_callers()?;
        self.check_backend()?;
        self.check_lifecycle()?;
        self.check_policy()?;
        self.check_audit()?;
        keyring(self)?;
        self.restrictions()?;
        Ok(())
    }

    fn check_listen(&self) -> Result<(), Invalid> {
        let listen = &self.listen;
        require(
            listen.tcp.is_some() || listen.unix.is_some(),
            "[listen] needs `tcp`, `unix` or both",
        )?;
        require(
            listen.tcp.is_none() || self.tls.is_some(),
            "[tls] is required where [listen] has `tcp`: callers are known by their certificates",
        )?;
        require(
            listen.unix_mode().is_some(),
            "[listen] unix_mode is not octal permissions such as \"0660\"",
        )?;
        for (name, value) in [
            ("message_size", listen.message_size),
            ("connections", listen.connections),
            ("concurrent_streams", listen.concurrent_streams as usize),
        ] {
            require(value > 0, format!("[listen] {name} must be more than 0"))?;
        }
        for (name, value) in [
            ("handshake_timeout", listen.handshake_timeout),
            ("keep_alive", listen.keep_alive),
            ("connection_age", listen.connection_age),
        ] {
            require(
                !value.is_zero(),
                format!("[listen] {name} must be more than 0s"),
            )?;
        }
        require(
            self.log.level.parse::<tracing::Level>().is_ok(),
            "[log] level is one of error, warn, info, debug, trace",
        )
    }

    fn check_callers(&self) -> Result<(), Invalid> {
        let mut names = HashSet::new();
        for caller in &self.callers.allow {
            check_caller(caller, self)?;
            require(
                names.insert((caller.san.as_deref(), caller.uid)),
                format!(
                    "[[callers.allow]] {}: another caller has the same identity",
                    caller.name
                ),
            )?;
        }
        Ok(())
    }

    fn check_backend(&self) -> Result<(), Invalid> {
        let source = self.backend.secret();
        source.map_err(|error| Invalid(format!("[backend] {error}")))?;
        let backend::Settings::Pkcs11(settings) = &self.backend else {
            return Ok(());
        };
        let lanes = settings.lanes.map_or(1, NonZeroUsize::get);
        require(
            lanes <= LANES,
            format!(
                "[backend] lanes = {lanes} is too many: each is a thread and a session, and there are at most {LANES}"
            ),
        )?;
        // Less is what a busy network HSM may need, and would end a process that is well.
        require(
            settings.hang_limit >= Duration::from_secs(1),
            format!(
                "[backend] hang_limit = {} is too short: at least 1s",
                show(settings.hang_limit)
            ),
        )
    }

    /// `lead ≥ JWK Set max-age + gateway refresh + skew`; `retention ≥ longest token life + gate limit + skew`. What a key's making
    /// takes is not in the sum: `generation` passes before the lead begins (`keyring/rotation.rs`).
    fn check_lifecycle(&self) -> Result<(), Invalid> {
        let times = &self.lifecycle;
        let lead = times.jwks_max_age + times.gateway_refresh + times.skew;
        require(
            times.lead >= lead,
            format!(
                "[lifecycle] lead = {} is too short: jwks_max_age {} + gateway_refresh {} + skew {} = {}, \
                 and a key that signs earlier is unknown to relying parties",
                show(times.lead),
                show(times.jwks_max_age),
                show(times.gateway_refresh),
                show(times.skew),
                show(lead),
            ),
        )?;
        let retention = times.longest_token_life + times.gate_limit + times.skew;
        require(
            times.retention() >= retention,
            format!(
                "[lifecycle] retention = {} is too short: longest_token_life {} + gate_limit {} + skew {} = {}, \
                 and a token must not outlive the key that verifies it",
                show(times.retention()),
                show(times.longest_token_life),
                show(times.gate_limit),
                show(times.skew),
                show(retention),
            ),
        )?;
        require(
            !times.reload.is_zero(),
            "[lifecycle] reload must be more than 0s",
        )
    }

    fn check_audit(&self) -> Result<(), Invalid> {
        let Some(audit) = &self.audit else {
            return Ok(());
        };
        let origin = audit.origin(&self.policy.issuer);
        let is_name = !origin.is_empty() && origin.bytes().all(|it| it.is_ascii_graphic());
        require(
            is_name && !origin.contains('+'),
            "[audit] origin is not a name in visible ASCII without `+`, such as issuer.example/audit",
        )?;
        require(
            audit.path.file_name().is_some(),
            "[audit] path is not the name of a file",
        )?;
        require(
            !audit.checkpoint_interval.is_zero(),
            "[audit] checkpoint_interval must be more than 0s",
        )?;
        require(
            audit.checkpoint_records > 0,
            "[audit] checkpoint_records must be more than 0",
        )?;
        require(
            (4096..=1 << 31).contains(&audit.segment_size),
            "[audit] segment_size is from 4096 to 2147483648",
        )
    }

    fn check_policy(&self) -> Result<(), Invalid> {
        let issuer = &self.policy.issuer;
        // OpenID Connect Discovery §3: a URL without query and fragment.
        let url = issuer.starts_with("https://") || issuer.starts_with("http://");
        require(
            url && !issuer.contains(['?', '#', ' ']),
            "[policy] issuer is not an https URL without query and fragment",
        )?;
        // RFC 7519 §2: any string, but a URI where it has a colon.
        let is_word = |issuer: &String| {
            let plain = issuer.bytes().all(|octet| octet.is_ascii_graphic());
            plain && !issuer.is_empty() && (!issuer.contains(':') || issuer.contains("://"))
        };
        require(
            self.policy.token_issuer.as_ref().is_none_or(is_word),
            "[policy] token_issuer is not a word in visible ASCII, nor a URL",
        )?;
        let size = self.policy.claims_size;
        require(
            size > 0 && size <= keyring::claims::LONGEST,
            format!(
                "[policy] claims_size is from 1 to {}",
                keyring::claims::LONGEST
            ),
        )?;
        self.policy.check_once()
    }
}

fn check_caller(caller: &Allow, config: &Config) -> Result<(), Invalid> {
    let named = |problem: &str| format!("[[callers.allow]] {}: {problem}", caller.name);
    require(
        caller.san.is_some() != caller.uid.is_some(),
        named("exactly one of `san` and `uid` is required"),
    )?;
    require(caller.san.as_deref() != Some(""), named("`san` is empty"))?;
    require(
        caller.uid.is_none() || config.listen.unix.is_some(),
        named("`uid` is for the Unix socket, and [listen] has no `unix`"),
    )?;
    require(
        !caller.imports || caller.services.contains(&Service::Admin),
        named("`imports` is for a caller of \"admin\""),
    )?;
    caller.check_rate()?;
    for pattern in &caller.rings {
        let known = config.rings.iter().any(|ring| matches(pattern, &ring.name));
        require(
            pattern == "*" || known,
            named(&format!(
                "no ring matches `{pattern}`; [[rings]] has {}",
                names(&config.rings)
            )),
        )?;
    }
    Ok(())
}

/// Whether a ring is named by `*`, `<purpose>/*` or `<purpose>/<alg>`.
pub(crate) fn matches(pattern: &str, ring: &str) -> bool {
    match pattern.strip_suffix('*') {
        Some("") => true,
        Some(purpose) => purpose.ends_with('/') && ring.starts_with(purpose),
        None => pattern == ring,
    }
}

pub(super) fn keyring(config: &Config) -> Result<keyring::Settings, Invalid> {
    require(
        !config.rings.is_empty(),
        "at least one [[rings]] is required",
    )?;
    let mut rings = Vec::with_capacity(config.rings.len());
    for ring in &config.rings {
        let named = |problem: String| Invalid(format!("[[rings]] {}: {problem}", ring.name));
        let name: RingName = ring.name.parse().map_err(|_| {
            named("not `<purpose>/<alg>`, such as id-token/ES256, request-object/RSA-OAEP, mac/HS256 or seal/A256GCM".into())
        })?;
        if name.purpose() == crate::audit::PURPOSE {
            return Err(named("the audit log's key is in no ring".into()));
        }
        if name.purpose() == rules::SECRETS {
            return Err(named(
                "so [[policy.rules]] names what clients' secrets sign".into(),
            ));
        }
        if rings.iter().any(|known: &RingSettings| known.name == name) {
            return Err(named("is there twice".into()));
        }
        let longest = config.lifecycle.longest_token_life;
        let life = ring.longest_life.unwrap_or(longest);
        if life > longest {
            return Err(named(format!(
                "longest_life {} is more than [lifecycle] longest_token_life {}",
                show(life),
                show(longest)
            )));
        }
        rings.push(RingSettings {
            profiles: profiles(ring, &name).map_err(named)?,
            period: period(ring, &name, config).map_err(named)?,
            name,
            longest_life: seconds(life),
        });
    }
    Ok(keyring::Settings {
        rings,
        lead: seconds(config.lifecycle.lead),
        generation: config.lifecycle.generation,
        retention: seconds(config.lifecycle.retention()),
        skew: seconds(config.lifecycle.skew),
        gate_limit: seconds(config.lifecycle.gate_limit),
        policy: Policy::new(
            iter::once(&config.policy.issuer).chain(&config.policy.token_issuer),
            config.policy.claims_size,
            seconds(config.lifecycle.longest_token_life),
        ),
    })
}

/// Each rotation makes the key before it sign once that has been published for the lead, so rotations that follow each
/// other faster would make a queue that only grows.
fn period(ring: &Ring, name: &RingName, config: &Config) -> Result<Option<i64>, String> {
    let times = &config.lifecycle;
    let period = match (ring.period, name.algorithm()) {
        (Some(Period::Every(_)), _) if name.is_fixed() => {
            return Err("`period` is for rings that rotate: this one has one key for ever".into());
        }
        (Some(period), _) => period,
        // What such a key computed stands somewhere, and another computes something else.
        (None, RingAlgorithm::Mac) => Period::Never,
        (None, _) => times.period,
    };
    let Period::Every(period) = period else {
        return Ok(None);
    };
    let shortest = times.lead + times.generation;
    if period < shortest {
        return Err(format!(
            "period = {} is too short: lead {} + generation {} = {}, and a key must have its turn before the next one has",
            show(period),
            show(times.lead),
            show(times.generation),
            show(shortest),
        ));
    }
    Ok(Some(seconds(period)))
}

pub(super) fn profiles(ring: &Ring, name: &RingName) -> Result<Vec<Profile>, String> {
    let signs = matches!(name.algorithm(), RingAlgorithm::Signature(_));
    match (&ring.profiles, signs) {
        (None, false) => Ok(Vec::new()),
        (Some(_), false) => Err("`profiles` is for rings that sign".to_owned()),
        (Some(names), true) => names.iter().map(|name| profile(name)).collect(),
        (None, true) => match name.purpose() {
            "id-token" => Ok(vec![
                Profile::IdToken,
                Profile::LogoutToken,
                Profile::Userinfo,
                Profile::Introspection,
                Profile::AuthorizationResponse,
                Profile::Metadata,
            ]),
            "access-token" => Ok(vec![Profile::AccessToken]),
            "client-assertion" => Ok(vec![Profile::ClientAssertion]),
            _ => Err("`profiles` is required: what may this ring sign?".to_owned()),
        },
    }
}

pub(super) fn profile(name: &str) -> Result<Profile, String> {
    let known = Profile::ALL.iter().find(|profile| profile.as_str() == name);
    known.copied().ok_or_else(|| {
        let all: Vec<_> = Profile::ALL
            .iter()
            .map(|profile| profile.as_str())
            .collect();
        format!("unknown profile `{name}`; there are {}", all.join(", "))
    })
}

fn names(rings: &[Ring]) -> String {
    let names: Vec<_> = rings.iter().map(|ring| ring.name.as_str()).collect();
    names.join(", ")
}

pub(super) fn seconds(duration: Duration) -> i64 {
    // Rounded up: a limit that a fraction of a second would break is kept.
    i64::try_from(duration.as_millis().div_ceil(1000)).unwrap_or(i64::MAX)
}

pub(super) fn show(duration: Duration) -> String {
    format!("{duration:?}")
}

pub(super) fn require(holds: bool, otherwise: impl Into<String>) -> Result<(), Invalid> {
    if holds {
        Ok(())
    } else {
        Err(Invalid(otherwise.into()))
    }
}
