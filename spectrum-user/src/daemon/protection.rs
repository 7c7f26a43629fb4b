//! Looks for floods twice a second, and switches the protected mode.

use std::time::{Duration, Instant};

use tokio::time::{Interval, MissedTickBehavior, interval};

use super::{Flood, Protection, Running, View, flood_event::told, witness::Witness};
use crate::{
    dataplane::{
        apply::Mode,
        events::Sample,
        instance::{InstanceError, KernelInstance},
        probe,
    },
    handover,
    model::{AppId, DesiredState, Instance, Shield, SynCookies},
    shield::{self, Change, Floods, Kind, Switch, Sysctl, SysctlError},
    telemetry::{EventLog, NodeEvent, NodeEventKind},
};

const LOOK: Duration = Duration::from_millis(500);
/// How often the window scale is asked for while answers offer it: who sets `tcp_rmem` changes it.
const ASK_SCALE: Duration = Duration::from_secs(5);
/// How long a client may take to acknowledge a cookie (`TCP_SYNCOOKIE_VALID`, include/net/tcp.h): until then its
/// timestamps are read as they were written.
const COOKIE_VALID: Duration = Duration::from_mins(2);

/// Floods that a successor is told of, so that it fits into a word; the others it finds out itself.
const MOST_HANDED_OVER: usize = 256;

/// What is known of floods, and the switches.
pub(super) struct Watch {
    floods: Floods,
    orphans: Floods,
    witness: Witness,
    syncookies: Switch,
    timestamps: Switch,
    looks: Interval,
    last: Instant,
    /// What the kernel programs have been told.
    mode: Mode,
    /// When the window scale was asked for last.
    asked: Option<Instant>,
    /// Switches that do not move: said once, not twice a second.
    told: Vec<Sysctl>,
}

impl Watch {
    /// Nothing is switched yet.
    pub(super) fn new(instance: &Instance) -> Self {
        let mut looks = interval(LOOK);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Self {
            floods: Floods::of(Kind::Syn),
            orphans: Floods::of(Kind::Orphans),
            witness: Witness::default(),
            syncookies: Switch::new(Sysctl::SynCookies, instance),
            timestamps: Switch::new(Sysctl::Timestamps, instance),
            looks,
            last: Instant::now(),
            mode: Mode::default(),
            asked: None,
            told: Vec::new(),
        }
    }

    /// Puts back what an earlier process of this instance left, which may have been killed under a flood.
    pub(super) fn begin(&self, instance: &Instance, kernel: &mut KernelInstance) -> anyhow::Result<()> {
        kernel.set_mode(self.mode)?;
        for (sysctl, found) in shield::restore(instance)? {
            log::info!("{} is {found} again, as it was before an earlier process was killed", sysctl.name());
        }
        Ok(())
    }

    /// Goes on where a predecessor has let go: what it switched stays as it is.
    pub(super) fn resume(&mut self, state: &handover::Shield) {
        for (floods, apps) in [(&mut self.floods, &state.syn), (&mut self.orphans, &state.orphans)] {
            apps.iter().filter_map(|app| app.parse().ok()).for_each(|app| floods.resume(app));
        }
        self.syncookies.resume(state.protected);
        self.timestamps.resume(state.timestamps);
        self.asked = state.timestamps.then(Instant::now);
        self.mode = Mode { refuse_orphans: state.refuse_orphans, answer_scale: state.answer_scale };
    }

    /// What [`Self::resume`] needs to know.
    pub(super) fn state(&self) -> handover::Shield {
        let under_way =
            |floods: &Floods| floods.under_way().take(MOST_HANDED_OVER).map(|app| app.to_string()).collect();
        handover::Shield {
            syn: under_way(&self.floods),
            orphans: under_way(&self.orphans),
            protected: self.syncookies.is_on(),
            timestamps: self.timestamps.is_on(),
            refuse_orphans: self.mode.refuse_orphans,
            answer_scale: self.mode.answer_scale,
        }
    }

    /// Says to the programs what they were told, which another process may have changed.
    pub(super) fn tell_again(&self, kernel: &mut KernelInstance) -> Result<(), InstanceError> {
        kernel.set_mode(self.mode)
    }

    pub(super) async fn due(&mut self) {
        self.looks.tick().await;
    }

    /// Looks at a sampled packet.
    pub(super) fn see(&mut self, sample: &Sample, view: &View) {
        self.witness.see(sample, view);
    }

    /// The last act: what was changed is put back.
    pub(super) fn end(mut self, kernel: &mut KernelInstance, events: &EventLog) {
        self.tell_programs(Mode::default(), kernel);
        let was_on = self.syncookies.is_on();
        for switch in [&mut self.syncookies, &mut self.timestamps] {
            if let Err(error) = switch.set(false) {
                log::error!("{:#}; it stays 2 until `spectrum unload`", anyhow::Error::new(error));
            }
        }
        if was_on && !self.syncookies.is_on() {
            events.tell(NodeEvent::now(NodeEventKind::ProtectionEnded));
        }
    }

    fn look(&mut self, view: &View) {
        let elapsed = self.last.elapsed();
        self.last = Instant::now();
        for floods in [&mut self.floods, &mut self.orphans] {
            let kind = floods.kind();
            for (app, change) in floods.look(elapsed, &view.counted(kind)) {
                let name = view.name(app);
                let account = match change {
                    Change::Began { .. } => self.witness.under_way(kind, app),
                    Change::Ended => self.witness.over(kind, app),
                };
                let event = told(kind, change, &name, &account);
                view.events().tell(event.with("application", app.to_string()).with("name", name));
            }
        }
        self.witness.fade();
    }

    fn switch(&mut self, view: &View, kernel: &mut KernelInstance, shield: Shield) {
        let floods: Vec<String> = self.floods.under_way().map(|app| view.name(app)).collect();
        let always = wants_cookies(&view.desired());
        match self.syncookies.set(always || !floods.is_empty()) {
            Ok(changed) => {
                self.told.retain(|told| *told != Sysctl::SynCookies);
                if changed && self.syncookies.is_on() {
                    log::warn!("protected mode: every SYN to this host gets a cookie");
                    if let Some(finding) = probe::strict_conntrack() {
                        log::warn!("{}; {}", finding.detail, finding.advice.unwrap_or_default());
                    }
                    let event = NodeEvent::now(NodeEventKind::ProtectionBegan);
                    view.events().tell(event.with("floods", floods.clone()).with("always", always));
                } else if changed {
                    log::warn!("protected mode is over: cookies only where a listener's queue is full");
                    view.events().tell(NodeEvent::now(NodeEventKind::ProtectionEnded));
                }
            }
            Err(error) => self.tell(error),
        }
        let answer_scale = self.answer_scale(shield);
        // Orphans only while there is a flood, and not because an application wants cookies at all times.
        let under_way = self.under_way(view);
        self.tell_programs(Mode { refuse_orphans: !under_way.is_empty(), answer_scale }, kernel);
        view.flooded(under_way);
        view.protected(self.syncookies.is_on().then_some(Protection { floods, always }));
    }

    fn under_way(&mut self, view: &View) -> Vec<Flood> {
        let mut under_way = Vec::new();
        for floods in [&self.floods, &self.orphans] {
            let kind = floods.kind();
            let flood = |app: AppId| Flood {
                kind: kind.as_str().to_owned(),
                application: app.to_string(),
                name: view.name(app),
                portrait: self.witness.under_way(kind, app).portrait,
            };
            under_way.extend(floods.under_way().map(flood));
        }
        under_way
    }

    /// The window scale that answers to SYNs shall offer. The sysctl that lets the kernel read it back is set before the
    /// first such answer, and put back when nobody can hold one any more.
    fn answer_scale(&mut self, shield: Shield) -> Option<u8> {
        if !self.syncookies.is_on() || !shield.timestamps {
            let over = self.asked.is_none_or(|asked| asked.elapsed() > ASK_SCALE + COOKIE_VALID);
            if over && let Err(error) = self.timestamps.set(false) {
                self.tell(error);
            }
            return None;
        }
        if self.mode.answer_scale.is_some() && self.asked.is_some_and(|asked| asked.elapsed() < ASK_SCALE) {
            return self.mode.answer_scale;
        }
        self.asked = Some(Instant::now());
        let scale = shield::offered_scale()?;
        match self.timestamps.set(true) {
            Ok(_) => self.timestamps.holds().then_some(scale),
            Err(error) => {
                self.tell(error);
                None
            }
        }
    }

    fn tell_programs(&mut self, mode: Mode, kernel: &mut KernelInstance) {
        if mode == self.mode {
            return;
        }
        match kernel.set_mode(mode) {
            Ok(()) => self.mode = mode,
            Err(error) => log::error!("{:#}", anyhow::Error::new(error)),
        }
    }

    fn tell(&mut self, error: SysctlError) {
        if !self.told.contains(&error.sysctl()) {
            self.told.push(error.sysctl());
            let without = match error.sysctl() {
                Sysctl::SynCookies => "the kernel still gives cookies where a listener's queue is full",
                Sysctl::Timestamps => "connections that begin with a cookie have no window scaling and no SACK",
            };
            log::error!("{:#}; {without}", anyhow::Error::new(error));
        }
    }
}

impl Running {
    pub(super) fn protect(&mut self) {
        self.protection.look(&self.view);
        self.protection.switch(&self.view, &mut self.kernel, self.node.shield);
    }
}

fn wants_cookies(desired: &DesiredState) -> bool {
    desired.applications.iter().any(|app| app.syn_cookies == SynCookies::Always)
}
