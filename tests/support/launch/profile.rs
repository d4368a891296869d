//! Configuration files of a stack: a profile's annotated file with `@NAME@` replaced by this run's values.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};

/// Values by name, without the `@` signs.
pub(super) struct Values(Vec<(&'static str, String)>);

impl Values {
    pub(super) fn new() -> Self {
        Self(Vec::new())
    }

    pub(super) fn set(&mut self, name: &'static str, value: impl Into<String>) {
        self.0.retain(|(other, _)| *other != name);
        self.0.push((name, value.into()));
    }

    /// Writes `template` to `to` with every placeholder replaced.
    pub(super) fn write(&self, template: &Path, to: &Path) -> anyhow::Result<PathBuf> {
        let text = fs::read_to_string(template)
            .with_context(|| format!("cannot read {}", template.display()))?;
        let text = self
            .replace(&text)
            .with_context(|| template.display().to_string())?;
        fs::write(to, text).with_context(|| format!("cannot write {}", to.display()))?;
        Ok(to.to_owned())
    }

    /// Comments are left as they are, so that they may speak of placeholders.
    fn replace(&self, text: &str) -> anyhow::Result<String> {
        let mut written = String::with_capacity(text.len());
        for (line, number) in text.lines().zip(1..) {
            let mut line = line.to_owned();
            if !line.trim_start().starts_with('#') {
                for (name, value) in &self.0 {
                    line = line.replace(&format!("@{name}@"), value);
                }
                if let Some(name) = placeholder(&line) {
                    bail!("line {number}: the launcher knows no value for @{name}@");
                }
            }
            written.push_str(&line);
            written.push('\n');
        }
        Ok(written)
    }
}

/// The first `@NAME@` in `text`.
fn placeholder(text: &str) -> Option<&str> {
    text.split('@')
        .skip(1)
        .step_by(2)
        .find(|name| !name.is_empty() && name.chars().all(|c| c.is_ascii_uppercase() || c == '_'))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn replaces_all_or_says_what_is_missing() {
        let mut values = Values::new();
        values.set("PORT", "1");
        values.set("PORT", "8080");
        values.set("STORE", "[store]\nkind = \"memory\"");
        let text = "# @RUN@ is a folder\nlisten = \"a:@PORT@\"\n@STORE@\n";
        assert_eq!(
            values.replace(text).unwrap(),
            "# @RUN@ is a folder\nlisten = \"a:8080\"\n[store]\nkind = \"memory\"\n"
        );
        let error = values.replace("a = 1\nb = \"@RUN@/x\"").unwrap_err();
        assert_eq!(
            error.to_string(),
            "line 2: the launcher knows no value for @RUN@"
        );
        assert!(values.replace("mail = \"a@example.com\"").is_ok());
    }
}
