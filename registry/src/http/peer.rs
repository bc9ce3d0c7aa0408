//! The address at the other end of a connection.

use std::convert::Infallible;
use std::net::SocketAddr;

use axum::extract::{ConnectInfo, FromRequestParts};
use axum::http::Extensions;
use axum::http::request::Parts;
use tracing::field::{DisplayValue, display};

/// The address at the other end of a request's connection, if the server knows it. It may be a proxy's.
/// Headers that name another address are not read, because the client can set them to anything.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Peer(Option<SocketAddr>);

impl Peer {
    /// Returns the peer of the request with these extensions.
    pub(crate) fn of(extensions: &Extensions) -> Self {
        let info = extensions.get::<ConnectInfo<SocketAddr>>();
        Self(info.map(|ConnectInfo(address)| *address))
    }

    /// Returns it as a log field, or no field if it is not known.
    pub(crate) fn shown(self) -> Option<DisplayValue<SocketAddr>> {
        self.0.map(|address| {
            // A dual-stack listener sees IPv4 addresses as `::ffff:127.0.0.1`.
            display(SocketAddr::new(address.ip().to_canonical(), address.port()))
        })
    }
}

impl<S: Sync> FromRequestParts<S> for Peer {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        Ok(Self::of(&parts.extensions))
    }
}
