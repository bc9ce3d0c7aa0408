//! A real browser, headless Chromium, on a page that sends requests to another origin.

use std::process::Command;

use anyhow::{Context, Result};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;

use crate::client::Response;
use crate::process::{Process, wait_until};
use crate::serving::Serving;

/// Sends the requests that its address lists after the `#`, one after the other, and shows what the
/// browser lets it read. The characters that HTML would escape are escaped as in JSON.
const PAGE: &str = r#"<!doctype html>
<title>Requests to another origin</title>
<output></output>
<script type="module">
  const seen = [];
  for (const [url, init] of JSON.parse(decodeURIComponent(location.hash.slice(1)))) {
    try {
      const response = await fetch(url, init);
      seen.push([response.status, [...response.headers], await response.text()]);
    } catch {
      seen.push(null);
    }
  }
  const escaped = (character) => `\\u00${character.charCodeAt().toString(16)}`;
  document.querySelector("output").textContent = JSON.stringify(seen).replace(/[<>&]/g, escaped);
</script>
"#;

/// A request of a page: its address, and the second argument of JavaScript's `fetch`.
pub type Fetch = (String, Value);

/// A response as the page shows it: status, headers and body.
type Seen = (u16, Vec<(String, String)>, String);

/// The server of a page, with an origin of its own.
pub struct Page(Serving);

impl Page {
    /// Serves the page on a free port.
    ///
    /// # Errors
    /// When there is no port to listen on.
    pub async fn serve() -> Result<Self> {
        let serving = Serving::new(|stream| async {
            // The browser may leave early.
            let _ = answer(stream).await;
        });
        serving.await.map(Self)
    }

    /// Returns the page's origin, as browsers send it.
    pub fn origin(&self) -> String {
        format!("http://{}", self.0.address)
    }

    /// Opens the page in a new browser and lets it send requests. Returns a response for each, with what
    /// the page can read of it, or `None` where the browser reports a network error.
    ///
    /// # Errors
    /// When there is no browser, or it does not finish in time. The error includes its output.
    pub fn fetch(&self, requests: &[Fetch]) -> Result<Vec<Option<Response>>> {
        let folder = tempfile::tempdir()?;
        let requests = encoded(&json!(requests).to_string());
        let mut command = Command::new("chromium");
        command
            // Without a sandbox, because its own does not work for root and in most containers.
            .args(["--headless", "--no-sandbox", "--disable-gpu"])
            .args(["--disable-background-networking", "--disable-breakpad"])
            .arg(format!("--user-data-dir={}", folder.path().display()))
            // The page's time, which stands still while requests are under way.
            .args(["--virtual-time-budget=10000", "--dump-dom"])
            .arg(format!("{}/#{requests}", self.origin()));
        let log = folder.path().join("chromium.log");
        let mut browser = Process::start("Chromium", &mut command, &log, false)?;
        let seen = browser.wait_for_line(|line| {
            let (_, rest) = line.split_once("<output>")?;
            Some(rest.split_once("</output>")?.0.to_owned())
        })?;
        // It ends by itself. Until then, it writes to its folder.
        wait_until(|| Ok(browser.ended()?.is_some()))?;
        let seen: Vec<Option<Seen>> = serde_json::from_str(&seen)
            .with_context(|| format!("{seen:?}: {}", browser.written()))?;
        let responses = seen.into_iter().map(|seen| {
            seen.map(|(status, headers, body)| Response {
                status,
                headers,
                body: body.into_bytes(),
            })
        });
        Ok(responses.collect())
    }
}

/// Answers one request, whatever it asks for, with the page.
async fn answer(stream: TcpStream) -> Result<()> {
    let mut stream = BufReader::new(stream);
    let mut line = String::new();
    while stream.read_line(&mut line).await? > 2 {
        line.clear();
    }
    let head = format!(
        "HTTP/1.1 200 OK\r\ncontent-type: text/html\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
        PAGE.len()
    );
    stream.write_all(head.as_bytes()).await?;
    stream.write_all(PAGE.as_bytes()).await?;
    Ok(())
}

/// Returns text as part of a URL.
fn encoded(text: &str) -> String {
    text.bytes().map(|byte| format!("%{byte:02x}")).collect()
}
