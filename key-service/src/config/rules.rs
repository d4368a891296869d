//! `[[policy.rules]]`, read into what holds for each caller in each ring. What names nothing that there is, and what
//! leaves nothing to sign, is refused at the start, with both sides of the contradiction: a rule that does nothing is
//! believed in, and a rule that does too much is found out at night.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use super::check::{matches, profile, profiles, seconds, show};
use super::{Allow, Config, Invalid, PolicyRule, Service};
use crate::algorithm::{RingAlgorithm, RingName};
use crate::keyring::audience::Audiences;
use crate::keyring::policy::{BY_SECRET, IAT_WINDOW, Profile};
use crate::keyring::restriction::Restriction;

/// The purpose under which rules name what clients' secrets sign: there is no ring for that.
pub(super) const SECRETS: &str = "secret";
/// The algorithms that it has (RFC 7518 §3.2), and the names under which rules know what secrets sign with each.
const SECRET_RINGS: [(&str, &str); 3] = [
    ("HS256", "secret/HS256"),
    ("HS384", "secret/HS384"),
    ("HS512", "secret/HS512"),
];

/// What holds for a caller, by the ring's name.
pub type ByRing = HashMap<String, Vec<Arc<Restriction>>>;

/// The name under which rules know what secrets sign with this algorithm.
pub(crate) fn ring_of_secrets(alg: &str) -> Option<&'static str> {
    let mut rings = SECRET_RINGS.iter();
    rings.find_map(|(known, ring)| (*known == alg).then_some(*ring))
}

/// Something that a caller can have signed.
struct Target {
    ring: String,
    profiles: Vec<Profile>,
}

/// What holds for each of `[[callers.allow]]`, in their order.
pub(super) fn restrictions(config: &Config) -> Result<Vec<ByRing>, Invalid> {
    let targets = targets(config)?;
    let mut by_caller: Vec<ByRing> = vec![ByRing::new(); config.callers.allow.len()];
    for (index, rule) in config.policy.rules.iter().enumerate() {
        let number = index + 1;
        let named = |problem: String| Invalid(format!("[[policy.rules]] {number}: {problem}"));
        let restriction = Arc::new(read(rule, number, config).map_err(named)?);
        check_names(rule, &targets, config).map_err(named)?;
        let mut is_somewhere = false;
        let callers = config.callers.allow.iter().zip(&mut by_caller);
        for (caller, by_ring) in callers.filter(|(caller, _)| is_for(rule, caller)) {
            for target in targets
                .iter()
                .filter(|target| may_use(caller, &target.ring))
            {
                if is_in(rule, target) && target.profiles.iter().any(|&it| restriction.is_about(it))
                {
                    let held = by_ring.entry(target.ring.clone()).or_default();
                    held.push(Arc::clone(&restriction));
                    is_somewhere = true;
                }
            }
        }
        if !is_somewhere {
            return Err(named(
                "no caller that it names may sign, in a ring that it names, what it is about"
                    .into(),
            ));
        }
    }
    for (caller, by_ring) in config.callers.allow.iter().zip(&by_caller) {
        for target in &targets {
            let held = by_ring.get(&target.ring).map_or(&[][..], Vec::as_slice);
            check_together(held, target).map_err(|problem| {
                let (name, ring) = (&caller.name, &target.ring);
                Invalid(format!("[[policy.rules]] {problem}: {name} in {ring}"))
            })?;
        }
    }
    Ok(by_caller)
}

/// The rings that sign, and the secrets.
fn targets(config: &Config) -> Result<Vec<Target>, Invalid> {
    let mut targets = Vec::new();
    for ring in &config.rings {
        let named = |problem: String| Invalid(format!("[[rings]] {}: {problem}", ring.name));
        let Ok(name) = ring.name.parse::<RingName>() else {
            continue;
        };
        if matches!(name.algorithm(), RingAlgorithm::Signature(_)) {
            targets.push(Target {
                ring: ring.name.clone(),
                profiles: profiles(ring, &name).map_err(named)?,
            });
        }
    }
    targets.extend(SECRET_RINGS.map(|(_, ring)| Target {
        ring: ring.to_owned(),
        profiles: BY_SECRET.to_vec(),
    }));
    Ok(targets)
}

/// A rule's own values.
fn read(rule: &PolicyRule, number: usize, config: &Config) -> Result<Restriction, String> {
    let longest = config.lifecycle.longest_token_life;
    if let Some(life) = rule.longest_life
        && (life.is_zero() || life > longest)
    {
        return Err(format!(
            "longest_life = {} is not from 1s to [lifecycle] longest_token_life = {}",
            show(life),
            show(longest)
        ));
    }
    let widest = Duration::from_secs(IAT_WINDOW.unsigned_abs());
    if let Some(window) = rule.iat_window
        && (window < Duration::from_secs(1) || window > widest)
    {
        return Err(format!(
            "iat_window = {} is not from 1s to {}, which holds for all",
            show(window),
            show(widest)
        ));
    }
    let largest = config.policy.claims_size;
    if let Some(size) = rule.claims_size
        && (size == 0 || size > largest)
    {
        return Err(format!(
            "claims_size = {size} is not from 1 to [policy] claims_size = {largest}"
        ));
    }
    if rule.when.is_some() && rule.profiles.is_some() {
        return Err("`when` says which profiles it is about, and `profiles` which may be signed at all: a rule has one of them".into());
    }
    let restriction = Restriction {
        number,
        when: named_profiles("when", rule.when.as_ref())?,
        profiles: named_profiles("profiles", rule.profiles.as_ref())?,
        longest_life: rule.longest_life.map(seconds),
        iat_window: rule.iat_window.map(seconds),
        audiences: audiences(rule.audiences.as_ref())?,
        required: claims("required", &rule.required)?,
        allowed: match &rule.allowed {
            Some(names) => Some(claims("allowed", names)?.into_iter().collect()),
            None => None,
        },
        forbidden: claims("forbidden", &rule.forbidden)?,
        claims_size: rule.claims_size,
    };
    let says_nothing = rule.profiles.is_none()
        && rule.longest_life.is_none()
        && rule.iat_window.is_none()
        && rule.audiences.is_none()
        && rule.required.is_empty()
        && rule.allowed.is_none()
        && rule.forbidden.is_empty()
        && rule.claims_size.is_none();
    if says_nothing {
        return Err("it takes nothing away: profiles, longest_life, iat_window, audiences, required, allowed, forbidden or claims_size".into());
    }
    Ok(restriction)
}

fn named_profiles(key: &str, names: Option<&Vec<String>>) -> Result<Option<Vec<Profile>>, String> {
    let Some(names) = names else {
        return Ok(None);
    };
    not_empty(key, names)?;
    let profiles: Result<_, _> = names.iter().map(|name| profile(name)).collect();
    profiles.map(Some)
}

fn audiences(words: Option<&Vec<String>>) -> Result<Option<Audiences>, String> {
    let Some(words) = words else {
        return Ok(None);
    };
    not_empty("audiences", words)?;
    if words.iter().any(String::is_empty) {
        return Err("`audiences` has an empty name".into());
    }
    if words.iter().any(|word| word.bytes().all(|it| it == b'*')) {
        return Err("`audiences` has `*`, which is everybody: leave it out".into());
    }
    Ok(Some(Audiences::of(words.iter())))
}

fn claims(key: &str, names: &[String]) -> Result<Vec<String>, String> {
    match names.iter().any(String::is_empty) {
        true => Err(format!("`{key}` has an empty name")),
        false => Ok(names.to_vec()),
    }
}

fn not_empty(key: &str, names: &[String]) -> Result<(), String> {
    match names.is_empty() {
        true => Err(format!("`{key}` is empty: leave it out, or name some")),
        false => Ok(()),
    }
}

/// Whether every caller and ring that it names is there.
fn check_names(rule: &PolicyRule, targets: &[Target], config: &Config) -> Result<(), String> {
    if let Some(callers) = &rule.callers {
        not_empty("callers", callers)?;
    }
    if let Some(rings) = &rule.rings {
        not_empty("rings", rings)?;
    }
    let known: Vec<&str> = config
        .callers
        .allow
        .iter()
        .map(|it| it.name.as_str())
        .collect();
    for name in rule.callers.iter().flatten() {
        let Some(caller) = config.callers.allow.iter().find(|it| it.name == *name) else {
            let meant = super::text::closest(name, known.iter().copied());
            let meant = meant.map_or_else(String::new, |it| format!("; did you mean `{it}`?"));
            return Err(format!(
                "no caller has the name `{name}`; [[callers.allow]] has {}{meant}",
                known.join(", ")
            ));
        };
        if !caller.services.contains(&Service::Keys) {
            return Err(format!(
                "`{name}` signs nothing: its `services` have no \"keys\""
            ));
        }
    }
    for pattern in rule.rings.iter().flatten() {
        if !targets.iter().any(|target| matches(pattern, &target.ring)) {
            let rings: Vec<_> = targets.iter().map(|target| target.ring.as_str()).collect();
            return Err(format!(
                "no ring that signs matches `{pattern}`; there are {}",
                rings.join(", ")
            ));
        }
    }
    Ok(())
}

fn is_for(rule: &PolicyRule, caller: &Allow) -> bool {
    let callers = rule.callers.as_ref();
    caller.services.contains(&Service::Keys)
        && callers.is_none_or(|names| names.contains(&caller.name))
}

fn is_in(rule: &PolicyRule, target: &Target) -> bool {
    let rings = rule.rings.as_ref();
    rings.is_none_or(|patterns| patterns.iter().any(|it| matches(it, &target.ring)))
}

/// Secrets are in no ring, so no list of rings says who may use them.
fn may_use(caller: &Allow, ring: &str) -> bool {
    let purpose = ring.split_once('/').map(|(purpose, _)| purpose);
    purpose == Some(SECRETS) || caller.rings.iter().any(|pattern| matches(pattern, ring))
}

/// Whether all that holds in one place leaves something to sign, and leaves each profile that may be signed possible.
fn check_together(held: &[Arc<Restriction>], target: &Target) -> Result<(), String> {
    let is_left = |profile: &&Profile| {
        held.iter().all(|rule| {
            let left = rule.profiles.as_ref();
            left.is_none_or(|left| left.contains(profile))
        })
    };
    let left: Vec<Profile> = target.profiles.iter().filter(is_left).copied().collect();
    if left.is_empty() {
        let numbers = held.iter().filter(|rule| rule.profiles.is_some());
        let numbers: Vec<_> = numbers.map(|rule| rule.number.to_string()).collect();
        let all: Vec<_> = target.profiles.iter().map(|it| it.as_str()).collect();
        return Err(format!(
            "{}: `profiles` leaves nothing of {}",
            numbers.join(" and "),
            all.join(", ")
        ));
    }
    left.into_iter()
        .try_for_each(|profile| check_profile(held, profile))
}

fn check_profile(held: &[Arc<Restriction>], profile: Profile) -> Result<(), String> {
    let rules = || held.iter().filter(|rule| rule.is_about(profile));
    let what = profile.as_str();
    let its_own = |names: &'static [&'static str]| names.iter().map(|&name| (name, None));
    let required = rules().flat_map(|rule| numbered(rule, &rule.required));
    let forbidden = rules().flat_map(|rule| numbered(rule, &rule.forbidden));
    let forbidden: Vec<_> = its_own(profile.forbidden()).chain(forbidden).collect();
    for (name, demands) in its_own(profile.required()).chain(required) {
        if let Some((_, bars)) = forbidden.iter().find(|(barred, _)| *barred == name) {
            return Err(contradiction(name, demands, *bars, "forbids", what));
        }
        let is_silent = |rule: &&Arc<Restriction>| {
            let allowed = rule.allowed.as_ref();
            allowed.is_some_and(|allowed| !allowed.contains(name))
        };
        if let Some(rule) = rules().find(is_silent) {
            let bars = Some(rule.number);
            return Err(contradiction(name, demands, bars, "does not allow", what));
        }
    }
    Ok(())
}

fn numbered<'a>(
    rule: &'a Restriction,
    names: &'a [String],
) -> impl Iterator<Item = (&'a str, Option<usize>)> {
    names.iter().map(|name| (name.as_str(), Some(rule.number)))
}

/// Who demands a claim, and who bars it; at least one of them is a rule.
fn contradiction(
    claim: &str,
    demands: Option<usize>,
    bars: Option<usize>,
    how: &str,
    what: &str,
) -> String {
    match (demands, bars) {
        (Some(one), Some(other)) if one == other => {
            format!("{one}: it requires `{claim}` and {how} it, so no {what} could be signed")
        }
        (Some(one), Some(other)) => {
            format!("{one} requires `{claim}` and {other} {how} it, so no {what} could be signed")
        }
        (Some(one), None) => {
            format!(
                "{one} requires `{claim}`, which {what} must not have; `when` says what it is about"
            )
        }
        (None, other) => {
            let other = other.unwrap_or_default();
            format!(
                "{other} {how} `{claim}`, without which no {what} is signed; `when` says what it is about"
            )
        }
    }
}

#[cfg(test)]
#[path = "rules_tests.rs"]
mod tests;
