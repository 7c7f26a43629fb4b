//! A daemon that gets next to no CPU time while a flood keeps its samples coming: it is late, and answers.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on panics: that is its report")]

use std::{
    process::{Child, Command},
    time::Duration,
};

use spectrum_tests::{
    World, config, wait,
    world::trafgen::{self, Flood},
};

/// Somebody else's work, on every core.
struct Busy(Vec<Child>);

impl Busy {
    fn start(world: &World) -> Self {
        let cores = std::thread::available_parallelism().unwrap().get();
        let start = |_| {
            let mut shell = Command::new("sh");
            shell.args(["-c", "while :; do :; done"]);
            world.origin().namespace().start(shell)
        };
        // Beside two of them a thread at nice 19 has less than a hundredth of a core (`sched_prio_to_weight`, kernel/sched/core.c).
        Self((0..2 * cores).map(start).collect())
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        for child in &mut self.0 {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

#[test]
fn who_asks_gets_an_answer_however_late() {
    let world = World::new();
    world.client().take_answers();
    let origin = world.origin().echo();
    let mut edge = world.edge().run(config().app("tcp/443").origin(origin.addr()));
    // The thread that all questions go to; its workers keep what they have.
    let pid = edge.pid().to_string();
    world.edge().stdout("renice", &["-n", "19", "-p", &pid]);
    let syn = trafgen::syns_to(443);
    let flood = Flood::of(&world, &syn, 12_000);
    let busy = Busy::start(&world);
    // Until there are more samples than it has time for.
    wait::pause(Duration::from_secs(4));
    // On a machine that does more than this one answer may come too late. A daemon without turns never gave any.
    let is_answered = |_| world.edge().spectrum(&["rule", "list"]).status.success();
    assert!((0..6).any(is_answered));
    drop((busy, flood));
    assert!(edge.terminate().success());
}
