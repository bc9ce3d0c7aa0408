//! Runs the rounds, each with a burst for every variant in turn.

use std::net::SocketAddr;

use anyhow::{Context, Result, ensure};
use keystile_e2e::client;
use keystile_e2e::envoy::Envoy;

use crate::cpu::{Cores, Cpu};
use crate::load::{Burst, Wrk};
use crate::options::Options;
use crate::servers::{Servers, upstream};
use crate::variants::{Keys, Subject, Variant, key};
use crate::{Interrupted, envoy, footprint};

/// The measurements of one burst. Times are in microseconds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sample {
    /// CPU time of Envoy's worker per request.
    pub(crate) cpu: f64,
    /// CPU time of Envoy's other threads per request.
    pub(crate) rest: f64,
    /// The fraction of the time that the worker was running, from 0 to 1.
    pub(crate) busy: f64,
    pub(crate) requests_per_second: f64,
    pub(crate) p50: f64,
    pub(crate) p99: f64,
}

/// The samples of a round.
#[derive(Clone, Debug)]
pub(crate) struct Round {
    /// In the order of [`Variant::ALL`].
    pub(crate) of_all: [Sample; Variant::ALL.len()],
    /// Those of the `--against` module, in the order of [`Variant::KEYSTILE`]; empty without one.
    pub(crate) against: Vec<Sample>,
}

/// Runs all rounds, and returns those after the warm-up.
pub(crate) fn run(
    options: &Options,
    cores: &Cores,
    servers: &Servers,
    interrupted: &Interrupted,
) -> Result<Vec<Round>> {
    let folder = tempfile::tempdir()?;
    let mut subjects = Variant::ALL.map(Subject::of).to_vec();
    let against = options.against.as_deref();
    if against.is_some() {
        subjects.extend(Variant::KEYSTILE.map(|variant| Subject { variant, against }));
    }
    let envoy = envoy::start(&subjects, 1, cores, servers, folder.path())?;
    let rig = Rig {
        options,
        servers,
        wrk: Wrk::new()?,
        envoy,
        subjects,
    };
    for subject in &rig.subjects {
        rig.check(*subject)
            .with_context(|| format!("before measuring {}", subject.name()))?;
        if matches!(subject.variant, Variant::CachedRotation) {
            footprint::fill(rig.to(*subject)?, options.keys)?;
        }
    }
    for round in 0..options.warm_up {
        rig.round(round, interrupted)?;
    }
    let mut rounds = Vec::new();
    for round in 0..options.rounds {
        eprintln!("bench: round {} of {}", round + 1, options.rounds);
        rounds.push(rig.round(round, interrupted)?);
    }
    Ok(rounds)
}

struct Rig<'a> {
    options: &'a Options,
    servers: &'a Servers,
    wrk: Wrk,
    envoy: Envoy,
    subjects: Vec<Subject<'a>>,
}

impl Rig<'_> {
    fn to(&self, subject: Subject<'_>) -> Result<SocketAddr> {
        self.envoy.listener(&subject.name())
    }

    /// Sends single requests, each of which must get the variant's status. A variant that decides
    /// by the credential must refuse a request without one, and must replace it by an identity for
    /// the upstream.
    fn check(&self, subject: Subject<'_>) -> Result<()> {
        let to = self.to(subject)?;
        let variant = subject.variant;
        let credential = match variant.keys() {
            Keys::Malformed => format!("{}000000", Keys::Malformed.prefix()),
            _ => key(0),
        };
        let credential = format!("authorization: Bearer {credential}");
        let path = format!("/v1/numerology{}", upstream::HEADERS);
        let response = client::get(to, &path, [credential.as_str()])?;
        ensure!(response.status == variant.status(), "{response:?}");
        if !variant.decides() {
            return Ok(());
        }
        if response.status == 200 {
            let names = response.text();
            let has = |name| names.lines().any(|other| other == name);
            let replaced = has("x-keystile-account-id") && !has("authorization");
            ensure!(replaced, "the upstream got {names}");
        }
        let response = client::get(to, &path, [])?;
        let refused = matches!(response.status, 401 | 403);
        ensure!(refused, "not refused without a credential: {response:?}");
        Ok(())
    }

    /// Runs a burst for each subject, in reverse order in every other round, so that no variant
    /// always follows the same one.
    fn round(&self, number: u32, interrupted: &Interrupted) -> Result<Round> {
        let mut order: Vec<_> = self.subjects.iter().copied().enumerate().collect();
        if number % 2 == 1 {
            order.reverse();
        }
        let mut samples = Vec::new();
        for (place, subject) in order {
            interrupted.check()?;
            let sample = self
                .sample(subject, number)
                .with_context(|| format!("{} in round {}", subject.name(), number + 1))?;
            samples.push((place, sample));
        }
        samples.sort_by_key(|(place, _)| *place);
        let samples: Vec<_> = samples.into_iter().map(|(_, sample)| sample).collect();
        let (of_all, against) = samples
            .split_first_chunk()
            .context("a variant without a sample")?;
        Ok(Round {
            of_all: *of_all,
            against: against.to_vec(),
        })
    }

    fn sample(&self, subject: Subject<'_>, round: u32) -> Result<Sample> {
        let to = self.to(subject)?;
        let variant = subject.variant;
        let first_key = round.wrapping_mul(7919) % self.options.keys;
        let callouts_before = self.servers.request_count()?;
        let failed = self.failed(subject)?;
        let before = Cpu::of(self.envoy.id())?;
        let burst = self.wrk.burst(to, variant, first_key, self.options)?;
        let after = Cpu::of(self.envoy.id())?;
        let failed = self.failed(subject)? - failed;
        ensure!(
            failed == 0,
            "{failed} responses had a status of 500 or more"
        );
        let callouts = self.servers.request_count()? - callouts_before;
        self.check_callout_count(variant, &burst, callouts)?;
        let per_request =
            |from: u64, to: u64| to.saturating_sub(from) as f64 / 1000.0 / burst.requests as f64;
        let cpu = per_request(before.worker, after.worker);
        Ok(Sample {
            cpu,
            rest: per_request(before.rest, after.rest),
            busy: cpu * burst.requests as f64 / burst.micros as f64,
            requests_per_second: burst.requests as f64 * 1e6 / burst.micros as f64,
            p50: burst.p50 as f64,
            p99: burst.p99 as f64,
        })
    }

    /// Returns how many responses had a status of 500 or more so far.
    fn failed(&self, subject: Subject<'_>) -> Result<u64> {
        let name = format!("http.{}.downstream_rq_5xx", subject.name());
        self.envoy.counter(&name)
    }

    /// Checks that a variant with callouts made one for each request, and every other made none.
    /// Requests that the end of a burst cuts off are in no burst's count, and may reach the auth
    /// server as late as during the next one.
    fn check_callout_count(&self, variant: Variant, burst: &Burst, callouts: u64) -> Result<()> {
        let cut_off = u64::from(self.options.connections);
        let least = if variant.makes_callout() {
            burst.requests
        } else {
            0
        };
        let expected = least..=least + 2 * cut_off;
        ensure!(
            expected.contains(&callouts),
            "{callouts} callouts for {} requests; expected {} to {}",
            burst.requests,
            expected.start(),
            expected.end()
        );
        Ok(())
    }
}
