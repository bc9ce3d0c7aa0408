//! Auth clusters that break the rules of HTTP/2, or follow them in hostile ways.

use std::sync::Arc;

use anyhow::Result;
use keystile_e2e::envoy::{Launch, http2_cluster};
use keystile_e2e::frames::{Frames, Held};
use keystile_e2e::rule_auth::RuleAuth;
use keystile_e2e::serving::Serving;
use keystile_e2e::stack::Setup;
use libtest_mimic::Trial;
use tokio::runtime::Runtime;
use tokio::sync::Semaphore;

use super::fault::{Fault, Row, suffer};
use super::http2_rows::{Manners, tables};
use super::rows::{STEADY, listeners, listeners_and_rounds};
use crate::range::{self, OnDemand, Range, Steady, is_known};

keystile_e2e::suite!(Together, trials);

fn trials() -> Vec<Trial> {
    let place = OnDemand::of(Place::start);
    tables()
        .into_iter()
        .map(|table| {
            let name = format!("auth: HTTP/2, {}", table.name);
            let takes_long = table.times_out;
            let trial = place.trial(&name, move |place, name| {
                let (listeners, rounds) = listeners_and_rounds(table.times_out);
                place.range.case(name, Steady::on(STEADY)?, |counters| {
                    for manners in &table.rows {
                        let row = Row {
                            name: manners.name.clone(),
                            fault: &Unruly::new(place, manners),
                            expect: manners.expect.clone(),
                        };
                        suffer(&place.range, counters, listeners, rounds, &[row])?;
                    }
                    Ok(())
                })
            });
            trial.with_ignored_flag(takes_long)
        })
        .collect()
}

/// A range with an additional auth cluster that speaks HTTP/2 and can misbehave.
struct Place {
    range: Range,
    frames: Frames,
    serving: Serving,
    runtime: Runtime,
}

impl Place {
    fn start() -> Result<Self> {
        let runtime = Runtime::new()?;
        let frames = Frames::new(RuleAuth::new(is_known));
        let serving = runtime.block_on(frames.serve())?;
        let range = Range::start(Setup {
            launch: Launch::workers(1),
            clusters: vec![http2_cluster("frames", serving.address)],
            ..range::setup(listeners("frames"))
        })?;
        Ok(Self {
            range,
            frames,
            serving,
            runtime,
        })
    }

    /// Changes the conduct of the auth cluster and closes its connections. With `None`,
    /// its conduct is good.
    fn behave(&self, conduct: Option<Held>) -> Result<()> {
        self.frames.behave(conduct);
        self.runtime.block_on(self.serving.stop())?;
        let connections = "cluster.frames.upstream_cx_active";
        self.range.envoy.wait_for_counter(connections, 0)?;
        self.runtime.block_on(self.serving.start())
    }
}

/// A fault in which all lookups are treated alike.
struct Unruly<'a> {
    place: &'a Place,
    manners: &'a Manners,
    permits: Arc<Semaphore>,
}

impl<'a> Unruly<'a> {
    fn new(place: &'a Place, manners: &'a Manners) -> Self {
        Self {
            place,
            manners,
            permits: Arc::new(Semaphore::new(0)),
        }
    }
}

impl Fault for Unruly<'_> {
    fn begin(&self, _: &[String]) -> Result<()> {
        let conduct = self.manners.conduct.clone();
        self.place
            .behave(Some((conduct, Arc::clone(&self.permits))))
    }

    fn holds(&self) -> bool {
        self.manners.holds
    }

    fn release(&self) {
        self.permits.add_permits(1000);
    }

    fn end(&self, _: &[String]) -> Result<()> {
        self.place.behave(None)
    }
}
