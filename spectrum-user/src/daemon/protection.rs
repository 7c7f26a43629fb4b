//! Looks for floods twice a second, and switches the protected mode.

use std::time::{Duration, Instant};

use tokio::time::{Interval, MissedTickBehavior, interval};

use super::{Running, View, view::Protection};
use crate::{
    dataplane::instance::KernelInstance,
    model::{DesiredState, Instance, SynCookies},
    shield::{self, Change, Floods, SynCookiesSwitch, SysctlError},
};

const LOOK: Duration = Duration::from_millis(500);

/// What is known of floods, and the switch.
pub(super) struct Watch {
    floods: Floods,
    switch: SynCookiesSwitch,
    looks: Interval,
    last: Instant,
    /// Segments of no connection are dropped.
    refusing: bool,
    /// The switch does not move: said once, not twice a second.
    told: bool,
}

impl Watch {
    /// Puts back what an earlier process of this instance left, which may have been killed under a flood.
    pub(super) fn begin(instance: &Instance, kernel: &mut KernelInstance) -> anyhow::Result<Self> {
        kernel.refuse_orphans(false)?;
        if let Some(found) = shield::restore(instance)? {
            log::info!("net.ipv4.tcp_syncookies is {found} again, as it was before an earlier process was killed");
        }
        let mut looks = interval(LOOK);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Ok(Self {
            floods: Floods::default(),
            switch: SynCookiesSwitch::new(instance),
            looks,
            last: Instant::now(),
            refusing: false,
            told: false,
        })
    }

    pub(super) async fn due(&mut self) {
        self.looks.tick().await;
    }

    /// The last act: what was changed is put back.
    pub(super) fn end(mut self, kernel: &mut KernelInstance) {
        self.refuse_orphans(false, kernel);
        if let Err(error) = self.switch.set(false) {
            log::error!("{:#}; it stays 2 until `spectrum unload`", anyhow::Error::new(error));
        }
    }

    fn look(&mut self, view: &View) {
        let elapsed = self.last.elapsed();
        self.last = Instant::now();
        for (app, change) in self.floods.look(elapsed, &view.requests()) {
            let name = view.name(app);
            match change {
                Change::Began { requests, completed } => log::warn!(
                    "{name} is under a SYN flood: {requests:.0} requests a second, of which {:.1} % become connections",
                    completed * 100.0
                ),
                Change::Ended => log::warn!("the SYN flood on {name} is over"),
            }
        }
    }

    fn switch(&mut self, view: &View, kernel: &mut KernelInstance) {
        let floods: Vec<String> = self.floods.under_way().map(|app| view.name(app)).collect();
        let always = wants_cookies(&view.desired());
        self.refuse_orphans(!floods.is_empty(), kernel);
        match self.switch.set(always || !floods.is_empty()) {
            Ok(changed) => {
                self.told = false;
                if changed && self.switch.is_on() {
                    log::warn!("protected mode: every SYN to this host gets a cookie");
                } else if changed {
                    log::warn!("protected mode is over: cookies only where a listener's queue is full");
                }
            }
            Err(error) => self.tell(error),
        }
        view.protected(self.switch.is_on().then_some(Protection { floods, always }));
    }

    /// Only while there is a flood, and not because an application wants cookies at all times.
    fn refuse_orphans(&mut self, on: bool, kernel: &mut KernelInstance) {
        if on == self.refusing {
            return;
        }
        match kernel.refuse_orphans(on) {
            Ok(()) => self.refusing = on,
            Err(error) => log::error!("{:#}", anyhow::Error::new(error)),
        }
    }

    fn tell(&mut self, error: SysctlError) {
        if !std::mem::replace(&mut self.told, true) {
            log::error!(
                "{:#}; the kernel still gives cookies where a listener's queue is full",
                anyhow::Error::new(error)
            );
        }
    }
}

impl Running {
    pub(super) fn protect(&mut self) {
        self.protection.look(&self.view);
        self.protection.switch(&self.view, &mut self.kernel);
    }
}

fn wants_cookies(desired: &DesiredState) -> bool {
    desired.applications.iter().any(|app| app.syn_cookies == SynCookies::Always)
}
