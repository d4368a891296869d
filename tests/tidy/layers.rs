//! Invariant 3, the gateway's layers: surface → domain → ports → vocabulary, and never upwards.

use std::collections::BTreeSet;

use crate::source::{below, none};

/// Where a module stands; a module may use those of its own layer and of lower ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Layer {
    /// Formats, registries, time, chance: knows nothing of the rest.
    Vocabulary,
    /// What the domain needs of the world.
    Ports,
    /// Domain modules that `authorization`, `grant`, `token` and `logout` may use, never the reverse.
    Parties,
    /// The protocol itself.
    Protocol,
    /// HTTP, URLs, and putting the parts together.
    Surface,
}

const LAYERS: &[(Layer, &[&str])] = &[
    (
        Layer::Vocabulary,
        &[
            "claims_request",
            "clock",
            "dpop",
            "duration",
            "error",
            "jose",
            "json",
            "params",
            "password",
            "pkce",
            "random",
            "resource",
            "scope",
            "secret",
        ],
    ),
    (Layer::Ports, &["fetch", "keys", "page", "store"]),
    (Layer::Parties, &["client", "login", "session", "user"]),
    (
        Layer::Protocol,
        &["authorization", "grant", "logout", "token"],
    ),
    (
        Layer::Surface,
        &[
            "command", "config", "endpoint", "lib", "log", "main", "serve", "tls", "web",
        ],
    ),
];

/// What every layer above the vocabulary is handed: the provider (issuer, store, keys, clock, chance) and the counters.
/// They know everybody's types, and everybody knows them.
const CONTEXT: &[&str] = &["metrics", "provider"];

fn layer(module: &str) -> Option<Layer> {
    LAYERS
        .iter()
        .find(|(_, modules)| modules.contains(&module))
        .map(|(layer, _)| *layer)
}

#[test]
fn imports_only_point_down() {
    let mut broken = Vec::new();
    for source in below("oidc-gateway/src") {
        let inner = source.path.trim_start_matches("oidc-gateway/src/");
        let module = inner.split(['/', '.']).next().unwrap_or_default();
        if CONTEXT.contains(&module) {
            continue;
        }
        let Some(own) = layer(module) else {
            broken.push(format!(
                "{}: say in this test in which layer `{module}` is",
                source.path
            ));
            continue;
        };
        let code: Vec<&str> = source.code().map(|(_, line)| line).collect();
        for used in used_modules(&code.join("\n")) {
            let fine = match layer(&used) {
                Some(other) => other <= own,
                None if CONTEXT.contains(&used.as_str()) => own > Layer::Vocabulary,
                // An item of the crate's root: a macro or a re-export.
                None => true,
            };
            if !fine {
                broken.push(format!("{} uses crate::{used}", source.path));
            }
        }
    }
    none(
        "imports point from surface to domain to ports to vocabulary",
        &broken,
    );
}

/// The first segment of every path that begins with `crate::`, groups in braces included.
fn used_modules(code: &str) -> BTreeSet<String> {
    let mut used = BTreeSet::new();
    for (at, _) in code.match_indices("crate::") {
        let rest = &code[at + "crate::".len()..];
        match rest.strip_prefix('{') {
            Some(group) => used.extend(firsts(group)),
            None => used.extend(identifier(rest)),
        }
    }
    used
}

/// The first segments of a group, up to its closing brace.
fn firsts(group: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut depth = 0;
    let mut start = 0;
    for (at, character) in group.char_indices() {
        match character {
            '{' => depth += 1,
            '}' if depth > 0 => depth -= 1,
            ',' | '}' if depth == 0 => {
                found.extend(identifier(group[start..at].trim_start()));
                start = at + 1;
                if character == '}' {
                    break;
                }
            }
            _ => {}
        }
    }
    found
}

fn identifier(text: &str) -> Option<String> {
    let name: String = text
        .chars()
        .take_while(|c| c.is_ascii_alphanumeric() || *c == '_')
        .collect();
    (!name.is_empty()).then_some(name)
}

#[test]
fn paths_are_understood() {
    let code = "use crate::{\n    a::{x, y},\n    b, c::d,\n};\nuse crate::e::f; fn g() { crate::h(pub(crate)) }";
    let used: Vec<String> = used_modules(code).into_iter().collect();
    assert_eq!(used, ["a", "b", "c", "e", "h"]);
}
