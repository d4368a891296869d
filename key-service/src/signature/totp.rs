//! One-time codes by time (RFC 6238): HMAC of a step's number, truncated to 31 bits (RFC 4226 §5.3). Who asks takes as
//! many decimal digits of them as its seed says.

use aws_lc_rs::hmac;

use crate::algorithm::TotpAlgorithm;
use crate::backend::SecretBytes;

/// The shortest seed, in octets (RFC 4226 §4, R6).
const SHORTEST_SEED: usize = 16;

/// The seed of one person's authenticator.
#[derive(Debug)]
pub struct Seed(hmac::Key);

impl Seed {
    /// `None` when it is shorter than 128 bits.
    #[must_use]
    pub fn of(algorithm: TotpAlgorithm, seed: &SecretBytes) -> Option<Seed> {
        let hmac = match algorithm {
            TotpAlgorithm::Hs1 => hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY,
            TotpAlgorithm::Hs256 => hmac::HMAC_SHA256,
            TotpAlgorithm::Hs512 => hmac::HMAC_SHA512,
        };
        (seed.len() >= SHORTEST_SEED).then(|| Seed(hmac::Key::new(hmac, seed)))
    }

    /// The code of a time step, 31 bits.
    #[must_use]
    pub fn code(&self, step: u64) -> u32 {
        let tag = hmac::sign(&self.0, &step.to_be_bytes());
        let tag = tag.as_ref();
        let offset = usize::from(tag[tag.len() - 1] & 0x0f);
        let code = tag[offset..offset + 4]
            .iter()
            .fold(0, |code, octet| (code << 8) | u32::from(*octet));
        code & 0x7fff_ffff
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    /// RFC 6238 appendix B; the seeds' lengths are those of its program.
    #[test]
    fn the_codes_of_rfc_6238() {
        for (algorithm, length, codes) in [
            (
                TotpAlgorithm::Hs1,
                20,
                [
                    94_287_082, 7_081_804, 14_050_471, 89_005_924, 69_279_037, 65_353_130,
                ],
            ),
            (
                TotpAlgorithm::Hs256,
                32,
                [
                    46_119_246, 68_084_774, 67_062_674, 91_819_424, 90_698_825, 77_737_706,
                ],
            ),
            (
                TotpAlgorithm::Hs512,
                64,
                [
                    90_693_936, 25_091_201, 99_943_326, 93_441_116, 38_618_901, 47_863_826,
                ],
            ),
        ] {
            let seed: Vec<u8> = b"1234567890".iter().copied().cycle().take(length).collect();
            let seed = Seed::of(algorithm, &seed.into()).unwrap();
            let times = [
                59,
                1_111_111_109,
                1_111_111_111,
                1_234_567_890,
                2_000_000_000,
                20_000_000_000,
            ];
            for (time, code) in times.into_iter().zip(codes) {
                assert_eq!(
                    seed.code(time / 30) % 100_000_000,
                    code,
                    "{algorithm} {time}"
                );
            }
        }
        assert!(Seed::of(TotpAlgorithm::Hs1, &vec![1; 15].into()).is_none());
    }
}
