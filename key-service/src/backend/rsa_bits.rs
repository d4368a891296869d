//! How long the RSA keys are that a backend makes (NIST SP 800-57 part 1, §5.6.1: 2048 bits and more).

use serde::Deserialize;

/// Length of an RSA modulus.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(try_from = "u32")]
pub enum RsaBits {
    /// 2048 bits.
    #[default]
    B2048,
    /// 3072 bits.
    B3072,
    /// 4096 bits.
    B4096,
}

impl RsaBits {
    /// As a number.
    #[must_use]
    pub fn bits(self) -> u32 {
        match self {
            RsaBits::B2048 => 2048,
            RsaBits::B3072 => 3072,
            RsaBits::B4096 => 4096,
        }
    }
}

impl TryFrom<u32> for RsaBits {
    type Error = &'static str;

    fn try_from(bits: u32) -> Result<Self, &'static str> {
        [RsaBits::B2048, RsaBits::B3072, RsaBits::B4096]
            .into_iter()
            .find(|it| it.bits() == bits)
            .ok_or("rsa_bits must be 2048, 3072 or 4096")
    }
}
