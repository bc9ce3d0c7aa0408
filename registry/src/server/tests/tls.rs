//! TLS of a listener, and TLS files that change.

use std::path::Path;

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use tempfile::TempDir;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

use super::*;

/// How often the files are checked in these tests.
const OFTEN: Duration = Duration::from_millis(10);

struct Authority {
    certificate: CertificateDer<'static>,
    pem: String,
    issuer: Issuer<'static, KeyPair>,
}

/// A certificate and its key, in PEM.
struct Identity {
    cert: String,
    key: String,
}

impl Authority {
    fn new() -> Self {
        let mut parameters = CertificateParams::new(Vec::new()).expect("parameters");
        parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().expect("key");
        let certificate = parameters.self_signed(&key).expect("certificate");
        Self {
            certificate: certificate.der().clone(),
            pem: certificate.pem(),
            issuer: Issuer::new(parameters, key),
        }
    }

    fn identity(&self) -> Identity {
        self.identity_of(|_| {})
    }

    fn identity_of(&self, change: impl FnOnce(&mut CertificateParams)) -> Identity {
        let key = KeyPair::generate().expect("key");
        let mut parameters = CertificateParams::new(["localhost".to_owned()]).expect("parameters");
        change(&mut parameters);
        let certificate = parameters
            .signed_by(&key, &self.issuer)
            .expect("certificate");
        Identity {
            cert: certificate.pem(),
            key: key.serialize_pem(),
        }
    }
}

/// The TLS files of a server.
struct Files {
    folder: TempDir,
    names: TlsFiles,
}

impl Files {
    fn new(identity: &Identity, client_ca: Option<&str>) -> Self {
        let folder = TempDir::new().expect("folder");
        let path = |name: &str| folder.path().join(name);
        let names = TlsFiles {
            cert: path("cert.pem"),
            key: path("key.pem"),
            client_ca: client_ca.map(|_| path("ca.pem")),
        };
        let files = Self { folder, names };
        files.write("cert.pem", &identity.cert);
        files.write("key.pem", &identity.key);
        if let Some(pem) = client_ca {
            files.write("ca.pem", pem);
        }
        files
    }

    fn write(&self, name: &str, content: &str) {
        std::fs::write(self.folder.path().join(name), content).expect("write");
    }

    fn load(&self) -> Arc<Tls> {
        Arc::new(Tls::load(self.names.clone()).expect("files"))
    }
}

/// Connects as a client that trusts an authority, optionally with a client certificate.
async fn connect(
    server: &Server,
    authority: &Authority,
    identity: Option<&Identity>,
    alpn: &[&str],
) -> io::Result<TlsStream<TcpStream>> {
    let mut roots = RootCertStore::empty();
    roots.add(authority.certificate.clone()).expect("a root");
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_root_certificates(roots);
    let mut config = match identity {
        None => config.with_no_client_auth(),
        Some(Identity { cert, key }) => {
            let cert = CertificateDer::from_pem_slice(cert.as_bytes()).expect("PEM");
            let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).expect("PEM");
            config
                .with_client_auth_cert(vec![cert], key)
                .expect("an identity")
        }
    };
    config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
    let name = ServerName::try_from("localhost").expect("a name");
    let stream = TcpStream::connect(server.address).await?;
    TlsConnector::from(Arc::new(config))
        .connect(name, stream)
        .await
}

async fn exchange(stream: &mut TlsStream<TcpStream>) -> io::Result<()> {
    stream.write_all(REQUEST).await?;
    let mut answer = Vec::new();
    while !answer.ends_with(b"hello") {
        if stream.read_buf(&mut answer).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
    Ok(())
}

#[tokio::test]
async fn http_1_and_2_are_spoken_over_tls() {
    let authority = Authority::new();
    let files = Files::new(&authority.identity(), None);
    let server = Server::start(endless(), Some(files.load())).await;
    for (offered, chosen) in [
        (&["h2", "http/1.1"][..], Some(&b"h2"[..])),
        (&["http/1.1"], Some(b"http/1.1")),
        (&[], None),
    ] {
        let mut stream = connect(&server, &authority, None, offered)
            .await
            .expect("TLS");
        assert_eq!(stream.get_ref().1.alpn_protocol(), chosen, "{offered:?}");
        if chosen == Some(b"h2") {
            let request = [http2::preface(http2::WINDOW), http2::get(1, "/")].concat();
            stream.write_all(&request).await.expect("send");
            answer(&mut stream).await;
        } else {
            exchange(&mut stream).await.expect("an answer");
        }
    }
    let other = Authority::new();
    connect(&server, &other, None, &[])
        .await
        .expect_err("another authority");
    server.closes(1, Reason::Tls).await;
}

#[tokio::test]
async fn clients_need_a_certificate_of_the_authority() {
    let (authority, others) = (Authority::new(), Authority::new());
    let files = Files::new(&authority.identity(), Some(&authority.pem));
    let server = Server::start(endless(), Some(files.load())).await;
    let (own, foreign) = (authority.identity(), others.identity());
    for (name, identity, welcome) in [
        ("its own", Some(&own), true),
        ("none", None, false),
        ("another's", Some(&foreign), false),
    ] {
        // With TLS 1.3, a client learns only after the handshake that it was refused.
        let got = async {
            let mut stream = connect(&server, &authority, identity, &[]).await?;
            exchange(&mut stream).await
        };
        let got: io::Result<()> = got.await;
        assert_eq!(got.is_ok(), welcome, "{name}: {got:?}");
    }
    server.closes(2, Reason::Tls).await;
}

#[tokio::test]
async fn handshakes_that_fail_or_never_end_are_closed_and_counted() {
    let limits = Limits {
        handshake: Duration::from_millis(300),
        ..endless()
    };
    let authority = Authority::new();
    let files = Files::new(&authority.identity(), None);
    let server = Server::start(limits, Some(files.load())).await;
    let rows = [
        ("silent", &b""[..], Reason::Handshake, 1),
        (
            "half a handshake",
            b"\x16\x03\x01\x02\x00\x01\x00",
            Reason::Handshake,
            2,
        ),
        ("plain HTTP", REQUEST, Reason::Tls, 1),
        (
            "plain HTTP/2",
            &http2::preface(http2::WINDOW),
            Reason::Tls,
            2,
        ),
    ];
    for (name, bytes, reason, count) in rows {
        let began = Instant::now();
        let mut stream = server.connect().await;
        stream.write_all(bytes).await.expect("send");
        end(&mut stream).await;
        let took = began.elapsed();
        assert_eq!(
            took + ROUNDING >= limits.handshake,
            reason == Reason::Handshake,
            "{name}: {took:?}"
        );
        server.closes(count, reason).await;
    }
}

/// Waits until `is_so`, which opens new connections, returns true.
async fn until_connections(what: &str, is_so: impl AsyncFn() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !is_so().await {
        assert!(Instant::now() < deadline, "not in time: {what}");
        sleep(OFTEN).await;
    }
}

#[tokio::test]
async fn files_that_change_are_read_again() {
    let (old, new) = (Authority::new(), Authority::new());
    let (first, second) = (old.identity(), new.identity());
    let files = Files::new(&first, None);
    let tls = files.load();
    let server = Server::start(endless(), Some(Arc::clone(&tls))).await;
    let following = tokio::spawn(tls.follow(OFTEN));
    let trusts = async |authority: &Authority| connect(&server, authority, None, &[]).await.is_ok();
    let mut kept = connect(&server, &old, None, &[]).await.expect("TLS");
    exchange(&mut kept).await.expect("an answer");

    // The certificate arrives before its key. Until then, the old files stay in use.
    files.write("cert.pem", &second.cert);
    sleep(OFTEN * 10).await;
    assert!(
        trusts(&old).await && !trusts(&new).await,
        "the certificate alone"
    );
    files.write("key.pem", &second.key);
    until_connections("the new certificate", async || trusts(&new).await).await;
    assert!(!trusts(&old).await);

    // Files that cannot be used leave the current ones in use.
    std::fs::remove_file(&files.names.key).expect("remove");
    sleep(OFTEN * 10).await;
    assert!(trusts(&new).await, "no key");
    files.write("cert.pem", "no certificate");
    files.write("key.pem", "no key");
    sleep(OFTEN * 10).await;
    assert!(trusts(&new).await, "no PEM");

    // As in Kubernetes: a link to another folder, replaced in one step.
    let link = |identity: &Identity, folder: &str| {
        let path = files.folder.path().join(folder);
        std::fs::create_dir(&path).expect("folder");
        std::fs::write(path.join("cert.pem"), &identity.cert).expect("write");
        std::fs::write(path.join("key.pem"), &identity.key).expect("write");
        let data = files.folder.path().join("new");
        std::os::unix::fs::symlink(&path, &data).expect("link");
        std::fs::rename(&data, files.folder.path().join("data")).expect("rename");
    };
    link(&first, "1");
    for name in ["cert.pem", "key.pem"] {
        let file = files.folder.path().join(name);
        std::fs::remove_file(&file).expect("remove");
        std::os::unix::fs::symlink(Path::new("data").join(name), &file).expect("link");
    }
    until_connections("the first certificate", async || trusts(&old).await).await;
    link(&second, "2");
    until_connections("the second certificate", async || trusts(&new).await).await;

    exchange(&mut kept).await.expect("a connection from before");
    following.abort();
}

#[tokio::test]
async fn the_authority_of_clients_may_change() {
    let (authority, next) = (Authority::new(), Authority::new());
    let files = Files::new(&authority.identity(), Some(&authority.pem));
    let tls = files.load();
    let server = Server::start(endless(), Some(Arc::clone(&tls))).await;
    let following = tokio::spawn(tls.follow(OFTEN));
    let (own, new) = (authority.identity(), next.identity());
    let welcomes =
        async |identity: &Identity| match connect(&server, &authority, Some(identity), &[]).await {
            Ok(mut stream) => exchange(&mut stream).await.is_ok(),
            Err(_) => false,
        };
    assert!(welcomes(&own).await && !welcomes(&new).await);
    files.write("ca.pem", &format!("{}{}", authority.pem, next.pem));
    until_connections("both are welcome", async || welcomes(&new).await).await;
    assert!(welcomes(&own).await);
    files.write("ca.pem", &next.pem);
    until_connections("the first is not", async || !welcomes(&own).await).await;
    assert!(welcomes(&new).await);
    following.abort();
}
