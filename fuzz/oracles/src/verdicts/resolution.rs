//! How paused requests are resolved, and how requests end.

use keystile::engine::host::Flow;

use super::ends::{Decision, Seen};
use super::worker::{Paused, State, Worker};
use super::{DecidedBy, MAX_RESOLVED_PER_CALLBACK, MIN_TICK};

impl Worker {
    /// Gives these requests their verdict. With `at_once`, they may be resolved in any order.
    pub(super) fn decide(&mut self, streams: &[u32], by: DecidedBy, at_once: bool) {
        for stream in streams {
            let view = self.view(self.paused[stream].key);
            let paused = self.paused.get_mut(stream).expect("the request is paused");
            if let State::Waits { source, .. } = paused.state {
                let turn = (self.now.order, if at_once { 0 } else { *stream });
                paused.state = State::Decided {
                    by,
                    view,
                    source,
                    turn,
                };
            }
        }
    }

    /// Checks that the engine resolved requests in the order of their verdicts, and as many as one
    /// callback may.
    pub(super) fn assert_resolved(&mut self, most: usize) {
        let turn = |(_, paused): &(&u32, &Paused)| match paused.state {
            State::Decided { turn, .. } if !paused.is_over => Some(turn),
            _ => None,
        };
        let (ended, rest): (Vec<_>, Vec<_>) = self
            .paused
            .iter()
            .partition(|(stream, _)| self.host.streams[stream].end.is_some());
        let decided: Vec<_> = rest.iter().filter_map(turn).collect();
        let last = ended.iter().filter_map(turn).max();
        assert!(
            last <= decided.iter().min().copied().or(last),
            "requests were resolved in the wrong order"
        );
        let all = ended.len() + decided.len();
        assert_eq!(
            ended.len(),
            all.min(most),
            "the number of resolved requests"
        );
        assert!(
            decided.is_empty()
                || most < MAX_RESOLVED_PER_CALLBACK
                || self.host.period.as_millis() == MIN_TICK.into(),
            "no early tick for the remaining requests"
        );
        let ended: Vec<_> = ended.into_iter().map(|(stream, _)| *stream).collect();
        for stream in ended {
            let paused = self.paused.remove(&stream).expect("the request was paused");
            let seen = self.finish_request(stream);
            let State::Decided {
                by, view, source, ..
            } = paused.state
            else {
                panic!("resolved without a verdict: {seen:?}");
            };
            if let DecidedBy::Answer(_) = by {
                assert_eq!(seen.source, Some(source), "the source of its verdict");
            }
            self.model.assert_end(&seen, &view, by, self.wall());
        }
    }

    /// Checks the end of a request, and removes it. If it was forwarded, its trailers pass too.
    pub(super) fn finish_request(&mut self, stream: u32) -> Seen {
        let seen = Seen::of(&self.host.streams[&stream]);
        self.counts.request(&seen);
        if let Decision::Allowed(_) = seen.decision {
            assert_eq!(
                self.send_trailers(stream),
                Flow::Continue,
                "the trailers of a forwarded request were held back"
            );
        }
        self.host.leaves(&mut self.engine, stream);
        seen
    }
}
