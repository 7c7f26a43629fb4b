//! The wanted hostnames: what is there of each, when it is due, and what is told of it.

use std::{
    collections::BTreeMap,
    path::PathBuf,
    time::{Duration, SystemTime},
};

use super::date;
use crate::acme::{
    HostReport, HostState, Pace, Reports,
    files::{self, Life},
    memory::Memory,
    schedule,
    trouble::Trouble,
};

pub(super) struct Hosts {
    certificates: PathBuf,
    memory: Memory,
    reports: Reports,
    kept: BTreeMap<String, Kept>,
    /// What was last told of the directory.
    told: Option<String>,
}

struct Kept {
    impossible: Option<&'static str>,
    life: Option<Life>,
    /// Not before then: first orders are spread.
    begins: SystemTime,
    luck: f64,
    is_ordering: bool,
    /// The problem that the log told last.
    told: Option<String>,
}

impl Hosts {
    pub(super) fn new(certificates: PathBuf, memory: Memory, reports: Reports) -> Self {
        Self { certificates, memory, reports, kept: BTreeMap::new(), told: None }
    }

    pub(super) fn want(&mut self, wanted: &[String], pace: &Pace) {
        let now = pace.now();
        let wanted: Vec<String> = wanted.iter().map(|host| host.to_ascii_lowercase()).collect();
        self.kept.retain(|host, _| wanted.contains(host));
        for host in wanted {
            if !self.kept.contains_key(&host) {
                let kept = self.look(&host, now + pace.spread.mul_f64(fastrand::f64()));
                self.kept.insert(host, kept);
            }
        }
        self.memory.retain(|host| self.kept.contains_key(host), now);
    }

    pub(super) fn is_wanted(&self, host: &str) -> bool {
        self.kept.contains_key(host)
    }

    fn look(&self, host: &str, begins: SystemTime) -> Kept {
        let impossible = schedule::impossible(host);
        let mut kept = Kept { impossible, life: None, begins, luck: fastrand::f64(), is_ordering: false, told: None };
        match impossible {
            Some(why) => log::warn!("no certificate for {host}: {why}"),
            None => match files::read(&self.certificates, host) {
                Ok(life) => kept.life = life,
                Err(why) => log::warn!("the certificate for {host} is ordered anew: {why}"),
            },
        }
        kept
    }

    /// One whose time has come.
    pub(super) fn due(&self, now: SystemTime) -> Option<String> {
        let due = self.kept.iter().filter(|(_, kept)| !kept.is_ordering);
        let due = due.filter_map(|(host, kept)| Some((self.due_at(host, kept, now)?, host)));
        due.filter(|(at, _)| *at <= now).min().map(|(_, host)| host.clone())
    }

    /// When the first of those will be due that are not.
    pub(super) fn next(&self, now: SystemTime) -> Option<SystemTime> {
        let waiting = self.kept.iter().filter(|(_, kept)| !kept.is_ordering);
        waiting.filter_map(|(host, kept)| self.due_at(host, kept, now)).filter(|at| *at > now).min()
    }

    fn due_at(&self, host: &str, kept: &Kept, now: SystemTime) -> Option<SystemTime> {
        if kept.impossible.is_some() {
            return None;
        }
        let due = match (kept.life, self.memory.obtained(host)) {
            // A clock that was ahead when the certificate came is not waited for.
            (Some(life), Ok(obtained)) => {
                schedule::renew_at(life, obtained.filter(|obtained| *obtained <= now), kept.luck)
            }
            // None, or from a directory that is not asked any more.
            (None, _) | (_, Err(())) => kept.begins,
        };
        let waits = [self.memory.tried(host).next(now), self.memory.general().next(now)];
        waits.into_iter().flatten().chain([due]).max()
    }

    pub(super) fn begin(&mut self, host: &str, now: SystemTime) {
        if let Some(kept) = self.kept.get_mut(host) {
            kept.is_ordering = true;
            self.memory.begin(host, now, kept.luck);
        }
    }

    pub(super) fn succeed(&mut self, host: &str, life: Life, now: SystemTime) {
        self.memory.succeed(host, now);
        self.told = None;
        if let Some(kept) = self.kept.get_mut(host) {
            (kept.is_ordering, kept.life, kept.luck, kept.told) = (false, Some(life), fastrand::f64(), None);
            log::info!("{host} has a new certificate, good until {}", date(life.not_after));
        }
    }

    pub(super) fn fail(&mut self, host: &str, trouble: &Trouble, now: SystemTime) {
        let Some(kept) = self.kept.get_mut(host) else { return };
        (kept.is_ordering, kept.luck) = (false, fastrand::f64());
        self.memory.fail(host, trouble, now, kept.luck);
        let told = if trouble.is_general { &mut self.told } else { &mut kept.told };
        // A problem is told when it begins or changes, not each time that it is met.
        if told.as_ref() == Some(&trouble.words) {
            return;
        }
        *told = Some(trouble.words.clone());
        let (subject, tried) = if trouble.is_general {
            ("the directory gives no certificates".to_owned(), self.memory.general())
        } else {
            (format!("no new certificate for {host}"), self.memory.tried(host))
        };
        let wait = tried.next(now).and_then(|next| next.duration_since(now).ok()).unwrap_or_default();
        let wait = humantime::format_duration(Duration::from_secs(wait.as_secs()));
        log::warn!("{subject}: {}; it is tried again in {wait}, and told when it changes", trouble.words);
    }

    pub(super) fn report(&self, now: SystemTime) {
        let general = self.memory.general();
        let reports = self.kept.iter().map(|(host, kept)| {
            let state = match kept.life {
                _ if kept.impossible.is_some() => HostState::Impossible,
                _ if kept.is_ordering => HostState::Ordering,
                None => HostState::Absent,
                Some(life) if life.not_after <= now => HostState::Expired,
                Some(_) => HostState::Held,
            };
            // What keeps all from being ordered is why this one is not, if it is due.
            let own = self.memory.tried(host).problem;
            let of_all = general.problem.clone().filter(|_| matches!(state, HostState::Absent | HostState::Expired));
            HostReport {
                host: host.clone(),
                state,
                problem: kept.impossible.map(str::to_owned).or(of_all).or(own),
                next_try: if kept.is_ordering { None } else { self.due_at(host, kept, now) },
                not_after: kept.life.map(|life| life.not_after),
            }
        });
        self.reports.replace(reports.collect());
    }
}
