//! Whom a change of the file may not cut off: who asks for it, or whoever is logged in where nobody is known to have asked.
//!
//! An upgrade asks the successor to look, which has the new file, and tells it who was blocked before.

use std::net::IpAddr;

use super::{
    Blocked, OPERATOR, Running, Standing, Wishes,
    logins::{self, LOGIN},
};
use crate::handover::Operators;

/// Their addresses, and how these are known.
type Known = (Vec<IpAddr>, &'static str);

pub(super) fn logged_in() -> Known {
    (logins::addresses(), LOGIN)
}

impl Wishes {
    pub(super) fn operators(&self) -> Known {
        if self.operator.is_empty() { logged_in() } else { (self.operator.clone(), OPERATOR) }
    }
}

impl Running {
    /// Whom a successor's file may not cut off.
    pub(super) fn operators(&self, wishes: &Wishes) -> Operators {
        if wishes.force {
            return Operators::default();
        }
        let (addresses, whose) = wishes.operators();
        let (desired, table) = (self.view.desired(), self.table.borrow());
        let standing = Standing { applications: &desired.applications, rules: table.rules(), table: &self.geo.table };
        let blocked = standing.blocked(&addresses).iter().map(|(zone, address)| (zone.to_string(), address)).collect();
        Operators { addresses, asked: whose == OPERATOR, blocked }
    }
}

/// Refuses what cuts them off who was not blocked before.
pub(super) fn refuse_cutting_off(
    operators: &Operators,
    standing: Standing<'_>,
    rules: &[crate::model::AccessRule],
) -> anyhow::Result<()> {
    let blocked = operators.blocked.iter().filter_map(|(zone, address)| Some((zone.parse().ok()?, *address)));
    let blocked: Blocked = blocked.collect();
    standing.refuse(&blocked, rules, &operators.addresses, if operators.asked { OPERATOR } else { LOGIN })
}
