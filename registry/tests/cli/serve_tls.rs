//! `serve` over TLS.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use rcgen::{CertificateParams, KeyPair, date_time_ymd};
use tempfile::TempDir;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

use crate::harness::{Registry, get};

/// Returns a self-signed certificate and its key, in PEM.
pub(crate) fn identity(change: impl FnOnce(&mut CertificateParams)) -> (String, String) {
    let key = KeyPair::generate().expect("key");
    let mut parameters = CertificateParams::new(["localhost".to_owned()]).expect("parameters");
    change(&mut parameters);
    let certificate = parameters.self_signed(&key).expect("certificate");
    (certificate.pem(), key.serialize_pem())
}

/// Returns the response to `GET /healthz`, for a client that trusts a certificate.
pub(crate) fn healthz(to: SocketAddr, trusted: &str) -> io::Result<String> {
    let mut roots = RootCertStore::empty();
    let certificate = CertificateDer::from_pem_slice(trusted.as_bytes()).expect("PEM");
    roots.add(certificate).expect("a root");
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_root_certificates(roots)
        .with_no_client_auth();
    let name = ServerName::try_from("localhost").expect("a name");
    let connection = ClientConnection::new(Arc::new(config), name).expect("a client");
    let mut stream = StreamOwned::new(connection, TcpStream::connect(to)?);
    stream.write_all(b"GET /healthz HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}

pub(crate) fn write(folder: &Path, name: &str, content: &str) -> String {
    let file = folder.join(name);
    std::fs::write(&file, content).expect("write");
    file.display().to_string()
}

#[test]
fn lookups_and_admin_api_are_over_tls_and_metrics_are_not() {
    let (folder, registry) = (TempDir::new().expect("folder"), Registry::new());
    let (cert, key) = identity(|_| {});
    let (next, next_key) = identity(|_| {});
    let files = [("cert", &cert), ("key", &key)];
    let [cert_file, key_file] = files.map(|(name, content)| write(folder.path(), name, content));
    let args = [
        "serve",
        "--json",
        "--listen=127.0.0.1:0",
        "--admin-listen=127.0.0.1:0",
        "--metrics-listen=127.0.0.1:0",
        "--tls-cert",
        &cert_file,
        "--tls-key",
        &key_file,
    ];
    let server = registry.start(registry.command(&args));
    for to in [server.address, server.secondary("admin")] {
        let answer = healthz(to, &cert).expect("an answer");
        assert!(answer.starts_with("HTTP/1.1 200"), "{to}: {answer}");
        // Without TLS, the connection is closed at once.
        let mut plain = TcpStream::connect(to).expect("connect");
        plain
            .write_all(b"GET /healthz HTTP/1.1\r\n\r\n")
            .expect("send");
        let mut answer = Vec::new();
        // A reset is fine too.
        let _ = plain.read_to_end(&mut answer);
        assert!(!answer.starts_with(b"HTTP"), "{to}: {answer:?}");
    }
    assert_eq!(get(server.secondary("metrics"), "/healthz").0, 200);

    for (name, content) in [("cert", &next), ("key", &next_key)] {
        write(folder.path(), name, content);
    }
    let deadline = Instant::now() + Duration::from_secs(20);
    while healthz(server.address, &next).is_err() {
        assert!(
            Instant::now() < deadline,
            "the new certificate is not there"
        );
        std::thread::sleep(Duration::from_millis(50));
    }
    healthz(server.secondary("admin"), &next).expect("the new certificate there too");
    write(folder.path(), "key", "no key");
    let problem = "the new TLS files cannot be used";
    server.logs(problem);
    healthz(server.address, &next).expect("the one before stays");
    let log = server.stop(Signal::SIGTERM);
    assert_eq!(
        log.matches("the TLS certificate was replaced").count(),
        1,
        "{log}"
    );
    assert_eq!(log.matches(problem).count(), 1, "{log}");
    assert!(log.contains("--tls-key"), "{log}");
    assert!(!log.contains("PRIVATE KEY"), "{log}");
}

#[test]
fn files_that_cannot_be_used_are_named() {
    let (folder, registry) = (TempDir::new().expect("folder"), Registry::new());
    let (cert, key) = identity(|_| {});
    let (_, other_key) = identity(|_| {});
    let write = |name: &str, content: &str| write(folder.path(), name, content);
    let (cert, key) = (write("cert.pem", &cert), write("key.pem", &key));
    let other_key = write("other.pem", &other_key);
    let (empty, garbage) = (write("empty.pem", ""), write("garbage.pem", "-----BEGIN"));
    let absent = folder.path().join("absent.pem").display().to_string();
    let with = |option: &str, file: &str| format!("--tls-{option}={file}");
    let cases = [
        (vec![with("cert", &cert)], 2, "--tls-key"),
        (vec![with("key", &key)], 2, "--tls-cert"),
        (vec![with("client-ca", &cert)], 2, "--tls-cert"),
        (
            vec![with("cert", &absent), with("key", &key)],
            1,
            "--tls-cert",
        ),
        (
            vec![with("cert", &cert), with("key", &absent)],
            1,
            "--tls-key",
        ),
        (
            vec![with("cert", &empty), with("key", &key)],
            1,
            "but found none",
        ),
        (
            vec![with("cert", &garbage), with("key", &key)],
            1,
            "garbage.pem",
        ),
        (vec![with("cert", &key), with("key", &key)], 1, "--tls-cert"),
        (
            vec![with("cert", &cert), with("key", &cert)],
            1,
            "a private key in PEM",
        ),
        (
            vec![with("cert", &cert), with("key", &other_key)],
            1,
            "do not match",
        ),
        (
            vec![
                with("cert", &cert),
                with("key", &key),
                with("client-ca", &absent),
            ],
            1,
            "--tls-client-ca",
        ),
        (
            vec![
                with("cert", &cert),
                with("key", &key),
                with("client-ca", &empty),
            ],
            1,
            "--tls-client-ca",
        ),
    ];
    for (options, code, part) in cases {
        let mut args = vec!["serve", "--listen=127.0.0.1:0"];
        args.extend(options.iter().map(String::as_str));
        let (got, message) = registry.error(&args);
        assert_eq!(got, Some(code), "{options:?}: {message}");
        assert!(
            message.contains(part),
            "{options:?}: no {part:?}: {message}"
        );
        assert!(!message.contains("PRIVATE KEY"), "{options:?}: {message}");
    }
}

#[test]
fn a_certificate_that_nobody_takes_now_is_warned_of() {
    let past: fn(&mut CertificateParams) = |parameters| {
        parameters.not_before = date_time_ymd(2020, 1, 1);
        parameters.not_after = date_time_ymd(2021, 1, 1);
    };
    let future: fn(&mut CertificateParams) = |parameters| {
        parameters.not_before = date_time_ymd(3000, 1, 1);
    };
    let cases = [
        (past, "the TLS certificate has expired", "2021"),
        (future, "the TLS certificate is not valid yet", "3000"),
    ];
    let registry = Registry::new();
    for (change, warning, year) in cases {
        let folder = TempDir::new().expect("folder");
        let (cert, key) = identity(change);
        let cert = format!("--tls-cert={}", write(folder.path(), "cert", &cert));
        let key = format!("--tls-key={}", write(folder.path(), "key", &key));
        let args = ["serve", "--json", "--listen=127.0.0.1:0", &cert, &key];
        let log = registry
            .start(registry.command(&args))
            .stop(Signal::SIGTERM);
        let line = log.lines().find(|line| line.contains(warning));
        assert!(
            line.is_some_and(|line| line.contains(year)),
            "{warning}: {log}"
        );
    }
}
