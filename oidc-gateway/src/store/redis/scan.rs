//! Going through the store: what no request does, and an operator's command does while requests go on.

use redis::{Cmd, Value};

use super::{Redis, strange};
use crate::store::{Key, Unavailable};

/// How many names one call looks at.
const SCANNED_AT_ONCE: u64 = 1000;

impl Redis {
    /// Names of values that begin so, and the cursor for more; 0 is the first one and the last. A value that is there
    /// all the while is named at least once (SCAN). Each call looks at a bounded part of the store.
    pub(crate) async fn scan(
        &self,
        kind: &str,
        cursor: u64,
    ) -> Result<(u64, Vec<Key>), Unavailable> {
        let mut command = Cmd::with_capacity(6, 64);
        command.arg("SCAN").arg(cursor);
        command.arg("MATCH").arg(format!("{kind}*"));
        command.arg("COUNT").arg(SCANNED_AT_ONCE);
        let Value::Array(answer) = self.link.command(&command).await? else {
            return Err(strange());
        };
        let [next, names]: [Value; 2] = answer.try_into().map_err(|_| strange())?;
        let text = |value| match value {
            Value::BulkString(octets) => String::from_utf8(octets).map_err(|_| strange()),
            _ => Err(strange()),
        };
        let Value::Array(names) = names else {
            return Err(strange());
        };
        let names: Result<Vec<Key>, _> = names.into_iter().map(|it| text(it).map(Key)).collect();
        let next = text(next)?.parse().map_err(|_| strange())?;
        Ok((next, names?))
    }
}
