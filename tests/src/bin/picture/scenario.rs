//! The scenario of the picture.

use std::time::Duration;

use anyhow::{Result, ensure};
use keystile_e2e::load::{self, Request};
use keystile_e2e::prometheus::{Span, now};
use keystile_e2e::watched::{Setup, Watched};
use tokio::time::MissedTickBehavior;

/// Short times, so that everything happens within minutes.
pub(crate) const SETUP: Setup = Setup {
    cache: r#"{"allow_ttl": "5s", "not_found_ttl": "5s", "stale_if_error": "40s"}"#,
    feed: r#"{"path": "/v1/changes?after={cursor}", "interval": "1s", "stale_after": "3s"}"#,
    interval: Duration::from_secs(1),
    plain: false,
};

/// A phase of the scenario.
pub(crate) struct Phase {
    pub(crate) name: &'static str,
    pub(crate) seconds: u32,
    /// Requests with made-up keys per tick.
    flood: usize,
    outage: bool,
}

const fn phase(name: &'static str, seconds: u32) -> Phase {
    Phase {
        name,
        seconds,
        flood: 0,
        outage: false,
    }
}

/// All phases, in order.
pub(crate) const PHASES: [Phase; 5] = [
    phase("calm", 50),
    Phase {
        flood: 15,
        ..phase("flood of made-up keys", 60)
    },
    phase("calm", 40),
    Phase {
        outage: true,
        ..phase("registry down", 70)
    },
    phase("recovery", 80),
];

const TICK: Duration = Duration::from_millis(100);
const TICKS_A_SECOND: u32 = 10;

/// Plays all phases and returns the range of time that they took.
pub(crate) async fn play(stack: &mut Watched) -> Result<Span> {
    let create = |options: &[&str]| {
        let options = [&["--account", "acct_1"], options].concat();
        anyhow::Ok(stack.registry.create(&options)?)
    };
    let mut keys = Vec::new();
    for _ in 0..40 {
        keys.push(create(&[])?.key);
    }
    let revoked = create(&[])?;
    let limited = create(&["--endpoint", "/v1/astro"])?;
    stack.registry.run(&["revoke", &revoked.key_id])?;

    let start = now()?;
    let mut clock = tokio::time::interval(TICK);
    clock.set_missed_tick_behavior(MissedTickBehavior::Burst);
    let mut tick = 0_usize;
    let mut down = false;
    let mut made_up = (0_u64..).map(|number| format!("aw_{number:0>43}"));
    for phase in &PHASES {
        eprintln!("{}: {} s", phase.name, phase.seconds);
        match (down, phase.outage) {
            (false, true) => stack.begin_outage()?,
            (true, false) => stack.end_outage()?,
            _ => {}
        }
        down = phase.outage;
        for _ in 0..phase.seconds * TICKS_A_SECOND {
            clock.tick().await;
            tick += 1;
            let known = keys.iter().cycle().skip(tick * 7).take(10).cloned();
            let mut requests: Vec<_> = known.map(|key| Request::new("/v1/sun", key)).collect();
            requests.extend(
                made_up
                    .by_ref()
                    .take(phase.flood)
                    .map(|key| Request::new("/v1/sun", key)),
            );
            // Occasional everyday requests, such as one without a key.
            let seldom = match tick % 8 {
                0 => Request::new("/v1/sun", String::new()),
                2 => Request::new("/v1/sun", revoked.key.clone()),
                4 => Request::new("/v1/sun", limited.key.clone()),
                6 => Request::new("/healthz", String::new()),
                _ => Request::new("/v1/sun", made_up.next().unwrap_or_default()),
            };
            requests.push(seldom);
            let outcomes = load::run(stack.listener, 4, 2, requests.into_iter()).await?;
            ensure!(outcomes.failed == 0, "{}: {outcomes:?}", phase.name);
        }
    }
    let seconds: u32 = PHASES.iter().map(|phase| phase.seconds).sum();
    Ok(Span {
        start,
        end: start + f64::from(seconds),
        step: 2.0,
    })
}
