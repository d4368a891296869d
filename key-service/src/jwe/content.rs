//! Content encryption (RFC 7518 §5): AES-GCM, and AES-CBC with HMAC, whose authentication tag is looked at before
//! anything is decrypted.

use aes_gcm::aead::consts::U12;
use aes_gcm::aead::{self, AeadInOut, KeyInit, Nonce};
use aes_gcm::aes::Aes192;
use aes_gcm::{Aes128Gcm, Aes256Gcm, AesGcm};
use aws_lc_rs::cipher::{
    AES_128, AES_192, AES_256, DecryptionContext, EncryptionContext, PaddedBlockDecryptingKey,
    PaddedBlockEncryptingKey, UnboundCipherKey,
};
use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::hmac;
use zeroize::Zeroizing;

use super::{Error, fill};
use crate::algorithm::ContentEncryption;
use crate::backend::SecretBytes;

/// AES-GCM's initialization vector and authentication tag, in octets (RFC 7518 §5.3).
pub(super) const GCM_IV: usize = 12;
pub(super) const GCM_TAG: usize = 16;
/// AES-CBC's initialization vector is as long as its block, in octets.
const BLOCK: usize = 16;

type Aes192Gcm = AesGcm<Aes192, U12>;

/// A ciphertext, and what belongs to it.
pub(super) struct Encrypted {
    pub(super) iv: Vec<u8>,
    pub(super) ciphertext: Vec<u8>,
    pub(super) tag: Vec<u8>,
}

/// Encrypts under a fresh initialization vector.
pub(super) fn encrypt(
    encryption: ContentEncryption,
    cek: &[u8],
    aad: &[u8],
    plaintext: &[u8],
) -> Result<Encrypted, Error> {
    match encryption {
        ContentEncryption::A128Gcm => gcm::<Aes128Gcm>(cek, aad, plaintext),
        ContentEncryption::A192Gcm => gcm::<Aes192Gcm>(cek, aad, plaintext),
        ContentEncryption::A256Gcm => gcm::<Aes256Gcm>(cek, aad, plaintext),
        ContentEncryption::A128CbcHs256
        | ContentEncryption::A192CbcHs384
        | ContentEncryption::A256CbcHs512 => cbc(encryption, cek, aad, plaintext),
    }
}

/// The reverse of [`encrypt`]; one error, whatever is wrong.
pub(super) fn decrypt(
    encryption: ContentEncryption,
    cek: &[u8],
    aad: &[u8],
    encrypted: &Encrypted,
) -> Result<SecretBytes, Error> {
    let plaintext = match encryption {
        ContentEncryption::A128Gcm => gcm_open::<Aes128Gcm>(cek, aad, encrypted),
        ContentEncryption::A192Gcm => gcm_open::<Aes192Gcm>(cek, aad, encrypted),
        ContentEncryption::A256Gcm => gcm_open::<Aes256Gcm>(cek, aad, encrypted),
        ContentEncryption::A128CbcHs256
        | ContentEncryption::A192CbcHs384
        | ContentEncryption::A256CbcHs512 => cbc_open(encryption, cek, aad, encrypted),
    };
    plaintext.ok_or(Error::Undecryptable)
}

fn gcm<Cipher: AeadInOut + KeyInit>(
    cek: &[u8],
    aad: &[u8],
    plaintext: &[u8],
) -> Result<Encrypted, Error> {
    let mut iv = vec![0; GCM_IV];
    fill(&mut iv)?;
    // Room for the tag, so that no copy of the plaintext is left behind.
    let mut ciphertext = Vec::with_capacity(plaintext.len() + GCM_TAG);
    ciphertext.extend_from_slice(plaintext);
    let sealed = gcm_ready::<Cipher>(cek, &iv)
        .and_then(|(cipher, nonce)| cipher.encrypt_in_place(&nonce, aad, &mut ciphertext));
    sealed.map_err(|_| Error::Unsupported)?;
    let tag = ciphertext.split_off(plaintext.len());
    Ok(Encrypted {
        iv,
        ciphertext,
        tag,
    })
}

fn gcm_open<Cipher: AeadInOut + KeyInit>(
    cek: &[u8],
    aad: &[u8],
    encrypted: &Encrypted,
) -> Option<SecretBytes> {
    // A shorter tag is easier to guess (NIST SP 800-38D appendix C).
    if encrypted.tag.len() != GCM_TAG {
        return None;
    }
    let (cipher, nonce) = gcm_ready::<Cipher>(cek, &encrypted.iv).ok()?;
    let mut plaintext = Zeroizing::new([&*encrypted.ciphertext, &*encrypted.tag].concat());
    cipher
        .decrypt_in_place(&nonce, aad, &mut *plaintext)
        .ok()
        .map(|()| plaintext)
}

fn gcm_ready<Cipher: AeadInOut + KeyInit>(
    cek: &[u8],
    iv: &[u8],
) -> aead::Result<(Cipher, Nonce<Cipher>)> {
    let cipher = Cipher::new_from_slice(cek).map_err(|_| aead::Error)?;
    let nonce = Nonce::<Cipher>::try_from(iv).map_err(|_| aead::Error)?;
    Ok((cipher, nonce))
}

/// RFC 7518 §5.2.2.1.
fn cbc(
    encryption: ContentEncryption,
    cek: &[u8],
    aad: &[u8],
    plaintext: &[u8],
) -> Result<Encrypted, Error> {
    let (mac_key, key) = cek.split_at(cek.len() / 2);
    let mut iv = [0; BLOCK];
    fill(&mut iv)?;
    // Room for the padding, so that no copy of the plaintext is left behind.
    let mut ciphertext = Vec::with_capacity(plaintext.len() + BLOCK);
    ciphertext.extend_from_slice(plaintext);
    let encrypted = cbc_key(key)
        .and_then(|key| PaddedBlockEncryptingKey::cbc_pkcs7(key).ok())
        .and_then(|key| {
            let context = EncryptionContext::Iv128(iv.into());
            key.less_safe_encrypt(&mut ciphertext, context).ok()
        });
    encrypted.ok_or(Error::Unsupported)?;
    let tag = cbc_tag(encryption, mac_key, aad, &iv, &ciphertext);
    Ok(Encrypted {
        iv: iv.to_vec(),
        ciphertext,
        tag,
    })
}

/// RFC 7518 §5.2.2.2: the tag first, and nothing is decrypted where it is wrong. So the padding tells nothing.
fn cbc_open(
    encryption: ContentEncryption,
    cek: &[u8],
    aad: &[u8],
    encrypted: &Encrypted,
) -> Option<SecretBytes> {
    let iv: [u8; BLOCK] = encrypted.iv.as_slice().try_into().ok()?;
    let (mac_key, key) = cek.split_at(cek.len() / 2);
    let tag = cbc_tag(encryption, mac_key, aad, &iv, &encrypted.ciphertext);
    verify_slices_are_equal(&tag, &encrypted.tag).ok()?;
    let key = PaddedBlockDecryptingKey::cbc_pkcs7(cbc_key(key)?).ok()?;
    let mut plaintext = Zeroizing::new(encrypted.ciphertext.clone());
    let context = DecryptionContext::Iv128(iv.into());
    let length = key.decrypt(&mut plaintext, context).ok()?.len();
    plaintext.truncate(length);
    Some(plaintext)
}

fn cbc_key(key: &[u8]) -> Option<UnboundCipherKey> {
    let algorithm = match key.len() {
        16 => &AES_128,
        24 => &AES_192,
        32 => &AES_256,
        _ => return None,
    };
    UnboundCipherKey::new(algorithm, key).ok()
}

/// The first half of the HMAC over AAD ‖ IV ‖ ciphertext ‖ length of the AAD in bits.
fn cbc_tag(
    encryption: ContentEncryption,
    mac_key: &[u8],
    aad: &[u8],
    iv: &[u8],
    ciphertext: &[u8],
) -> Vec<u8> {
    let hash = match encryption {
        ContentEncryption::A192CbcHs384 => hmac::HMAC_SHA384,
        ContentEncryption::A256CbcHs512 => hmac::HMAC_SHA512,
        _ => hmac::HMAC_SHA256,
    };
    let mut mac = hmac::Context::with_key(&hmac::Key::new(hash, mac_key));
    let bits = aad.len() as u64 * 8;
    for part in [aad, iv, ciphertext, &bits.to_be_bytes()] {
        mac.update(part);
    }
    mac.sign().as_ref()[..mac_key.len()].to_vec()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    /// RFC 7518 appendix B: the keys are the octets from 0 on, the rest is common.
    const PLAINTEXT: &[u8] =
        b"A cipher system must not be required to be secret, and it must be able to fall into the \
        hands of the enemy without inconvenience";
    const AAD: &[u8] = b"The second principle of Auguste Kerckhoffs";
    const IV: [u8; 16] = [
        0x1a, 0xf3, 0x8c, 0x2d, 0xc2, 0xb9, 0x6f, 0xfd, 0xd8, 0x66, 0x94, 0x09, 0x23, 0x41, 0xbc,
        0x04,
    ];

    fn hex(text: &str) -> Vec<u8> {
        let digits: Vec<char> = text.chars().filter(|c| !c.is_whitespace()).collect();
        digits
            .chunks(2)
            .map(|pair| u8::from_str_radix(&String::from_iter(pair), 16).unwrap())
            .collect()
    }

    #[test]
    fn the_vectors_of_rfc_7518_b_open() {
        for (encryption, ciphertext, tag) in [
            (
                ContentEncryption::A128CbcHs256,
                "c80edfa32ddf39d5ef00c0b468834279a2e46a1b8049f792f76bfe54b903a9c9
                 a94ac9b47ad2655c5f10f9aef71427e2fc6f9b3f399a221489f16362c7032336
                 09d45ac69864e3321cf82935ac4096c86e133314c54019e8ca7980dfa4b9cf1b
                 384c486f3a54c51078158ee5d79de59fbd34d848b3d69550a67646344427ade5
                 4b8851ffb598f7f80074b9473c82e2db",
                "652c3fa36b0a7c5b3219fab3a30bc1c4",
            ),
            (
                ContentEncryption::A192CbcHs384,
                "ea65da6b59e61edb419be62d19712ae5d303eeb50052d0dfd6697f77224c8edb
                 000d279bdc14c1072654bd30944230c657bed4ca0c9f4a8466f22b226d174621
                 4bf8cfc2400add9f5126e479663fc90b3bed787a2f0ffcbf3904be2a641d5c21
                 05bfe591bae23b1d7449e532eef60a9ac8bb6c6b01d35d49787bcd57ef484927
                 f280adc91ac0c4e79c7b11efc60054e3",
                "8490ac0e58949bfe51875d733f93ac2075168039ccc733d7",
            ),
            (
                ContentEncryption::A256CbcHs512,
                "4affaaadb78c31c5da4b1b590d10ffbd3dd8d5d302423526912da037ecbcc7bd
                 822c301dd67c373bccb584ad3e9279c2e6d12a1374b77f077553df829410446b
                 36ebd97066296ae6427ea75c2e0846a11a09ccf5370dc80bfecbad28c73f09b3
                 a3b75e662a2594410ae496b2e2e6609e31e6e02cc837f053d21f37ff4f51950b
                 be2638d09dd7a4930930806d0703b1f6",
                "4dd3b4c088a7f45c216839645b2012bf2e6269a8c56a816dbc1b267761955bc5",
            ),
        ] {
            let cek: Vec<u8> = (0..).take(encryption.key_length()).collect();
            let mut encrypted = Encrypted {
                iv: IV.to_vec(),
                ciphertext: hex(ciphertext),
                tag: hex(tag),
            };
            let plaintext = decrypt(encryption, &cek, AAD, &encrypted).unwrap();
            assert_eq!(*plaintext, PLAINTEXT, "{encryption}");
            encrypted.tag[0] ^= 1;
            assert!(decrypt(encryption, &cek, AAD, &encrypted).is_err());
        }
    }

    #[test]
    fn what_is_encrypted_opens_and_one_changed_bit_is_seen() {
        for encryption in ContentEncryption::ALL.iter().copied() {
            let cek = vec![7; encryption.key_length()];
            for length in [0, 1, 15, 16, 17, 1000] {
                let plaintext = vec![b'x'; length];
                let encrypt = || encrypt(encryption, &cek, AAD, &plaintext).unwrap();
                let opened = decrypt(encryption, &cek, AAD, &encrypt()).unwrap();
                assert_eq!(*opened, plaintext, "{encryption} {length}");
                let changes: [fn(&mut Encrypted); 7] = [
                    |it| it.iv[0] ^= 1,
                    |it| it.iv.push(0),
                    |it| it.iv.clear(),
                    |it| it.tag[0] ^= 1,
                    |it| it.tag.truncate(12),
                    |it| it.tag.clear(),
                    |it| it.ciphertext.push(0),
                ];
                for (row, change) in changes.iter().enumerate() {
                    let mut changed = encrypt();
                    change(&mut changed);
                    let refused = decrypt(encryption, &cek, AAD, &changed);
                    assert!(refused.is_err(), "{encryption} {length} {row}");
                }
                assert!(decrypt(encryption, &cek, b"other", &encrypt()).is_err());
                assert!(decrypt(encryption, &cek[1..], AAD, &encrypt()).is_err());
            }
        }
    }
}
