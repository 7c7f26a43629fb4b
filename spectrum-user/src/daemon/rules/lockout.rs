//! Keeps operators from cutting off the connection that they work over.

use super::Refusal;
use crate::{
    daemon::{OPERATOR, Running, Standing, Wishes},
    dataplane::rules::RuleChange,
    model::DesiredState,
};

impl Running {
    /// Refuses a change of rules that ends the operator's own connection: by a block, or by taking an exception away.
    pub(super) fn refuse_cutting_off(
        &self,
        change: RuleChange<'_>,
        wishes: &Wishes,
        desired: &DesiredState,
    ) -> Result<(), Refusal> {
        if wishes.force || wishes.operator.is_empty() {
            return Ok(());
        }
        let rules = self.table.borrow().rules().clone();
        let after = rules.changed(change.removed.iter().chain(change.added), &change.of(&desired.rules));
        let before = Standing { applications: &desired.applications, rules: &rules, table: &self.geo.table };
        let after = Standing { rules: &after, ..before };
        match after.cut_off(&before.blocked(&wishes.operator), &wishes.operator).first() {
            Some(cut) => Err(Refusal::new(409, cut.message(change.of(&desired.rules), OPERATOR)).help(cut.help())),
            None => Ok(()),
        }
    }
}
