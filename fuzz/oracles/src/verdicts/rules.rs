//! The configurations that scripts run with.

use keystile::engine::settings::Settings;
use serde_json::json;

use super::TIMEOUT;
use super::answers::Kind;

/// A configuration. Times are in ms.
pub(super) struct Rules {
    pub(super) allow: u64,
    pub(super) not_found: u64,
    pub(super) revoked: u64,
    pub(super) stale_if_error: u64,
    /// After which part of its time an active record is looked up again, in millionths.
    pub(super) refresh_ahead: u64,
    /// In percent.
    pub(super) jitter: u64,
    pub(super) environment: Option<&'static str>,
    /// Whether each pool has room for only one verdict.
    pub(super) small: bool,
    pub(super) feed: Option<FeedRules>,
}

pub(super) struct FeedRules {
    pub(super) interval: u64,
    pub(super) stale_after: u64,
    pub(super) allow_when_stale: u64,
}

impl Rules {
    /// By number: plain; with a feed; with jitter and an environment; without a cache; with room for
    /// one verdict; with a feed, without grace and with refreshes at once; with a feed and a long
    /// grace; with only a long grace.
    pub(super) const ALL: [Self; 8] = [
        Self::PLAIN,
        Self {
            allow: 10_000,
            not_found: 5_000,
            revoked: 10_000,
            refresh_ahead: 100_000,
            feed: Some(FeedRules {
                interval: 100,
                stale_after: 400,
                allow_when_stale: 250,
            }),
            ..Self::PLAIN
        },
        Self {
            jitter: 50,
            environment: Some("production"),
            ..Self::PLAIN
        },
        Self {
            allow: 0,
            not_found: 0,
            revoked: 0,
            ..Self::PLAIN
        },
        Self {
            small: true,
            ..Self::PLAIN
        },
        Self {
            stale_if_error: 0,
            refresh_ahead: 100,
            feed: Some(FeedRules {
                interval: 1_000,
                stale_after: 5_000,
                allow_when_stale: 500,
            }),
            ..Self::PLAIN
        },
        Self {
            stale_if_error: 30_000,
            feed: Some(FeedRules {
                interval: 1_000,
                stale_after: 5_000,
                allow_when_stale: 2_000,
            }),
            ..Self::PLAIN
        },
        Self {
            stale_if_error: 100_000,
            ..Self::PLAIN
        },
    ];

    const PLAIN: Self = Self {
        allow: 1_000,
        not_found: 300,
        revoked: 2_000,
        stale_if_error: 3_000,
        refresh_ahead: 800_000,
        jitter: 0,
        environment: None,
        small: false,
        feed: None,
    };

    /// Returns the engine's settings.
    pub(super) fn settings(&self) -> Settings {
        let ms = |ms: u64| format!("{ms}ms");
        let feed = self.feed.as_ref().map(|feed| {
            json!({
                "interval": ms(feed.interval),
                "stale_after": ms(feed.stale_after),
                "allow_ttl_when_stale": ms(feed.allow_when_stale),
            })
        });
        #[allow(clippy::cast_precision_loss, reason = "small numbers")]
        let ratio = |part: u64, whole: u64| part as f64 / whole as f64;
        let config = json!({
            "lookup": {"cluster": "auth", "timeout": ms(TIMEOUT)},
            "introspection": {"path": "/v1/keys/me"},
            "environment": self.environment,
            "cache": {
                "allow_ttl": ms(self.allow),
                "not_found_ttl": ms(self.not_found),
                "revoked_ttl": ms(self.revoked),
                "stale_if_error": ms(self.stale_if_error),
                "refresh_ahead": ratio(self.refresh_ahead, 1_000_000),
                "jitter": ratio(self.jitter, 100),
                "max_allow_entries": self.entries(),
                "max_deny_entries": self.entries(),
            },
            "feed": feed,
        });
        keystile::config::parse(config.to_string().as_bytes()).expect("a good configuration")
    }

    /// Returns the maximum number of verdicts in a pool.
    pub(super) fn entries(&self) -> usize {
        if self.small { 1 } else { 100 }
    }

    /// Returns true if an answer is about this environment.
    pub(super) fn is_ours(&self, kind: Kind) -> bool {
        self.environment
            .is_none_or(|ours| kind.environment() == ours)
    }

    /// Returns true if an answer lets requests through while it lasts.
    pub(super) fn allows(&self, kind: Kind) -> bool {
        kind.is_active() && self.is_ours(kind)
    }

    /// Returns true if an answer says that there is no record here.
    pub(super) fn is_none(&self, kind: Kind) -> bool {
        kind.is_not_found() || (kind.is_verdict() && !self.is_ours(kind))
    }

    /// Returns the longest time for which an answer is fresh.
    pub(super) fn ttl(&self, kind: Kind) -> u64 {
        let ttl = match kind {
            Kind::ActiveAndLarge => 0,
            _ if self.allows(kind) => self.allow,
            _ if kind.is_revoked() && self.is_ours(kind) => self.revoked,
            _ => self.not_found,
        };
        kind.max_age().map_or(ttl, |longest| longest.min(ttl))
    }

    /// Returns the shortest time to which jitter may reduce `ttl`.
    pub(super) fn shortest(&self, ttl: u64) -> u64 {
        ttl - (ttl * self.jitter).div_ceil(100)
    }
}
