//! What the XDP program does with a frame, and what it counts and tells of it.

use aya::{
    TestRun as _, TestRunOptions,
    maps::{PerCpuArray, RingBuf},
    programs::Xdp,
};
use spectrum_common::{
    Reason,
    layout::{Count, Event, Orphans, app_counter},
    names, reason,
};

use super::Kernel;

/// What XDP did with a frame, by the names of `enum xdp_action`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    Aborted,
    Drop,
    Pass,
    /// `XDP_TX`.
    Answer,
    Other(u32),
}

impl Kernel {
    /// Runs the XDP program on a frame of at least 14 bytes: fewer are no frame to the kernel.
    pub fn xdp(&self, frame: &[u8]) -> Action {
        self.xdp_making(frame).0
    }

    /// As [`Self::xdp`], and what the program made of the frame.
    pub fn xdp_making(&self, frame: &[u8]) -> (Action, Vec<u8>) {
        let program: &Xdp = self.ebpf.program(names::XDP).unwrap().try_into().unwrap();
        let mut out = vec![0; 4096];
        let options = TestRunOptions { data_in: Some(frame), data_out: Some(&mut out), ..Default::default() };
        let result = program.test_run(options).unwrap_or_else(|error| panic!("run {}: {error:?}", names::XDP));
        out.truncate(usize::try_from(result.data_size_out).unwrap());
        let action = match result.return_value {
            0 => Action::Aborted,
            1 => Action::Drop,
            2 => Action::Pass,
            3 => Action::Answer,
            other => Action::Other(other),
        };
        (action, out)
    }

    /// Runs the XDP program and says under which one reason the frame was counted; panics if it was not exactly one,
    /// or if the action is not that reason's (I5).
    pub fn verdict(&self, frame: &[u8]) -> Reason {
        let before = self.counters();
        let action = self.xdp(frame);
        let after = self.counters();
        let counted: Vec<_> = Reason::ALL
            .into_iter()
            .filter(|reason| after[reason.index() as usize] != before[reason.index() as usize])
            .collect();
        let [reason] = counted[..] else { panic!("counted under {counted:?}, not once: {frame:02x?}") };
        let (before, after) = (before[reason.index() as usize], after[reason.index() as usize]);
        assert_eq!(after.packets, before.packets + 1, "{reason:?}");
        assert_eq!(after.bytes, before.bytes + frame.len() as u64, "{reason:?}");
        let expected = match reason.action() {
            reason::Action::Pass => Action::Pass,
            reason::Action::Drop => Action::Drop,
            reason::Action::Answer => Action::Answer,
        };
        assert_eq!(action, expected, "{reason:?}");
        reason
    }

    /// Packets counted under a reason so far.
    pub fn counter(&self, reason: Reason) -> u64 {
        self.counters()[reason.index() as usize].packets
    }

    /// Packets counted for an application under a reason so far.
    pub fn app_counter(&self, app: u32, reason: Reason) -> u64 {
        self.count(names::APP_COUNTERS, app_counter(app, reason)).packets
    }

    /// Packets counted, over all reasons.
    pub fn packets(&self) -> u64 {
        self.counters().iter().map(|count| count.packets).sum()
    }

    fn counters(&self) -> Vec<Count> {
        Reason::ALL.iter().map(|reason| self.count(names::COUNTERS, reason.index())).collect()
    }

    fn count(&self, map: &str, index: u32) -> Count {
        let map: PerCpuArray<_, Count> = self.ebpf.map(map).unwrap().try_into().unwrap();
        let cpus = map.get(&index, 0).expect("read a counter");
        cpus.iter().fold(Count::default(), |sum, cpu| Count {
            packets: sum.packets + cpu.packets,
            bytes: sum.bytes + cpu.bytes,
        })
    }

    /// The events since they were last asked for.
    pub fn events(&self) -> Vec<Event> {
        let mut ring: RingBuf<_> = self.ebpf.map(names::EVENTS).unwrap().try_into().unwrap();
        let mut events = Vec::new();
        while let Some(item) = ring.next() {
            events.push(bytemuck::pod_read_unaligned(&item));
        }
        events
    }

    /// What was seen of an application's segments of no connection.
    pub fn orphans(&self, app: u32) -> Orphans {
        let map: PerCpuArray<_, Orphans> = self.ebpf.map(names::ORPHANS).unwrap().try_into().unwrap();
        let cpus = map.get(&app, 0).expect("read ORPHANS");
        cpus.iter().fold(Orphans::default(), |sum, cpu| Orphans {
            segments: sum.segments + cpu.segments,
            found: sum.found + cpu.found,
        })
    }
}
