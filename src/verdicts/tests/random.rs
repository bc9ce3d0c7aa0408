//! Random requests, changes, answers and outages, held against what must always be so.

use super::*;

/// What a request got.
struct Got {
    asked: u64,
    key: usize,
    version: Option<(usize, bool)>,
    source: Option<Source>,
    now: u64,
}

/// xorshift64*, as good as any here.
struct Random(u64);

impl Random {
    fn below(&mut self, end: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33) % end
    }

    fn one_in(&mut self, number: u64) -> bool {
        self.below(number) == 0
    }
}

const KEYS: [&str; 3] = ["k0", "k1", "k2"];

/// The auth cluster: each change makes another version of a key's record, every other one revoked.
#[derive(Default)]
struct Truth {
    /// When each version came to be.
    born: [Vec<u64>; 3],
    log: Vec<usize>,
}

impl Truth {
    fn record(&self, key: usize) -> Answer {
        let version = self.born[key].len();
        let name = format!("v{version}");
        let fields = Fields {
            key_id: &name,
            environment: Some("production"),
            ..Fields::default()
        };
        let record = Rc::new(Record::new(fields).unwrap());
        Answer {
            verdict: match version % 2 {
                0 => Verdict::Active(record),
                _ => Verdict::Revoked(record),
            },
            max_age: None,
        }
    }
}

fn version(verdict: &Verdict) -> Option<(usize, bool)> {
    let (record, active) = match verdict {
        Verdict::Active(record) => (record, true),
        Verdict::Revoked(record) => (record, false),
        _ => return None,
    };
    Some((
        record.key_id().trim_start_matches('v').parse().unwrap(),
        active,
    ))
}

struct Flying {
    key: usize,
    id: FlightId,
    leader: Option<char>,
    reads_at: u64,
    lands_at: u64,
    answer: Option<Answer>,
}

struct Polling {
    after: Option<usize>,
    reads_at: u64,
    lands_at: u64,
    page: Option<Result<Page, String>>,
    /// What the page tells of.
    until: usize,
}

#[allow(clippy::too_many_lines, reason = "one loop over time")]
fn run(seed: u64) {
    let mut random = Random(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1);
    let config = r#"{"jitter":0,"allow_ttl":"1h","revoked_ttl":"1h","refresh_ahead":0.0001},
        "feed":{"interval":"100ms","stale_after":"400ms","allow_ttl_when_stale":"250ms"}"#;
    let mut scene = Scene::new(config);
    let mut truth = Truth::default();
    let hashes = KEYS.map(hash);
    let mut flying: Vec<Flying> = Vec::new();
    let mut polling: Option<Polling> = None;
    // Which changes the worker was told of, and how many each key had then.
    let mut told = [0_usize; 3];
    let mut waiting: HashMap<char, (u64, usize, FlightId)> = HashMap::new();
    let mut names = (0x1_0000..).filter_map(char::from_u32);
    let mut got: Vec<Got> = Vec::new();
    let broken = random.one_in(3);
    for ms in 0..6_000_u64 {
        let now = at(ms);
        let told_before = told;
        if random.one_in(60) {
            let key = usize::try_from(random.below(3)).unwrap();
            truth.born[key].push(ms);
            truth.log.push(key);
        }
        let mut settled: Vec<(char, Verdict, Option<Source>)> = Vec::new();
        // Answers.
        for flight in &mut flying {
            if flight.reads_at == ms {
                flight.answer = Some(match random.one_in(10) {
                    true => Answer::none(Cause::NoAnswer),
                    false => truth.record(flight.key),
                });
            }
        }
        let landing: Vec<_> = flying
            .extract_if(.., |flight| flight.lands_at == ms)
            .collect();
        for flight in landing {
            // The answer to a leader that left is nobody's.
            if flight.leader.is_some_and(|who| !waiting.contains_key(&who)) {
                continue;
            }
            let answer = flight.answer.unwrap();
            if let Some(landed) = scene
                .verdicts
                .land(&hashes[flight.key], flight.id, answer, now)
            {
                for waiter in &landed.waiters {
                    settled.push((
                        waiter.request,
                        landed.verdict.clone(),
                        landed.source(waiter),
                    ));
                }
            }
        }
        if let Some(poll) = &mut polling
            && poll.reads_at == ms
        {
            poll.until = truth.log.len();
            poll.page = Some(match random.below(12) {
                0 => Err("no".to_owned()),
                _ if broken && (ms / 1_000) % 2 == 1 => Err("no".to_owned()),
                1 => Ok(Page::News {
                    cursor: poll.until.to_string(),
                    changed: Changed::Any,
                }),
                _ => match poll.after {
                    Some(after) if after == poll.until => Ok(Page::Current),
                    after => Ok(Page::News {
                        cursor: poll.until.to_string(),
                        changed: Changed::Keys(
                            truth.log[after.unwrap_or(poll.until)..]
                                .iter()
                                .map(|key| hashes[*key])
                                .collect(),
                        ),
                    }),
                },
            });
        }
        if let Some(poll) = polling.take_if(|poll| poll.lands_at == ms) {
            let page = poll.page.unwrap();
            if page.is_ok() {
                for (key, told) in told.iter_mut().enumerate() {
                    *told = truth.log[..poll.until]
                        .iter()
                        .filter(|k| **k == key)
                        .count();
                }
            }
            scene.verdicts.polled(page, now, random.below(1_000));
        }
        // The root context.
        while let Some((hash, id, _)) = scene.verdicts.next_of_root(now) {
            let key = hashes.iter().position(|other| *other == hash).unwrap();
            let takes = 1 + random.below(249);
            let reads_at = ms + 1 + random.below(takes);
            flying.push(Flying {
                key,
                id,
                leader: None,
                reads_at,
                lands_at: ms + 1 + takes,
                answer: None,
            });
        }
        if let Some(callout) = scene.verdicts.poll(now) {
            assert!(polling.is_none());
            let after = callout.path.rsplit('=').next().unwrap().parse().ok();
            let takes = 1 + random.below(150);
            let reads_at = ms + 1 + random.below(takes);
            polling = Some(Polling {
                after,
                reads_at,
                lands_at: ms + 1 + takes,
                page: None,
                until: 0,
            });
        }
        for (waiter, verdict, source) in scene.verdicts.overdue(now) {
            settled.push((waiter.request, verdict, source));
        }
        for (who, verdict, source) in settled {
            let (asked, key, _) = waiting.remove(&who).expect("settled twice, or gone");
            got.push(Got {
                asked,
                key,
                version: version(&verdict),
                source,
                now: ms,
            });
            // An answer of this very millisecond was there before the page.
            check(got.last().unwrap(), &told_before, &truth, seed);
        }
        // Requests, and clients that leave.
        if random.one_in(4) {
            let key = usize::try_from(random.below(3)).unwrap();
            let who = names.next().unwrap();
            match scene.verdicts.ask(&hashes[key], now) {
                Asked::Known(verdict, source) => {
                    got.push(Got {
                        asked: ms,
                        key,
                        version: version(&verdict),
                        source: Some(source),
                        now: ms,
                    });
                    check(got.last().unwrap(), &told, &truth, seed);
                }
                Asked::Lookup { tests_outage } => {
                    let hash = hashes[key];
                    let id = scene.verdicts.lead(hash, who, callout(), tests_outage, now);
                    waiting.insert(who, (ms, key, id));
                    let takes = 1 + random.below(249);
                    let reads_at = ms + 1 + random.below(takes);
                    flying.push(Flying {
                        key,
                        id,
                        leader: Some(who),
                        reads_at,
                        lands_at: ms + 1 + takes,
                        answer: None,
                    });
                }
                Asked::Join => {
                    let id = scene.verdicts.join(&hashes[key], who, now).unwrap();
                    waiting.insert(who, (ms, key, id));
                }
            }
        }
        if random.one_in(15)
            && let Some((who, (_, key, id))) = waiting
                .iter()
                .map(|(who, at)| (*who, *at))
                .min_by_key(|(who, _)| *who)
        {
            waiting.remove(&who);
            scene.verdicts.leave(&hashes[key], id, &who);
        }
        for (asked, ..) in waiting.values() {
            assert!(
                ms - asked <= 502,
                "seed {seed}: waits at {ms} since {asked}"
            );
        }
    }
    assert!(
        got.iter().filter(|got| got.version.is_some()).count() > 200,
        "seed {seed}: {}",
        got.len()
    );
}

fn check(got: &Got, told: &[usize; 3], truth: &Truth, seed: u64) {
    let Some((version, active)) = got.version else {
        return;
    };
    let Got {
        asked,
        key,
        now,
        source,
        ..
    } = got;
    assert!(
        version >= told[*key],
        "seed {seed}: at {now} (asked {asked}) k{key} v{version} by {source:?}, told of v{}",
        told[*key]
    );
    if active
        && *source == Some(Source::Cache)
        && let Some(end) = truth.born[*key].get(version)
    {
        assert!(
            now - end <= 400,
            "seed {seed}: at {now} k{key} v{version} of {end}"
        );
    }
}

#[test]
fn whatever_happens() {
    for seed in 1..60 {
        run(seed);
    }
}
