//! Where `serve` listens: checks the options, binds the sockets, and decides what each listener offers.

use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::{Context, bail};
use serde::Serialize;
use tokio::net::{TcpListener, TcpSocket};
use tracing::{info, warn};

use crate::cli::ServeArgs;
use crate::routes::{self, App, Offer};
use crate::server::{Limits, Listener, Port, Tls, TlsFiles, files};

/// How many connections may wait to be accepted. The system's own limit is often lower.
const BACKLOG: u32 = 4096;

/// How much response data the kernel buffers for a client that does not read, in bytes per
/// connection. Without this limit, the buffer grows to megabytes.
const SEND_BUFFER: u32 = 128 * 1024;

/// The addresses that were bound, as `serve` prints them.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Addresses {
    pub(crate) listening: SocketAddr,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) admin: Option<SocketAddr>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) metrics: Option<SocketAddr>,
}

/// Checks that the options fit together. `service_token` says whether there is a service token.
///
/// # Errors
/// When two listeners have the same address, or other machines could use lookups and the feed
/// without a token.
pub(crate) fn check(args: &ServeArgs, service_token: bool) -> anyhow::Result<()> {
    let options = [
        ("--listen", Some(args.listen)),
        ("--admin-listen", args.admin_listen),
        ("--metrics-listen", args.metrics_listen),
    ];
    for (at, (option, address)) in options.iter().enumerate() {
        let Some(address) = address.filter(|address| address.port() != 0) else {
            continue;
        };
        let mut before = options[..at].iter();
        if let Some((other, _)) = before.find(|(_, other)| *other == Some(address)) {
            bail!(
                "{other} and {option} are both {address}; give them different ports, or leave \
                 {option} out to serve both on one"
            );
        }
    }
    let listen = args.listen;
    if service_token || is_loopback(listen) {
        return Ok(());
    }
    if !args.insecure_no_token {
        bail!(
            "--listen {listen} can be reached from other machines, and there is no service token: \
             anyone who can reach it could read the hashes in the change feed and each key's account. \
             Set KEYSTILE_SERVICE_TOKEN here and in the proxies' lookup.headers, listen on 127.0.0.1, \
             or use --insecure-no-token if only the proxies can reach the port"
        );
    }
    warn!(
        address = %listen,
        "there is no service token: anyone who can reach this port can look up hashes and read the \
         change feed"
    );
    Ok(())
}

fn is_loopback(address: SocketAddr) -> bool {
    address.ip().to_canonical().is_loopback()
}

/// Warns if the admin API has its own listener but no token, or if it shares a port that other
/// machines can reach.
fn warn_of(args: &ServeArgs, admin_token: bool) {
    match args.admin_listen {
        Some(address) if !admin_token => warn!(
            %address,
            "the admin API is off because KEYSTILE_ADMIN_TOKEN is not set; --admin-listen answers 404"
        ),
        None if admin_token && !is_loopback(args.listen) => warn!(
            address = %args.listen,
            "the admin API is served on the lookup port, which other machines can reach; use \
             --admin-listen to give it a separate port"
        ),
        _ => {}
    }
}

/// Binds all sockets.
///
/// # Errors
/// When the limit of open files is too low for the connections, a TLS file cannot be used, or an
/// address cannot be bound. The error names the option.
pub(crate) fn bind(
    args: &ServeArgs,
    app: &App,
) -> anyhow::Result<(Vec<Listener>, Addresses, Option<Arc<Tls>>)> {
    warn_of(args, app.admin_token.is_some());
    let secondary = [args.admin_listen, args.metrics_listen];
    let secondary = secondary.iter().flatten().count();
    let limits = Limits::default();
    let files = files::raise_limit()?;
    let connections =
        files::connections(args.max_connections, limits.connections, files, secondary)?;
    info!(connections, files, "limits");
    let tls = tls_files(args).map(Tls::load).transpose()?.map(Arc::new);

    let listener = |port, option, address, offer, tls, limits| {
        anyhow::Ok(Listener {
            port,
            socket: socket(address).with_context(|| {
                format!("cannot listen on {address}, choose another address with {option}")
            })?,
            routes: routes::router(app.clone(), offer),
            tls,
            limits,
        })
    };
    let main = listener(
        Port::Main,
        "--listen",
        args.listen,
        Offer {
            admin: args.admin_listen.is_none(),
            metrics: args.metrics_listen.is_none(),
            ..Offer::ALL
        },
        tls.clone(),
        Limits {
            connections,
            // Always enough memory for `--concurrency` requests.
            held: limits.held.max(args.concurrency.saturating_mul(8 * 1024)),
            ..limits
        },
    )?;
    let mut addresses = Addresses {
        listening: main.socket.local_addr()?,
        admin: None,
        metrics: None,
    };
    let mut listeners = vec![main];
    if let Some(address) = args.admin_listen {
        let admin = listener(
            Port::Admin,
            "--admin-listen",
            address,
            Offer::ADMIN,
            tls.clone(),
            Limits::secondary(),
        )?;
        addresses.admin = Some(admin.socket.local_addr()?);
        listeners.push(admin);
    }
    if let Some(address) = args.metrics_listen {
        // No TLS: probes and Prometheus have no certificate, and nothing here is secret.
        let metrics = listener(
            Port::Metrics,
            "--metrics-listen",
            address,
            Offer::METRICS,
            None,
            Limits::secondary(),
        )?;
        addresses.metrics = Some(metrics.socket.local_addr()?);
        listeners.push(metrics);
    }
    Ok((listeners, addresses, tls))
}

fn tls_files(args: &ServeArgs) -> Option<TlsFiles> {
    // clap requires both or neither.
    let (Some(cert), Some(key)) = (&args.tls_cert, &args.tls_key) else {
        return None;
    };
    Some(TlsFiles {
        cert: cert.clone(),
        key: key.clone(),
        client_ca: args.tls_client_ca.clone(),
    })
}

fn socket(address: SocketAddr) -> std::io::Result<TcpListener> {
    let socket = match address {
        SocketAddr::V4(_) => TcpSocket::new_v4(),
        SocketAddr::V6(_) => TcpSocket::new_v6(),
    }?;
    // Lets a restarted server bind the port while old connections are still closing.
    socket.set_reuseaddr(true)?;
    // Accepted connections inherit this.
    socket.set_send_buffer_size(SEND_BUFFER)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}
