//! Parameters of a request or an answer, in order, with repetitions where a test wants them.

use std::collections::BTreeMap;

use form_urlencoded::Serializer;

/// Names and values.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Params(Vec<(String, String)>);

impl Params {
    pub(crate) fn of(pairs: &[(&str, &str)]) -> Params {
        let owned = |&(name, value): &(&str, &str)| (name.to_owned(), value.to_owned());
        Params(pairs.iter().map(owned).collect())
    }

    pub(crate) fn decode(encoded: &str) -> Params {
        Params(
            form_urlencoded::parse(encoded.as_bytes())
                .into_owned()
                .collect(),
        )
    }

    /// One value and no other.
    pub(crate) fn set(self, name: &str, value: &str) -> Params {
        self.without(name).and(name, value)
    }

    pub(crate) fn without(mut self, name: &str) -> Params {
        self.0.retain(|(other, _)| other != name);
        self
    }

    /// One more, whatever is there already.
    pub(crate) fn and(mut self, name: &str, value: &str) -> Params {
        self.0.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Each as `set`.
    pub(crate) fn with(self, pairs: &[(&str, &str)]) -> Params {
        pairs
            .iter()
            .fold(self, |params, (name, value)| params.set(name, value))
    }

    pub(crate) fn first(&self, name: &str) -> Option<&str> {
        let mut pairs = self.0.iter();
        pairs
            .find(|(other, _)| other == name)
            .map(|(_, value)| value.as_str())
    }

    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|(name, _)| name.as_str())
    }

    pub(crate) fn encode(&self) -> String {
        Serializer::new(String::new())
            .extend_pairs(&self.0)
            .finish()
    }

    /// Fails when a name is repeated.
    #[track_caller]
    pub(crate) fn into_map(self) -> BTreeMap<String, String> {
        let count = self.0.len();
        let map: BTreeMap<_, _> = self.0.into_iter().collect();
        assert_eq!(map.len(), count, "a name is repeated: {map:?}");
        map
    }
}
