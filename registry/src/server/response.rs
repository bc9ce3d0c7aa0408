//! Response bodies that know when their client has taken them: the last piece of a body holds its
//! [`Exchange`] until the socket has the piece.

use std::io::IoSlice;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use axum::body::{Body, Bytes, HttpBody};
use axum::response::Response;
use bytes::Buf;
use http_body::{Frame, SizeHint};

use super::exchange::Exchange;

/// An extension of responses that share one body, which is in memory anyway and is not counted.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SharedBody;

/// The body of a response.
#[derive(Debug)]
pub(super) struct Tracked {
    body: Body,
    exchange: Option<Exchange>,
}

impl Tracked {
    /// Returns the response with its body tracked.
    pub(super) fn of(response: Response, mut exchange: Option<Exchange>) -> hyper::Response<Self> {
        if let Some(exchange) = &mut exchange {
            let shared = response.extensions().get::<SharedBody>().is_some();
            let size = response.body().size_hint().lower();
            exchange.answered(if shared { 0 } else { size });
        }
        response.map(|body| Self { body, exchange })
    }
}

impl HttpBody for Tracked {
    type Data = Piece;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Piece>, axum::Error>>> {
        let Some(frame) = ready!(Pin::new(&mut self.body).poll_frame(cx)) else {
            return Poll::Ready(None);
        };
        let exchange = match self.body.is_end_stream() {
            true => self.exchange.take(),
            false => None,
        };
        Poll::Ready(Some(frame.map(|frame| {
            frame.map_data(|bytes| Piece {
                bytes,
                _exchange: exchange,
            })
        })))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// A piece of a body.
#[derive(Debug)]
pub(super) struct Piece {
    bytes: Bytes,
    /// The exchange of the whole body, if this is its last piece.
    _exchange: Option<Exchange>,
}

impl Buf for Piece {
    fn remaining(&self) -> usize {
        self.bytes.remaining()
    }

    fn chunk(&self) -> &[u8] {
        self.bytes.chunk()
    }

    fn chunks_vectored<'a>(&'a self, slices: &mut [IoSlice<'a>]) -> usize {
        self.bytes.chunks_vectored(slices)
    }

    fn advance(&mut self, count: usize) {
        self.bytes.advance(count);
    }
}
