//! Certificates from authorities of the tests.

use std::path::{Path, PathBuf};

use anyhow::Result;
use keystile_e2e::manifests::istio::Identity;
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, SanType};

/// An authority, with the PEM file of its certificate.
pub(crate) struct Authority {
    issuer: Issuer<'static, KeyPair>,
    folder: PathBuf,
    pub(crate) certificate: PathBuf,
}

/// The PEM files of a certificate and its key.
pub(crate) struct Certificate {
    pub(crate) certificate: PathBuf,
    pub(crate) key: PathBuf,
}

impl Authority {
    /// Creates an authority with its files in a folder.
    pub(crate) fn new(folder: &Path) -> Result<Self> {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        // Without its own name, the certificates that it signs would look self-signed.
        params
            .distinguished_name
            .push(DnType::CommonName, "authority");
        let key = KeyPair::generate()?;
        let certificate = folder.join("authority.pem");
        std::fs::write(&certificate, params.self_signed(&key)?.pem())?;
        Ok(Self {
            issuer: Issuer::new(params, key),
            folder: folder.to_owned(),
            certificate,
        })
    }

    /// Issues a certificate for a service account of a mesh, `NAMESPACE/ACCOUNT`.
    pub(crate) fn workload(&self, account: &str) -> Result<Certificate> {
        let name = account.replacen('/', "/sa/", 1);
        let name = format!("spiffe://cluster.local/ns/{name}");
        self.issue(&account.replace('/', "-"), SanType::URI(name.try_into()?))
    }

    /// Issues a certificate for a host.
    pub(crate) fn host(&self, name: &str) -> Result<Certificate> {
        self.issue(name, SanType::DnsName(name.try_into()?))
    }

    /// Returns a workload's certificate and key, and the authority's certificate.
    pub(crate) fn identity<'a>(&'a self, of: &'a Certificate) -> Identity<'a> {
        Identity {
            certificate: &of.certificate,
            key: &of.key,
            authority: &self.certificate,
        }
    }

    fn issue(&self, file: &str, name: SanType) -> Result<Certificate> {
        let mut params = CertificateParams::default();
        params.subject_alt_names = vec![name];
        let key = KeyPair::generate()?;
        let issued = Certificate {
            certificate: self.folder.join(format!("{file}.pem")),
            key: self.folder.join(format!("{file}.key")),
        };
        std::fs::write(
            &issued.certificate,
            params.signed_by(&key, &self.issuer)?.pem(),
        )?;
        std::fs::write(&issued.key, key.serialize_pem())?;
        Ok(issued)
    }
}
