//! PostgreSQL over TLS.

use std::net::TcpListener;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::Path;

use nix::unistd::{User, geteuid};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use tempfile::TempDir;

use crate::harness::{Registry, text};
use crate::test_database::Postgres;

/// Returns a root certificate in PEM, and the issuer that signs the server's certificate with it.
fn authority() -> (String, Issuer<'static, KeyPair>) {
    let mut parameters = CertificateParams::new(Vec::new()).expect("parameters");
    parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let key = KeyPair::generate().expect("key");
    let certificate = parameters.self_signed(&key).expect("certificate");
    (certificate.pem(), Issuer::new(parameters, key))
}

/// Writes a file for the server, which may run as another user and refuses a key that others could
/// read.
fn write(folder: &Path, name: &str, content: &str) {
    let file = folder.join(name);
    std::fs::write(&file, content).expect("write");
    std::fs::set_permissions(&file, PermissionsExt::from_mode(0o600)).expect("permissions");
    if geteuid().is_root() {
        let user = User::from_name("postgres")
            .expect("users")
            .expect("postgres");
        for path in [folder, &file] {
            chown(path, Some(user.uid.as_raw()), None).expect("chown");
        }
    }
}

/// Returns a free port. It is not reserved until the server has it, but the system hands out ports
/// in turn.
fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("bind");
    listener.local_addr().expect("address").port()
}

#[test]
fn the_url_says_whether_and_how_the_server_is_verified() {
    let folder = TempDir::new().expect("folder");
    let server_files = folder.path().join("server");
    std::fs::create_dir(&server_files).expect("folder");
    let (root, issuer) = authority();
    let key = KeyPair::generate().expect("key");
    let certificate = CertificateParams::new(["localhost".to_owned()]).expect("parameters");
    let certificate = certificate.signed_by(&key, &issuer).expect("certificate");
    write(&server_files, "key.pem", &key.serialize_pem());
    write(&server_files, "certificate.pem", &certificate.pem());
    // Over TCP, the server accepts only TLS.
    write(
        &server_files,
        "hba",
        "local all all trust\nhostssl all all all trust\n",
    );
    let root_file = folder.path().join("root.pem");
    std::fs::write(&root_file, root).expect("write");
    let other_file = folder.path().join("other.pem");
    std::fs::write(&other_file, authority().0).expect("write");

    let (port, files) = (free_port(), server_files.display());
    std::fs::set_permissions(folder.path(), PermissionsExt::from_mode(0o755)).expect("permissions");
    let _server = Postgres::start(&format!(
        "listen_addresses = 'localhost'\nport = {port}\nssl = on\n\
         ssl_cert_file = '{files}/certificate.pem'\nssl_key_file = '{files}/key.pem'\n\
         hba_file = '{files}/hba'"
    ));
    let (root, other) = (root_file.display(), other_file.display());
    let with_root = format!("sslmode=verify-full&sslrootcert={root}");
    let ca_with_root = format!("sslmode=verify-ca&sslrootcert={root}");
    let with_other = format!("sslmode=verify-full&sslrootcert={other}");
    let ca_with_other = format!("sslmode=verify-ca&sslrootcert={other}");
    // The certificate is for localhost. The third column is a part of the error, or `None` for success.
    let cases = [
        ("localhost", "", None),
        ("localhost", "sslmode=require", None),
        ("127.0.0.1", "sslmode=require", None),
        ("localhost", &with_root, None),
        ("127.0.0.1", &ca_with_root, None),
        ("localhost", "sslmode=disable", Some("no encryption")),
        ("localhost", "sslmode=verify-full", Some("certificate")),
        ("localhost", &with_other, Some("certificate")),
        ("127.0.0.1", &ca_with_other, Some("certificate")),
        ("127.0.0.1", &with_root, Some("certificate")),
    ];
    let registry = Registry::new();
    for (host, parameters, problem) in cases {
        let url = format!("postgres://keystile:hunter2@{host}:{port}/postgres?{parameters}");
        let mut command = registry.command(&["list", "--json"]);
        let output = command.env("KEYSTILE_DATABASE_URL", url).output();
        let output = output.expect("run");
        let message = text(&output.stderr);
        assert_eq!(
            output.status.success(),
            problem.is_none(),
            "{host} {parameters}: {message}"
        );
        assert!(
            message.contains(problem.unwrap_or_default()),
            "{parameters}: {message}"
        );
        assert!(!message.contains("hunter2"), "{message}");
    }
}
