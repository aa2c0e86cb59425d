//! Trust in servers whose authority's certificates are a text: the broker's client itself reads files alone.

use std::{error::Error as StdError, sync::Arc};

use async_nats::rustls::{
    ClientConfig, RootCertStore,
    crypto::ring,
    pki_types::{CertificateDer, pem::PemObject as _},
};

use super::failure::Failure;

/// Connections to servers for which these certificates (PEM) vouch, and to no others.
pub(super) fn trusting(certificates: &str) -> Result<ClientConfig, Failure> {
    let wrong = |problem: String| Failure::Setting { setting: "ca", problem };
    let unusable = |error: &dyn StdError| wrong(format!("holds a certificate that cannot be used: {error}"));
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(certificates.as_bytes()) {
        let certificate = certificate.map_err(|error| unusable(&error))?;
        roots.add(certificate).map_err(|error| unusable(&error))?;
    }
    if roots.is_empty() {
        return Err(wrong("holds no certificate".to_owned()));
    }
    let versions = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| unusable(&error))?;
    Ok(versions.with_root_certificates(roots).with_no_client_auth())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_without_a_certificate_vouches_for_nobody() {
        let broken = "-----BEGIN CERTIFICATE-----\nbm8gY2VydGlmaWNhdGU=\n-----END CERTIFICATE-----\n";
        for (text, why) in [("", "holds no certificate"), ("a key", "holds no certificate"), (broken, "cannot be used")]
        {
            let said = trusting(text).expect_err("nobody can be trusted").to_string();
            assert!(said.starts_with("setting ca: ") && said.contains(why), "{said}");
        }
    }
}
