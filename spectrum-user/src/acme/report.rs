//! How the certificates stand, one hostname each: for `spectrum status`.

use std::{
    sync::{Arc, PoisonError, RwLock},
    time::SystemTime,
};

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostReport {
    pub host: String,
    pub state: HostState,
    /// Why the last try came to nothing, or why there can be none.
    pub problem: Option<String>,
    /// When it is tried next, or renewed.
    pub next_try: Option<SystemTime>,
    /// The end of the certificate that is there.
    pub not_after: Option<SystemTime>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HostState {
    /// There is no certificate yet.
    Absent,
    /// One is being ordered; an older one may be there.
    Ordering,
    /// There is one.
    Held,
    /// The one that is there is over.
    Expired,
    /// There can be none by these challenges.
    Impossible,
}

impl HostState {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Absent => "absent",
            Self::Ordering => "ordering",
            Self::Held => "held",
            Self::Expired => "expired",
            Self::Impossible => "impossible",
        }
    }
}

/// What the keeper last told. Clones share it, and it outlives the keeper.
#[derive(Clone, Debug, Default)]
pub struct Reports(Arc<RwLock<Vec<HostReport>>>);

impl Reports {
    /// Sorted by hostname.
    pub fn report(&self) -> Vec<HostReport> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn replace(&self, reports: Vec<HostReport>) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = reports;
    }
}
