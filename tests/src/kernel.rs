//! The real kernel programs, run on frames by `BPF_PROG_TEST_RUN`. Maps are private to each [`Kernel`]: nothing is
//! pinned or attached, so tests run in parallel and anywhere that has root and BPF.

mod apps;
mod lookup;
mod rules;
mod verdict;

use std::{error::Error as _, fs, thread};

use aya::{Ebpf, maps::Array};
use nix::sched::{CloneFlags, unshare};
use socket2::Socket;
use spectrum_common::{layout::mode, names};
use spectrum_user::dataplane::{
    image::MapImage,
    load::{Loaded, Options},
};

use self::rules::Rule;
pub use self::{
    apps::{App, Closed, EDGE, POOL, SOURCE, SOURCE_NET},
    lookup::Lookup,
    verdict::Action,
};
use crate::world::namespace::{NEEDS, require_root};

/// Runs `test` in a network namespace of its own, with nothing in it; all else is shared.
pub fn in_own_network(test: impl FnOnce() + Send + 'static) {
    require_root();
    let run = move || {
        unshare(CloneFlags::CLONE_NEWNET).unwrap_or_else(|error| panic!("make a network namespace: {error}; {NEEDS}"));
        test();
    };
    thread::spawn(run).join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
}

/// As [`in_own_network`], with a node of this application, its listener and steering, and this
/// `net.ipv4.tcp_syncookies`.
pub fn with_listener(syncookies: &'static str, app: App, test: impl FnOnce(&mut Kernel) + Send + 'static) {
    in_own_network(move || {
        fs::write("/proc/sys/net/ipv4/tcp_syncookies", syncookies).expect("write tcp_syncookies");
        let mut kernel = Kernel::node(&app);
        kernel.listen();
        kernel.attach_steering();
        test(&mut kernel);
    });
}

pub struct Kernel {
    ebpf: Ebpf,
    rules: Vec<Rule>,
    /// What the rule tries hold.
    image: MapImage,
    listener: Option<Socket>,
}

impl Kernel {
    /// Loads both programs: the verifier has accepted them when this returns.
    pub fn load() -> Self {
        Self::load_as(false)
    }

    /// As [`Self::load`], and every verdict becomes an event.
    pub fn load_explaining() -> Self {
        Self::load_as(true)
    }

    fn load_as(explain: bool) -> Self {
        require_root();
        let loaded = Loaded::load(Options { explain, ..Options::default() })
            .unwrap_or_else(|error| panic!("{error}: {:?}; {NEEDS}", error.source()));
        let ebpf = loaded.ebpf;
        Self { ebpf, rules: Vec::new(), image: MapImage::default(), listener: None }
    }

    /// Drops segments of no connection, as the daemon does while a flood lasts.
    pub fn refuse_orphans(&mut self) {
        self.set_mode(mode::REFUSE_ORPHANS);
    }

    /// Lets answers to SYNs offer timestamps, and this window scale.
    pub fn answer_with_timestamps(&mut self, scale: u32) {
        self.set_mode(mode::TIMESTAMPS | scale << mode::SCALE_SHIFT);
    }

    fn set_mode(&mut self, bits: u32) {
        let mut map: Array<_, u32> = self.ebpf.map_mut(names::MODE).unwrap().try_into().unwrap();
        map.set(0, bits, 0).expect("write MODE");
    }
}
