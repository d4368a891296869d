//! Our own types as JSON (RFC 8259): what is stored, signed and answered.

use bytes::Bytes;
use serde::Serialize;
use serde::de::DeserializeOwned;

/// A value's octets.
pub(crate) fn write(value: &impl Serialize) -> Bytes {
    serde_json::to_vec(value)
        .expect("maps with text keys and finite numbers always serialise")
        .into()
}

/// A value that was written; `None`: another kind of value, or one of another version.
pub(crate) fn read<T: DeserializeOwned>(octets: &[u8]) -> Option<T> {
    serde_json::from_slice(octets).ok()
}

/// Words of a specification that are one of a few: each is spelled once.
macro_rules! wire_enum {
    ($(#[$meta:meta])* $type:ident { $($(#[$doc:meta])* $variant:ident = $wire:literal,)+ }) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
        pub enum $type { $($(#[$doc])* #[serde(rename = $wire)] $variant,)+ }

        impl $type {
            /// Every one: what the discovery document says and what is validated.
            pub const ALL: &'static [$type] = &[$($type::$variant,)+];

            /// The name on the wire.
            pub fn as_str(self) -> &'static str {
                match self { $($type::$variant => $wire,)+ }
            }

            /// The one of this name on the wire.
            pub fn named(name: &str) -> Option<$type> {
                match name { $($wire => Some($type::$variant),)+ _ => None }
            }
        }

        impl std::fmt::Display for $type {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.as_str())
            }
        }
    };
}
pub(crate) use wire_enum;
