//! Whether an application is under a flood: a judgement over counters, without any I/O.
//!
//! A flood of forged sources asks for many connections and completes few of them. A crowd completes them. So it takes
//! both: far more requests than usual, and few connections that come of them, twice within seconds. Not twice in a row:
//! a flood that comes in pulses is one.

use std::{collections::HashMap, time::Duration};

use crate::model::AppId;

/// What there is a flood of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// Requests for connections.
    Syn,
    /// Segments of no connection: ACK, RST, FIN, SYN-ACK. None of them ever completes anything.
    Orphans,
}

impl Kind {
    /// The name in status, metrics and the log.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Syn => "syn",
            Self::Orphans => "orphans",
        }
    }

    /// How many a second are never called a flood.
    const fn floor(self) -> f64 {
        match self {
            Self::Syn => 2000.0,
            Self::Orphans => 4000.0,
        }
    }

    /// Looks that must be suspicious: connections of the last moment are not complete yet. And thousands of peers
    /// may not know yet that their connections are gone: each is told by one reset, and then is quiet.
    const fn looks(self) -> u32 {
        match self {
            Self::Syn => 2,
            Self::Orphans => 4,
        }
    }
}

/// How many times the usual rate is suspicious.
const ABOVE_USUAL: f64 = 8.0;
/// The share of requests that become connections in a crowd, at the least.
const COMPLETED: f64 = 0.3;
/// How long a suspicion is remembered. All that was counted meanwhile is judged together.
const REMEMBERED: Duration = Duration::from_secs(5);
/// The share of the suspicious rate below which it is calm.
const CALM_BELOW: f64 = 0.5;
/// How long it must be calm. The kernel takes cookies for two minutes after it gave the last one
/// (`TCP_SYNCOOKIE_VALID`), so nobody who holds one is lost.
const CALM_FOR: Duration = Duration::from_mins(1);
/// What the usual rate is averaged over.
const USUAL_OVER: Duration = Duration::from_mins(5);

/// What has been counted for an application so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// SYNs that no rule refused, or segments of no connection.
    pub requests: u64,
    /// Connections accepted; of orphans none.
    pub opened: u64,
}

/// What a look at the counters has shown.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Change {
    Began {
        /// Per second.
        requests: f64,
        /// Of 1.
        completed: f64,
    },
    Ended,
}

/// The applications that are watched for floods of one kind.
#[derive(Debug)]
pub struct Floods {
    kind: Kind,
    watches: HashMap<AppId, Watch>,
}

impl Floods {
    pub fn of(kind: Kind) -> Self {
        Self { kind, watches: HashMap::new() }
    }

    pub const fn kind(&self) -> Kind {
        self.kind
    }

    /// Judges by what was counted since the last look, `elapsed` ago by a clock that never jumps. Applications that are
    /// gone are forgotten.
    pub fn look(&mut self, elapsed: Duration, totals: &[(AppId, Totals)]) -> Vec<(AppId, Change)> {
        let mut before = std::mem::take(&mut self.watches);
        let mut changes = Vec::new();
        for (app, totals) in totals {
            let mut watch = before.remove(app).unwrap_or_else(|| Watch::begin(*totals));
            if let Some(change) = watch.look(self.kind, elapsed, *totals) {
                changes.push((*app, change));
            }
            self.watches.insert(*app, watch);
        }
        changes.extend(before.into_iter().filter(|(_, watch)| watch.is_flood()).map(|(app, _)| (app, Change::Ended)));
        changes
    }

    /// Goes on with a flood that another process saw begin.
    pub fn resume(&mut self, app: AppId) {
        let state = State::Flood { calm: Duration::ZERO };
        self.watches.insert(app, Watch { state, ..Watch::begin(Totals::default()) });
    }

    /// The applications that are under a flood.
    pub fn under_way(&self) -> impl Iterator<Item = AppId> {
        self.watches.iter().filter(|(_, watch)| watch.is_flood()).map(|(app, _)| *app)
    }
}

#[derive(Debug)]
struct Watch {
    last: Totals,
    /// Requests per second while there is no flood.
    usual: f64,
    state: State,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum State {
    Quiet,
    Suspicious { looks: u32, since: Counted },
    Flood { calm: Duration },
}

/// What was counted over a time.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Counted {
    over: Duration,
    requests: f64,
    opened: f64,
}

impl Counted {
    fn and(self, other: Self) -> Self {
        Self {
            over: self.over.saturating_add(other.over),
            requests: self.requests + other.requests,
            opened: self.opened + other.opened,
        }
    }

    /// Requests per second.
    fn rate(self) -> f64 {
        self.requests / self.over.as_secs_f64()
    }

    /// The share of requests that became connections.
    fn completed(self) -> f64 {
        if self.requests > 0.0 { self.opened / self.requests } else { 1.0 }
    }

    fn is_suspicious(self, from: f64) -> bool {
        self.rate() > from && self.completed() < COMPLETED
    }
}

impl Watch {
    const fn begin(last: Totals) -> Self {
        Self { last, usual: 0.0, state: State::Quiet }
    }

    fn is_flood(&self) -> bool {
        matches!(self.state, State::Flood { .. })
    }

    #[expect(clippy::cast_precision_loss, reason = "counts of a moment, compared roughly")]
    fn look(&mut self, kind: Kind, elapsed: Duration, totals: Totals) -> Option<Change> {
        if elapsed.is_zero() {
            return None;
        }
        // A counter that went back has changed hands: it says nothing this once.
        let requests = totals.requests.saturating_sub(self.last.requests) as f64;
        let opened = totals.opened.saturating_sub(self.last.opened) as f64;
        self.last = totals;
        let now = Counted { over: elapsed, requests, opened };
        let suspicious_from = kind.floor().max(ABOVE_USUAL * self.usual);
        let is_suspicious = now.is_suspicious(suspicious_from);
        let (state, change) = match self.state {
            State::Flood { calm } if now.rate() < CALM_BELOW * suspicious_from => {
                let calm = calm + elapsed;
                if calm >= CALM_FOR { (State::Quiet, Some(Change::Ended)) } else { (State::Flood { calm }, None) }
            }
            State::Flood { .. } => (State::Flood { calm: Duration::ZERO }, None),
            State::Quiet if is_suspicious => (State::Suspicious { looks: 1, since: now }, None),
            State::Quiet => (State::Quiet, None),
            State::Suspicious { looks, since } => {
                let looks = looks + u32::from(is_suspicious);
                let since = since.and(now);
                if is_suspicious && looks >= kind.looks() && since.is_suspicious(suspicious_from) {
                    let change = Change::Began { requests: since.rate(), completed: since.completed() };
                    (State::Flood { calm: Duration::ZERO }, Some(change))
                } else if since.over >= REMEMBERED {
                    (State::Quiet, None)
                } else {
                    (State::Suspicious { looks, since }, None)
                }
            }
        };
        self.state = state;
        if state == State::Quiet {
            let weight = 1.0 - (-elapsed.as_secs_f64() / USUAL_OVER.as_secs_f64()).exp();
            self.usual += (now.rate() - self.usual) * weight;
        }
        change
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOOK: Duration = Duration::from_millis(500);

    fn app(name: &str) -> AppId {
        AppId::derive(&[name])
    }

    #[test]
    fn a_flood_that_another_process_saw_goes_on_and_ends_when_it_is_calm() {
        let (mut floods, app) = (Floods::of(Kind::Syn), app("a"));
        floods.resume(app);
        let mut totals = Totals { requests: 1_000_000, opened: 0 };
        for _ in 0..20 {
            totals.requests += 5_000;
            assert!(floods.look(LOOK, &[(app, totals)]).is_empty());
        }
        assert_eq!(floods.under_way().collect::<Vec<_>>(), [app]);
        let ended = (0..200).find_map(|_| floods.look(LOOK, &[(app, totals)]).pop());
        assert_eq!(ended, Some((app, Change::Ended)));
    }

    /// One application under constant rates, from zero.
    struct Run {
        floods: Floods,
        totals: Totals,
    }

    impl Run {
        fn new(kind: Kind) -> Self {
            let mut run = Self { floods: Floods::of(kind), totals: Totals::default() };
            run.look(0, 0);
            run
        }

        fn look(&mut self, requests: u64, opened: u64) -> Vec<Change> {
            self.totals.requests += requests;
            self.totals.opened += opened;
            self.floods.look(LOOK, &[(app("a"), self.totals)]).into_iter().map(|(_, change)| change).collect()
        }

        fn many(&mut self, looks: u32, requests: u64, opened: u64) -> Vec<Change> {
            (0..looks).flat_map(|_| self.look(requests, opened)).collect()
        }

        fn is_flood(&self) -> bool {
            self.floods.under_way().next().is_some()
        }
    }

    #[test]
    fn many_requests_of_which_few_complete_are_a_flood_at_the_second_look() {
        let mut run = Run::new(Kind::Syn);
        assert_eq!(run.look(5000, 10), []);
        let [Change::Began { requests, completed }] = run.look(5000, 10)[..] else { panic!("no flood") };
        assert!((requests - 10_000.0).abs() < 1.0 && (completed - 0.002).abs() < 1e-6, "{requests} {completed}");
        assert!(run.is_flood());
    }

    #[test]
    fn a_crowd_is_no_flood() {
        let mut run = Run::new(Kind::Syn);
        assert_eq!(run.many(100, 50_000, 40_000), []);
        assert!(!run.is_flood());
    }

    #[test]
    fn a_moment_now_and_then_is_no_flood() {
        let mut run = Run::new(Kind::Syn);
        for _ in 0..20 {
            assert_eq!(run.look(50_000, 0), []);
            assert_eq!(run.many(10, 10, 10), []);
        }
    }

    #[test]
    fn a_flood_in_pulses_is_one() {
        for rest in 1..8 {
            let mut run = Run::new(Kind::Syn);
            assert_eq!(run.look(12_000, 0), []);
            assert_eq!(run.many(rest, 10, 10), []);
            assert!(matches!(run.look(12_000, 0)[..], [Change::Began { .. }]), "after {rest} quiet looks");
        }
    }

    #[test]
    fn a_crowd_in_pulses_is_none_though_each_completes_later() {
        let mut run = Run::new(Kind::Syn);
        for _ in 0..100 {
            assert_eq!(run.look(1500, 0), []);
            assert_eq!(run.look(0, 1500), []);
        }
    }

    #[test]
    fn few_requests_are_no_flood_whatever_becomes_of_them() {
        let mut run = Run::new(Kind::Syn);
        assert_eq!(run.many(1000, 1000, 0), []);
    }

    #[test]
    fn what_is_usual_for_an_application_is_no_flood() {
        let mut run = Run::new(Kind::Syn);
        // Ten minutes of 4000 a second, all complete; then many that do not, but not many more.
        run.many(1200, 2000, 2000);
        assert_eq!(run.many(20, 10_000, 100), [], "five times the usual rate");
        assert_ne!(run.many(20, 30_000, 100), [], "fifteen times");
    }

    #[test]
    fn it_ends_after_a_minute_of_calm_and_not_before() {
        let mut run = Run::new(Kind::Syn);
        run.many(2, 50_000, 0);
        assert_eq!(run.many(119, 10, 10), []);
        run.look(50_000, 0);
        assert_eq!(run.many(119, 10, 10), [], "the minute begins anew");
        assert_eq!(run.look(10, 10), [Change::Ended]);
        assert!(!run.is_flood());
    }

    #[test]
    fn an_application_that_is_removed_ends_its_flood() {
        let mut run = Run::new(Kind::Syn);
        run.many(2, 50_000, 0);
        assert_eq!(run.floods.look(LOOK, &[]), [(app("a"), Change::Ended)]);
        assert!(!run.is_flood());
    }

    #[test]
    fn segments_of_no_connection_are_a_flood_after_two_seconds_of_them() {
        let mut run = Run::new(Kind::Orphans);
        assert_eq!(run.many(3, 5000, 0), []);
        assert!(matches!(run.look(5000, 0)[..], [Change::Began { .. }]));
        assert_eq!(run.many(119, 900, 0), [], "calm is less than half of 4000 a second");
        assert_eq!(run.look(900, 0), [Change::Ended]);
    }

    #[test]
    fn peers_that_learn_that_their_connections_are_gone_are_no_flood() {
        let mut run = Run::new(Kind::Orphans);
        assert_eq!(run.many(3, 20_000, 0), []);
        assert_eq!(run.many(100, 1500, 0), []);
        assert!(!run.is_flood());
    }

    /// A machine that slept: the time of the looks stood still with it (`CLOCK_MONOTONIC`), or a look came late.
    #[test]
    fn a_late_look_judges_by_the_rate_and_a_jump_is_no_flood() {
        let mut floods = Floods::of(Kind::Syn);
        let seen = |requests| [(app("a"), Totals { requests, opened: 0 })];
        assert_eq!(floods.look(LOOK, &seen(0)), []);
        let hour = Duration::from_hours(1);
        assert_eq!(floods.look(hour, &seen(1_000_000)), [], "278 a second");
        assert_eq!(floods.look(hour, &seen(2_000_000)), []);
        assert_eq!(floods.look(Duration::MAX, &seen(u64::MAX)), []);
        assert_eq!(floods.under_way().count(), 0);
    }

    #[test]
    fn what_was_counted_before_the_first_look_and_counters_that_go_back_say_nothing() {
        let mut floods = Floods::of(Kind::Syn);
        let seen = |requests| [(app("a"), Totals { requests, opened: 0 })];
        assert_eq!(floods.look(LOOK, &seen(1_000_000)), []);
        assert_eq!(floods.look(LOOK, &seen(0)), []);
        assert_eq!(floods.look(Duration::ZERO, &seen(1_000_000)), []);
        assert_eq!(floods.under_way().count(), 0);
    }
}
