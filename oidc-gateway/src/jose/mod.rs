//! JOSE formats (RFC 7515, 7518, 7519). Nothing here computes or checks a signature: the key-service does.

pub mod alg;
pub(crate) mod jwe;
pub(crate) mod jwt;
