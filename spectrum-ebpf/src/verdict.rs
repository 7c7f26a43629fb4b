//! A stage's decision: why, about whose traffic, and by which rule.

use spectrum_common::{Reason, layout::NO_APP};

#[derive(Clone, Copy)]
pub(crate) struct Verdict {
    pub(crate) reason: Reason,
    /// Application number, or `NO_APP`.
    pub(crate) app: u32,
    /// Number of the rule that decided, 0 for none.
    pub(crate) rule: u32,
}

impl Verdict {
    /// A verdict about no application's traffic.
    #[inline(always)]
    pub(crate) const fn of(reason: Reason) -> Self {
        Self { reason, app: NO_APP, rule: 0 }
    }
}
