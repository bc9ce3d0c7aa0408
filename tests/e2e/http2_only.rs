//! An auth server that speaks only HTTP/2, in plain text or over TLS, and resets every stream with the
//! wrong `:scheme`.

use std::sync::{Arc, Mutex, PoisonError};

use anyhow::Result;
use bytes::Bytes;
use h2::{Reason, server};
use hyper::{Request, Response};
use keystile_e2e::keys::GOOD;
use keystile_e2e::serving::Serving;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::{ServerConfig, crypto};

use crate::identities::Certificate;

/// A request as it arrived.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Seen {
    /// The name that the proxy asked for in its TLS handshake.
    pub(crate) server_name: Option<String>,
    pub(crate) scheme: Option<String>,
    pub(crate) path: String,
}

/// The server's requests so far. Clones share them.
#[derive(Clone, Default)]
pub(crate) struct Http2Only(Arc<Mutex<Vec<Seen>>>);

impl Http2Only {
    /// Serves in plain text on a free port. Each key is known.
    pub(crate) async fn serve(&self) -> Result<Serving> {
        let server = self.clone();
        Serving::new(move |stream| {
            let server = server.clone();
            async move { server.converse(stream, "http", None).await }
        })
        .await
    }

    /// Does the same over TLS.
    pub(crate) async fn serve_tls(&self, own: &Certificate) -> Result<Serving> {
        let provider = Arc::new(crypto::ring::default_provider());
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_single_cert(
                vec![CertificateDer::from_pem_file(&own.certificate)?],
                PrivateKeyDer::from_pem_file(&own.key)?,
            )?;
        config.alpn_protocols = vec![b"h2".to_vec()];
        let (server, acceptor) = (self.clone(), TlsAcceptor::from(Arc::new(config)));
        Serving::new(move |stream| {
            let (server, acceptor) = (server.clone(), acceptor.clone());
            async move {
                // The proxy may leave midway.
                if let Ok(stream) = acceptor.accept(stream).await {
                    let name = stream.get_ref().1.server_name().map(str::to_owned);
                    server.converse(stream, "https", name).await;
                }
            }
        })
        .await
    }

    /// Returns the requests so far.
    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    async fn converse(
        &self,
        stream: impl AsyncRead + AsyncWrite + Unpin,
        scheme: &str,
        server_name: Option<String>,
    ) {
        // Whoever speaks HTTP/1.1 gets SETTINGS, and then the connection is closed.
        let Ok(mut connection) = server::handshake(stream).await else {
            return;
        };
        while let Some(Ok((request, mut respond))) = connection.accept().await {
            let seen = Seen {
                server_name: server_name.clone(),
                scheme: request.uri().scheme_str().map(str::to_owned),
                path: request.uri().path().to_owned(),
            };
            let is_right = seen.scheme.as_deref() == Some(scheme);
            self.0
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .push(seen);
            if !is_right {
                respond.send_reset(Reason::PROTOCOL_ERROR);
                continue;
            }
            let response = Response::new(());
            // The proxy may leave midway.
            if let Ok(mut body) = respond.send_response(response, false) {
                let _ = body.send_data(Bytes::from_static(body_for(&request)), true);
            }
        }
    }
}

/// Returns a page of the feed or a record.
fn body_for<T>(request: &Request<T>) -> &'static [u8] {
    if request.uri().path() == "/v1/changes" {
        br#"{"cursor":"c1","changes":[],"reset":false}"#
    } else {
        GOOD.as_bytes()
    }
}
