//! Sealing again what the store holds sealed, by the key that seals now (NIST SP 800-57 part 1, §8.2), so that the one
//! before can be destroyed: registered clients' secrets. It may run while gateways do, and as often as one likes: each
//! value is replaced only if it is still the one that was read.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::time::Duration;

use bytes::Bytes;

use super::Metadata;
use super::registered::Record;
use super::secret::seals;
use crate::clock::Clock;
use crate::jose::jwe::SealedHeader;
use crate::json;
use crate::keys::{self, Keys, REWRAPPED_AT_ONCE, WrappedSecret};
use crate::store::redis::Redis;
use crate::store::{Key, Store as _, Stored, Swap, Unavailable, Write};

/// What nobody asked for is logged under this name.
const ID: &str = "rewrap";
/// How often it is looked whether something is left. What a gateway writes meanwhile is sealed by the new key, so once
/// is enough but for clocks that differ.
const PASSES: usize = 3;
/// How often one value is looked at again because somebody has changed it.
const LOOKS: usize = 8;
/// How often the key-service is asked again, and how long after.
const TRIES: usize = 10;
const PAUSE: Duration = Duration::from_millis(300);
/// Names of values that a report lists.
const LISTED: usize = 20;

/// Why there is no report.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error(transparent)]
    Store(#[from] Unavailable),
    #[error(transparent)]
    Keys(#[from] keys::Error),
}

/// Whether values are replaced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// They are.
    Replace,
    /// They are looked at.
    Look,
}

/// How many values one key sealed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Count {
    pub(crate) before: u64,
    /// When all was done; of a mere look, the same as before.
    pub(crate) after: u64,
}

/// A secret in the configuration that another key sealed: only who wrote it can replace it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Configured {
    pub(crate) client_id: String,
    pub(crate) kid: String,
    /// What to write instead; `None`: it does not open.
    pub(crate) sealed: Option<String>,
}

/// What was found.
#[derive(Debug, Default)]
pub(crate) struct Report {
    /// The key that seals now.
    pub(crate) kid: String,
    /// By kid.
    pub(crate) counts: BTreeMap<String, Count>,
    /// Names of values that the key-service cannot open, or that cannot be read: some of them.
    pub(crate) broken: BTreeSet<String>,
    pub(crate) configured: Vec<Configured>,
}

impl Report {
    /// Whether nothing is sealed by another key any more.
    pub(crate) fn is_clean(&self) -> bool {
        self.left() == 0 && self.broken.is_empty() && self.configured.is_empty()
    }

    /// How many values are sealed by other keys.
    fn left(&self) -> u64 {
        let others = self.counts.iter().filter(|(kid, _)| **kid != self.kid);
        others.map(|(_, count)| count.after).sum()
    }
}

/// A store and what it takes to re-wrap it.
pub(crate) struct Rewrap<'a> {
    pub(crate) keys: &'a Keys,
    pub(crate) store: &'a Redis,
    pub(crate) clock: &'a Clock,
    pub(crate) mode: Mode,
}

/// A value with something sealed in it.
struct Holder {
    key: Key,
    stored: Stored,
    secret: WrappedSecret,
    kid: String,
    /// Seconds since 1970-01-01T00:00:00Z.
    kept_until: i64,
}

/// What is in a value.
enum Content {
    Sealed(Box<Holder>),
    /// Nothing sealed, or nothing at all.
    Nothing,
    Broken,
}

impl Rewrap<'_> {
    /// Goes through the store, and through what the configuration has.
    pub(crate) async fn run(&self, clients: &[Metadata]) -> Result<Report, Error> {
        let mut report = Report {
            kid: self.current().await?,
            ..Report::default()
        };
        let found = self.pass(&mut report, self.mode).await?;
        for (kid, before) in found {
            let count = Count {
                before,
                after: before,
            };
            report.counts.insert(kid, count);
        }
        if self.mode == Mode::Replace {
            for _ in 0..PASSES {
                let left = self.pass(&mut report, Mode::Look).await?;
                for count in report.counts.values_mut() {
                    count.after = 0;
                }
                for (kid, after) in left {
                    report.counts.entry(kid).or_default().after = after;
                }
                if report.left() == 0 {
                    break;
                }
                self.pass(&mut report, Mode::Replace).await?;
            }
        }
        report.configured = self.configured(clients, &report.kid).await?;
        Ok(report)
    }

    /// The key that seals now, as what it seals says.
    async fn current(&self) -> Result<String, Error> {
        let probe = || {
            self.keys
                .seal(ID, "use-only:rewrap", Bytes::from_static(b"probe"))
        };
        let sealed = patiently(probe).await?;
        let header = SealedHeader::parse(&sealed);
        Ok(header.map(|header| header.kid).unwrap_or_default())
    }

    /// Once through the store: how many values each key had sealed. SCAN names a value that is there all the time at
    /// least once, and perhaps again.
    async fn pass(&self, report: &mut Report, mode: Mode) -> Result<BTreeMap<String, u64>, Error> {
        let mut found = BTreeMap::new();
        let mut seen = HashSet::new();
        let mut cursor = 0;
        report.broken.clear();
        loop {
            let (next, mut names) = self.store.scan(Key::CLIENTS, cursor).await?;
            names.retain(|name| seen.insert(name.clone()));
            for batch in names.chunks(REWRAPPED_AT_ONCE) {
                let holders = self.read(batch, report).await?;
                for holder in &holders {
                    *found.entry(holder.kid.clone()).or_default() += 1;
                }
                let others: Vec<Holder> = holders
                    .into_iter()
                    .filter(|holder| holder.kid != report.kid)
                    .collect();
                if !others.is_empty() {
                    self.replace(others, report, mode).await?;
                }
            }
            if next == 0 {
                return Ok(found);
            }
            cursor = next;
        }
    }

    async fn read(&self, names: &[Key], report: &mut Report) -> Result<Vec<Holder>, Error> {
        let values = self.store.get(names).await?;
        let mut holders = Vec::new();
        for (key, stored) in names.iter().zip(values) {
            match self.content(key, stored) {
                Content::Sealed(holder) => holders.push(*holder),
                Content::Nothing => {}
                Content::Broken => report.is_broken(key),
            }
        }
        Ok(holders)
    }

    fn content(&self, key: &Key, stored: Option<Stored>) -> Content {
        // Deleted since it was named.
        let Some(stored) = stored else {
            return Content::Nothing;
        };
        let Some(record) = json::read::<Record>(stored.value()) else {
            return Content::Broken;
        };
        let kept_until = record.kept_until;
        if kept_until <= self.clock.now() {
            return Content::Nothing;
        }
        let Some(sealed) = record.secret.and_then(|secret| secret.sealed) else {
            return Content::Nothing;
        };
        // The context stands in what was sealed, and is authenticated with it: a client's name is not in its value.
        let header = SealedHeader::parse(&sealed).filter(|header| seals(&header.context));
        let Some(SealedHeader { kid, context }) = header else {
            return Content::Broken;
        };
        Content::Sealed(Box::new(Holder {
            key: key.clone(),
            secret: WrappedSecret { sealed, context },
            stored,
            kid,
            kept_until,
        }))
    }

    /// Has them re-wrapped; a mere look finds out whether they can be.
    async fn replace(
        &self,
        mut holders: Vec<Holder>,
        report: &mut Report,
        mode: Mode,
    ) -> Result<(), Error> {
        for _ in 0..LOOKS {
            let secrets: Vec<&WrappedSecret> =
                holders.iter().map(|holder| &holder.secret).collect();
            let rewrapped = patiently(|| self.keys.rewrap(ID, &secrets)).await?;
            report.kid = rewrapped.kid;
            let mut changed = Vec::new();
            for (holder, after) in holders.iter().zip(rewrapped.secrets) {
                match after {
                    None => report.is_broken(&holder.key),
                    Some(_) if mode == Mode::Look => {}
                    Some(after) => changed.extend(self.swap(holder, &after).await?),
                }
            }
            // Somebody has written them meanwhile: another secret perhaps, or only a longer life.
            holders = Vec::new();
            for (key, stored) in changed {
                match self.content(&key, Some(stored)) {
                    Content::Sealed(holder) if holder.kid != report.kid => holders.push(*holder),
                    Content::Sealed(_) | Content::Nothing => {}
                    Content::Broken => report.is_broken(&key),
                }
            }
            if holders.is_empty() {
                break;
            }
        }
        Ok(())
    }

    /// What is there instead, where it is not what was read any more.
    async fn swap(
        &self,
        holder: &Holder,
        after: &WrappedSecret,
    ) -> Result<Option<(Key, Stored)>, Error> {
        let Holder {
            key,
            stored,
            secret,
            kept_until,
            ..
        } = holder;
        let seconds = kept_until - self.clock.now();
        // In place, so that all else stays as it was written, also by a gateway of another version.
        let text = String::from_utf8_lossy(stored.value());
        let write = Write {
            key: key.clone(),
            value: text.replace(&secret.sealed, &after.sealed).into(),
            lives: Duration::from_secs(u64::try_from(seconds).unwrap_or(1).max(1)),
        };
        Ok(match self.store.swap(stored, &write).await? {
            Swap::Done | Swap::Changed(None) => None,
            Swap::Changed(Some(stored)) => Some((key.clone(), stored)),
        })
    }

    /// What the configuration holds sealed by another key, and what would do instead.
    async fn configured(&self, clients: &[Metadata], kid: &str) -> Result<Vec<Configured>, Error> {
        let mut found = Vec::new();
        for client in clients {
            let header = client.client_secret_sealed.as_deref();
            let header = header.and_then(|sealed| Some((sealed, SealedHeader::parse(sealed)?)));
            let Some((sealed, header)) = header.filter(|(_, header)| header.kid != kid) else {
                continue;
            };
            let secret = WrappedSecret {
                sealed: sealed.to_owned(),
                context: header.context,
            };
            let secrets = [&secret];
            let rewrapped = patiently(|| self.keys.rewrap(ID, &secrets)).await?;
            let after = rewrapped.secrets.into_iter().next().flatten();
            found.push(Configured {
                client_id: client.client_id.clone(),
                kid: header.kid,
                sealed: after.map(|after| after.sealed),
            });
        }
        Ok(found)
    }
}

impl Report {
    fn is_broken(&mut self, key: &Key) {
        if self.broken.len() < LISTED {
            self.broken.insert(key.as_str().to_owned());
        }
    }
}

/// A key-service that is busy, or starts again, is asked again for a while.
async fn patiently<T, F: Future<Output = Result<T, keys::Error>>>(
    ask: impl Fn() -> F,
) -> Result<T, Error> {
    let mut tries = 1;
    loop {
        match ask().await {
            Err(keys::Error::Unavailable(_)) if tries < TRIES => {
                tries += 1;
                tokio::time::sleep(PAUSE).await;
            }
            answer => return Ok(answer?),
        }
    }
}
