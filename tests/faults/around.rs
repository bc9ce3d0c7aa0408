//! What Envoy does around the filter: bodies and trailers that arrive at any time, other
//! filters in the chain, local replies that are rewritten, and routes that retry, mirror,
//! redirect or disable the filter.

mod bodies;
mod neighbours;
mod routes;

use anyhow::Result;
use keystile_e2e::envoy::{Listener, each_http_settings, http2_cluster};
use keystile_e2e::keys::{GOOD, hash, made_up_key};
use keystile_e2e::recording_upstream::RecordingUpstream;
use keystile_e2e::scripted_auth::{Script, answer};
use keystile_e2e::stack::Setup;
use libtest_mimic::Trial;
use serde_json::{Value, json};
use tokio::runtime::Runtime;

use crate::range::{self, OnDemand, Range, plugin, uncached};

/// The id in [`GOOD`].
const ID: &str = "key_1";

fn setup(mirror: &RecordingUpstream) -> Result<Setup> {
    let runtime = Runtime::new()?;
    let serving = runtime.block_on(mirror.serve())?;
    let own = plugin(&json!({"cache": uncached(), "exempt": {"paths": ["/healthz"]}}));
    let forwarding = plugin(&json!({"cache": uncached(), "credential": {"forward": true}}));
    let names = [
        &["steady"][..],
        &neighbours::PASSING,
        &neighbours::LISTENERS,
        &routes::LISTENERS,
    ];
    let listeners = names.concat().into_iter().map(|name| {
        let forwards = name.ends_with("forwarding");
        let mut listener = Listener::new(name, if forwards { &forwarding } else { &own });
        listener.allow_on_headers_stop_iteration = name.ends_with("streamed");
        listener
    });
    let mut setup = range::setup(listeners.collect());
    setup
        .clusters
        .push(http2_cluster("mirror", serving.address));
    setup.servers.push(serving);
    setup.runtime = Some(runtime);
    setup.edit = Box::new(edit);
    Ok(setup)
}

fn edit(config: &mut Value) -> Result<()> {
    for (name, http) in each_http_settings(config) {
        neighbours::edit(&name, http);
        routes::edit(&name, http)?;
    }
    Ok(())
}

keystile_e2e::suite!(Together, trials);

fn trials() -> Vec<Trial> {
    let mirror = RecordingUpstream::default();
    let own = mirror.clone();
    let range = OnDemand::new(move || setup(&own));
    [
        bodies::trials(&range),
        neighbours::trials(&range),
        routes::trials(&range, &mirror),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// The outcome of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    Allowed,
    Refused,
    Failed,
}

impl Outcome {
    const ALL: [Self; 3] = [Self::Allowed, Self::Refused, Self::Failed];

    fn status(self) -> u16 {
        match self {
            Self::Allowed => 200,
            Self::Refused => 401,
            Self::Failed => 503,
        }
    }

    /// Returns the auth cluster's answer that leads to this outcome.
    fn answer(self) -> Vec<u8> {
        match self {
            Self::Allowed => answer("200 OK", GOOD),
            Self::Refused => answer("404 Not Found", ""),
            Self::Failed => answer("500 Internal Server Error", ""),
        }
    }

    /// Returns a key whose lookups lead to this outcome.
    fn key(self, range: &Range) -> Result<String> {
        let key = made_up_key();
        range
            .auth
            .script(&hash(&key)?, Script::Answer(self.answer()));
        Ok(key)
    }
}
