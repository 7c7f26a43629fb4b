//! Certificates that come near their end: each stage is told once for each certificate, however often it is asked for.

use std::{
    collections::HashMap,
    path::PathBuf,
    time::{Duration, SystemTime},
};

use super::{Certificates, describe::Details};

/// How near a certificate's end is. The later ones are greater.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Stage {
    /// 30 days or less.
    Month,
    /// 7 days or less.
    Week,
    /// 24 hours or less.
    Day,
    Expired,
}

/// A certificate entered a stage.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notice {
    pub stage: Stage,
    /// The hostname in the file's name.
    pub hostname: Option<String>,
    /// The chain's file.
    pub path: PathBuf,
    pub certificate: Details,
}

/// What was told, by fingerprint.
#[derive(Debug, Default)]
pub(super) struct Told(HashMap<String, Stage>);

const DAY: Duration = Duration::from_hours(24);
const STAGES: [(Duration, Stage); 3] =
    [(DAY, Stage::Day), (Duration::from_hours(7 * 24), Stage::Week), (Duration::from_hours(30 * 24), Stage::Month)];

impl Told {
    pub(super) fn notices(&mut self, certificates: &Certificates, now: SystemTime) -> Vec<Notice> {
        let before = std::mem::take(&mut self.0);
        let mut notices = Vec::new();
        for row in certificates.rows() {
            let Some(certificate) = &row.certificate else { continue };
            let details = &certificate.details;
            let known = self.0.get(&details.fingerprint).or_else(|| before.get(&details.fingerprint)).copied();
            let stage = Stage::of(details, now);
            if stage > known
                && let Some(stage) = stage
            {
                let (hostname, path) = (row.hostname.clone(), row.path.clone());
                notices.push(Notice { stage, hostname, path, certificate: details.clone() });
            }
            // A clock that goes back makes no stage new again.
            if let Some(stage) = stage.max(known) {
                self.0.insert(details.fingerprint.clone(), stage);
            }
        }
        notices
    }
}

impl Stage {
    /// None: the end is far. A stage longer than a third of the certificate's life is left out: that is when those who
    /// ask for certificates by themselves ask again, and a warning at each renewal is none.
    pub fn of(certificate: &Details, now: SystemTime) -> Option<Self> {
        let Ok(left) = certificate.not_after.duration_since(now) else { return Some(Self::Expired) };
        let life = certificate.not_after.duration_since(certificate.not_before).unwrap_or_default();
        STAGES.into_iter().find_map(|(length, stage)| (left <= length && length * 3 <= life).then_some(stage))
    }
}
