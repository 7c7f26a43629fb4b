//! Keeps operators from cutting off the connection that they work over.

use std::net::IpAddr;

use super::{Refusal, Wishes};
use crate::{
    daemon::Running,
    model::{AccessRule, DesiredState, RuleMode},
    proxy::Access,
};

impl Running {
    /// Refuses a block rule that ends the operator's own connection.
    pub(super) fn refuse_cutting_off(
        &self,
        rule: &AccessRule,
        wishes: &Wishes,
        desired: &DesiredState,
    ) -> Result<(), Refusal> {
        if wishes.force || rule.mode != RuleMode::Block || rule.simulate {
            return Ok(());
        }
        let rules = self.table.borrow().rules().clone();
        let others = desired.rules.iter().filter(|other| other.id != rule.id);
        let after = rules.changed(std::iter::once(rule), &others.chain(std::iter::once(rule)));
        for address in wishes.operator.iter().map(IpAddr::to_canonical) {
            let class = || self.geo.table.class(address);
            let names = |access| matches!(access, Access::Blocked(id, _) if id == rule.id);
            let cut = desired.zones.iter().any(|zone| names(after.decide(zone.id, address, class)));
            if cut {
                let message = format!(
                    "block {} names {address}, where you are connected from: it would cut off your own connection",
                    rule.target
                );
                return Err(Refusal::new(409, message)
                    .help(format!("allow {address} first, leave it out of the prefix, or say --force")));
            }
        }
        Ok(())
    }
}
