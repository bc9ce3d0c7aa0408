//! A server that answers before it is asked, as one does that is overloaded or is not an auth cluster.

use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context, Result};
use keystile_e2e::envoy::{Launch, cluster};
use keystile_e2e::keys::GOOD;
use keystile_e2e::scripted_auth::{answer, keep_alive_answer};
use keystile_e2e::serving::Serving;
use keystile_e2e::stack::Setup;
use libtest_mimic::Trial;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::runtime::Runtime;

use super::expect::Expect;
use super::rows::{PATIENT, STEADY, listeners};
use crate::range::{self, OnDemand, Range, Steady, known_key};

keystile_e2e::suite!(Together, trials);

fn trials() -> Vec<Trial> {
    let place = OnDemand::of(Place::start);
    vec![
        place.trial("auth: an answer before the question", |place, name| {
            place.range.case(name, Steady::on(STEADY)?, |counters| {
                for (what, words) in words() {
                    *place.words.lock().unwrap_or_else(PoisonError::into_inner) = words;
                    for _ in 0..10 {
                        let line = format!("x-api-key: {}", known_key()?);
                        for listener in [PATIENT.uncached, PATIENT.cached] {
                            let response = place.range.get(counters, listener, "any key", &[&line]);
                            let response = response.context(what)?;
                            Expect::Internal.check(&response).context(what)?;
                        }
                    }
                }
                Ok(())
            })
        }),
    ]
}

/// Returns premature answers, none of which is a verdict. A verdict would count even then, as it would
/// come from the auth cluster.
fn words() -> Vec<(&'static str, Vec<u8>)> {
    let html = "<html><body>Welcome</body></html>";
    vec![
        ("408", answer("408 Request Timeout", GOOD)),
        ("503", answer("503 Busy", GOOD)),
        (
            "503, without a word of closing",
            keep_alive_answer("503 Busy", &[], GOOD.as_bytes()),
        ),
        ("400", answer("400 Bad Request", GOOD)),
        ("a page", answer("200 OK", html)),
        (
            "a page, without a word of closing",
            keep_alive_answer("200 OK", &[], html.as_bytes()),
        ),
        ("another protocol", b"220 ready\r\n".to_vec()),
        (
            "half an answer",
            answer("404 Not Found", GOOD)[..30].to_vec(),
        ),
    ]
}

struct Place {
    range: Range,
    words: Arc<Mutex<Vec<u8>>>,
    _serving: Serving,
    _runtime: Runtime,
}

impl Place {
    fn start() -> Result<Self> {
        let runtime = Runtime::new()?;
        let words = Arc::<Mutex<Vec<u8>>>::default();
        let said = Arc::clone(&words);
        let serving = runtime.block_on(Serving::new(move |mut stream| {
            let said = said.lock().unwrap_or_else(PoisonError::into_inner).clone();
            async move {
                // If the connection were closed before the lookup has arrived, it would be a reset.
                if stream.write_all(&said).await.is_ok() {
                    stream.read_u8().await.ok();
                }
            }
        }))?;
        let range = Range::start(Setup {
            launch: Launch::workers(1),
            clusters: vec![cluster("eager", Some(serving.address))],
            ..range::setup(listeners("eager"))
        })?;
        Ok(Self {
            range,
            words,
            _serving: serving,
            _runtime: runtime,
        })
    }
}
