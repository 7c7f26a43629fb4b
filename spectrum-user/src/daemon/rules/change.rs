//! One change of rules: the kernel first, then the workers, then what the daemon shows.

use crate::{
    daemon::Running,
    dataplane::{
        instance::{InstanceError, RuleReport},
        rules::RuleChange,
    },
    model::DesiredState,
    proxy::AppTable,
};

/// Rules that one change writes without reading everything.
const FEW: usize = 64;

impl Running {
    /// Brings a change about: the kernel, the workers, the view. What the kernel refuses changes nothing.
    pub(in crate::daemon) async fn change(&mut self, change: RuleChange<'_>) -> Result<(), InstanceError> {
        let desired = self.view.desired();
        if let Some(report) = self.write(change, &desired)? {
            // Ours is the last but the view's own: it changes in place.
            drop(desired);
            self.view.ruled(change, &report);
            return Ok(());
        }
        let rules = change.whole(&desired.rules);
        let desired = DesiredState { rules, ..DesiredState::clone(&desired) };
        let report = self.kernel.reconcile(&desired, &self.netlink).await?;
        let previous = self.table.borrow().clone();
        let table = AppTable::new(&desired, self.geo.clone(), previous.tls(), Some(&previous), &self.telemetry.metrics);
        self.table.send_replace(table.into());
        self.view.applied(desired.into(), &report);
        Ok(())
    }

    /// A change of few rules, into the kernel and to the workers. None: it takes the long way.
    fn write(&mut self, change: RuleChange<'_>, desired: &DesiredState) -> Result<Option<RuleReport>, InstanceError> {
        if change.removed.len() + change.added.len() > FEW {
            return Ok(None);
        }
        let after = change.of(&desired.rules);
        let Some(report) = self.kernel.change_rules(change, after.clone())? else { return Ok(None) };
        let previous = self.table.borrow().clone();
        let changed = previous.rules().changed(change.removed.iter().chain(change.added), &after);
        self.table.send_replace(previous.with_rules(changed).into());
        Ok(Some(report))
    }
}
