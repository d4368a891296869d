//! How an answer may come to the client (OAuth 2.0 Multiple Response Types §2.1, §3 and §5).

use crate::client::metadata::{ResponseMode, ResponseType};

impl ResponseType {
    /// How the answer comes unless the request says otherwise (§3, §5).
    pub(crate) fn default_mode(self) -> ResponseMode {
        match self.is_front_channel() {
            true => ResponseMode::Fragment,
            false => ResponseMode::Query,
        }
    }

    /// §3: tokens are never in a query, which servers write to their logs.
    pub(crate) fn may_come_by(self, mode: ResponseMode) -> bool {
        mode != ResponseMode::Query || !self.is_front_channel()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_an_answer_may_come() {
        for &each in ResponseType::ALL {
            let in_query = matches!(each.as_str(), "code" | "none");
            assert_eq!(each.may_come_by(ResponseMode::Query), in_query, "{each:?}");
            let by_default = each.default_mode() == ResponseMode::Query;
            assert_eq!(by_default, in_query, "{each:?}");
            for mode in [ResponseMode::Fragment, ResponseMode::FormPost] {
                assert!(each.may_come_by(mode), "{each:?} {mode:?}");
            }
        }
    }
}
