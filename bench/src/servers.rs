//! The servers around Envoy. Each is a process with one thread, which runs this program with
//! another command.

mod auth;
mod check;
pub(crate) mod upstream;

use std::future::Future;
use std::net::{Ipv4Addr, SocketAddr};
use std::process::Command;

use anyhow::{Context, Result};
use clap::ValueEnum;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use keystile_e2e::client;
use keystile_e2e::process::Process;
use tempfile::TempDir;
use tokio::net::TcpListener;
use tonic::body::Body;

use crate::options::Server;

const READY: &str = "listening on ";

/// The running servers. They end when this is dropped.
pub(crate) struct Servers {
    pub(crate) upstream: SocketAddr,
    pub(crate) auth: SocketAddr,
    _processes: [Process; 2],
    _folder: TempDir,
}

impl Servers {
    /// Starts all servers, and waits until they listen.
    pub(crate) fn start() -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let start = |server: Server| {
            let name = server.to_possible_value().context("no name")?;
            let mut command = Command::new(std::env::current_exe()?);
            command.args(["serve", name.get_name()]);
            let log = folder.path().join(name.get_name());
            let mut process = Process::start("a server", &mut command, &log, false)?;
            let address = process.wait_for_line(|line| line.strip_prefix(READY)?.parse().ok())?;
            anyhow::Ok((process, address))
        };
        let (upstream_process, upstream) = start(Server::Upstream)?;
        let (auth_process, auth) = start(Server::Auth)?;
        Ok(Self {
            upstream,
            auth,
            _processes: [upstream_process, auth_process],
            _folder: folder,
        })
    }

    /// Returns how many requests the auth server has had so far.
    pub(crate) fn request_count(&self) -> Result<u64> {
        let answer = client::get(self.auth, auth::COUNT, [])?.text();
        answer
            .parse()
            .with_context(|| format!("the auth server's count is {answer:?}"))
    }
}

/// Runs a server until a signal ends the process.
pub(crate) fn serve(server: Server) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let listener = TcpListener::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).await?;
        println!("{READY}{}", listener.local_addr()?);
        match server {
            Server::Upstream => accept(listener, upstream::answer).await,
            Server::Auth => accept(listener, auth::answer).await,
        }
    })
}

/// Serves HTTP/1.1 and HTTP/2.
async fn accept<F>(listener: TcpListener, answer: fn(Request<Incoming>) -> F) -> Result<()>
where
    F: Future<Output = Response<Body>> + Send + 'static,
{
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        tokio::spawn(async move {
            let service = service_fn(|request| async move { anyhow::Ok(answer(request).await) });
            let server = auto::Builder::new(TokioExecutor::new());
            // A client that disconnects early is not an error.
            let _ = server.serve_connection(TokioIo::new(stream), service).await;
        });
    }
}
