//! Whether a change of rules cuts off who asks for it: an address that an operator is connected from, and that is
//! blocked after the change where it was not before.
//!
//! Deliberately not here: how an operator's address is known (`cli::operator`, `logins`).

use std::{collections::BTreeSet, net::IpAddr};

use anyhow::anyhow;

use crate::{
    geo::Table,
    model::{AccessRule, Application, RuleId, ZoneId},
    proxy::{Access, AccessRules},
};

/// Everything that decides about an address.
#[derive(Clone, Copy, Debug)]
pub struct Standing<'a> {
    pub applications: &'a [Application],
    pub rules: &'a AccessRules,
    pub table: &'a Table,
}

/// An operator's address, and the rule that blocks it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CutOff {
    pub address: IpAddr,
    pub rule: RuleId,
}

/// Who is blocked already, and in which zones: whatever leaves that as it is cuts nobody off.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Blocked(BTreeSet<(ZoneId, IpAddr)>);

impl FromIterator<(ZoneId, IpAddr)> for Blocked {
    fn from_iter<I: IntoIterator<Item = (ZoneId, IpAddr)>>(pairs: I) -> Self {
        Self(pairs.into_iter().collect())
    }
}

impl Blocked {
    pub fn iter(&self) -> impl Iterator<Item = (ZoneId, IpAddr)> {
        self.0.iter().copied()
    }
}

impl Standing<'_> {
    /// Where these operators are blocked.
    pub fn blocked(&self, operators: &[IpAddr]) -> Blocked {
        let zones = self.zones();
        let operators = operators.iter().map(IpAddr::to_canonical);
        let pairs = operators.flat_map(|address| zones.iter().map(move |zone| (*zone, address)));
        pairs.filter(|(zone, address)| self.blocks(*zone, *address).is_some()).collect()
    }

    /// The operators' addresses that are blocked here and were not before, each with the first rule that does it.
    pub fn cut_off(&self, before: &Blocked, operators: &[IpAddr]) -> Vec<CutOff> {
        let asked = self.zones();
        let operators = operators.iter().map(IpAddr::to_canonical);
        let cut = operators.filter_map(|address| {
            let was_blocked = |zone: &ZoneId| before.0.contains(&(*zone, address));
            let rule = asked.iter().find_map(|zone| self.blocks(*zone, address).filter(|_| !was_blocked(zone)))?;
            Some(CutOff { address, rule })
        });
        cut.collect()
    }

    /// As an error where there is one.
    pub fn refuse(
        &self,
        before: &Blocked,
        rules: &[AccessRule],
        operators: &[IpAddr],
        whose: &str,
    ) -> anyhow::Result<()> {
        match self.cut_off(before, operators).first() {
            Some(cut) => Err(anyhow!("{}; {}", cut.message(rules, whose), cut.help())),
            None => Ok(()),
        }
    }

    /// The zones whose rules somebody asks.
    fn zones(&self) -> BTreeSet<ZoneId> {
        self.applications.iter().filter(|app| app.ip_firewall).map(|app| app.zone).collect()
    }

    fn blocks(&self, zone: ZoneId, address: IpAddr) -> Option<RuleId> {
        match self.rules.decide(zone, address, || self.table.class(address)) {
            Access::Blocked(rule, _) => Some(rule),
            Access::Allowed(..) | Access::NoRule => None,
        }
    }
}

impl CutOff {
    /// What happens, in words; `rules` are those that were asked. `whose` says how the address is known.
    pub fn message<'a>(&self, rules: impl IntoIterator<Item = &'a AccessRule>, whose: &str) -> String {
        let target = rules.into_iter().find(|rule| rule.id == self.rule).map(|rule| rule.target.to_string());
        format!("block {} names {}, {whose}", target.unwrap_or_default(), self.address)
    }

    /// What to do about it.
    pub fn help(&self) -> String {
        format!("allow {} first, leave it out of what is blocked, or say --force", self.address)
    }
}

/// How the address of somebody who typed a command is known.
pub const OPERATOR: &str = "where you are connected from: it would cut off your own connection";
