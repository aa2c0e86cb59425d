//! The tokens by which a broker knows operators, accounts and users: JWTs of NATS, signed by an Ed25519 key.
//!
//! Deterministic: the same claims and key make the same token, so that what is written down does not change by being written
//! again. Must not know what the claims mean.

use nkeys::KeyPair;
use serde_json::{Value, json};

/// When all tokens were issued, in seconds since 1970. Servers take the newest of an account: to be raised with each change of
/// what an account's claims say.
const ISSUED_AT: u64 = 1_790_000_000;

/// A token in which `issuer` says of `subject`, a public key, what `claims` hold.
pub(super) fn sign(issuer: &KeyPair, subject: &str, name: &str, claims: Value) -> String {
    let mut body = json!({
        "iat": ISSUED_AT,
        "iss": issuer.public_key(),
        "name": name,
        "sub": subject,
        "nats": claims,
    });
    body["jti"] = json!(blake3::hash(body.to_string().as_bytes()).to_hex().as_str());
    let header = json!({"typ": "JWT", "alg": "ed25519-nkey"});
    let signed = format!("{}.{}", base64url(header.to_string().as_bytes()), base64url(body.to_string().as_bytes()));
    let signature = issuer.sign(signed.as_bytes()).expect("the issuer's key pair has a private key");
    format!("{signed}.{}", base64url(&signature))
}

/// Base64 of the alphabet for URLs, without padding (RFC 4648, section 5).
fn base64url(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let byte = |place: usize| u32::from(chunk.get(place).copied().unwrap_or_default());
        let bits = byte(0) << 16 | byte(1) << 8 | byte(2);
        for place in 0..=chunk.len() {
            text.push(char::from(ALPHABET[(bits >> (18 - 6 * place)) as usize & 63]));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_is_that_of_the_standard() {
        let known = [("", ""), ("f", "Zg"), ("fo", "Zm8"), ("foo", "Zm9v"), ("foob", "Zm9vYg"), ("fooba", "Zm9vYmE")];
        for (plain, encoded) in known {
            assert_eq!(base64url(plain.as_bytes()), encoded);
        }
        assert_eq!(base64url(&[0xfb, 0xff, 0xfe]), "-__-");
    }

    #[test]
    fn a_token_is_signed_by_its_issuer_and_always_the_same() {
        let issuer = KeyPair::new_account();
        let token = sign(&issuer, "U1", "agents", json!({"type": "user"}));
        assert_eq!(token, sign(&issuer, "U1", "agents", json!({"type": "user"})));
        assert_ne!(token, sign(&issuer, "U1", "agents", json!({"type": "account"})));
        assert_eq!(token.split('.').count(), 3);
    }
}
