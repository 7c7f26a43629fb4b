//! Sends a flood from one core, as fast as that core makes frames and has them received: without threaded NAPI the
//! receive path of a veth pair runs where the frame was sent, so the two share the core and nothing is lost between.

use std::io;
use std::os::fd::AsFd as _;
use std::os::unix::thread::JoinHandleExt as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow};
use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, sigaction};
use nix::time::{ClockId, clock_gettime};
use spectrum_tests::test_run;

use super::cores;
use super::shape::Sender;
use crate::load::pause;
use crate::world::Namespace;

/// Frames that a burst is measured by first.
const TRIAL: u32 = 32_768;

/// What was sent in a span of the flood's core.
#[derive(Clone, Copy, Debug)]
pub(super) struct Burst {
    pub(super) frames: u64,
    /// Wall clock.
    pub(super) seconds: f64,
    /// Processor time of the sending thread, which includes the softirqs that run on top of it.
    pub(super) busy: f64,
}

/// Sends for about `span` on the calling thread, which must be in the right namespace and on the flood's core.
pub(super) fn burst(sender: &Sender, span: Duration) -> Result<Burst> {
    let send = |frames| test_run::send(sender.program.as_fd(), &sender.frame, frames);
    // One call for the rest: each ends with waiting for the pages that are still under way.
    let trial = processor_time()?;
    send(TRIAL)?;
    let trial = processor_time()?.saturating_sub(trial).as_secs_f64().max(f64::EPSILON);
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "it saturates, and is positive")]
    let frames = (f64::from(TRIAL) * span.as_secs_f64() / trial) as u32;
    let frames = frames.max(TRIAL);
    let (start, busy) = (Instant::now(), processor_time()?);
    send(frames)?;
    let busy = processor_time()?.saturating_sub(busy).as_secs_f64();
    Ok(Burst { frames: frames.into(), seconds: start.elapsed().as_secs_f64(), busy })
}

fn processor_time() -> Result<Duration> {
    Ok(clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID)?.into())
}

/// A flood in the background, without a pause; it ends when this is dropped.
pub(super) struct Flood {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<Result<()>>>,
}

impl Flood {
    pub(super) fn start(from: &Namespace, sender: Sender) -> Result<Self> {
        install_interruption()?;
        let stop: Arc<AtomicBool> = Arc::default();
        let stopped = Arc::clone(&stop);
        // The namespace belongs to the thread; a thread that is started inside is inside.
        let thread = from.run(|| {
            Ok(thread::spawn(move || {
                cores::flood()?;
                while !stopped.load(Ordering::Relaxed) {
                    match test_run::send(sender.program.as_fd(), &sender.frame, u32::MAX) {
                        Err(error) if is_interruption(&error) => {}
                        answer => answer?,
                    }
                }
                Ok(())
            }))
        })?;
        Ok(Self { stop, thread: Some(thread) })
    }

    /// Ends it, and says if it could not be sent.
    pub(super) fn end(mut self) -> Result<()> {
        self.interrupt()
    }

    fn interrupt(&mut self) -> Result<()> {
        self.stop.store(true, Ordering::Relaxed);
        let Some(thread) = self.thread.take() else { return Ok(()) };
        while !thread.is_finished() {
            // Again and again: the first may come between the look at `stop` and the call.
            // SAFETY: the thread has not been joined, so its identity is valid.
            unsafe { libc::pthread_kill(thread.as_pthread_t(), INTERRUPTION as i32) };
            pause(Duration::from_millis(5));
        }
        thread.join().map_err(|_| anyhow!("the flood's thread panicked"))?
    }
}

impl Drop for Flood {
    fn drop(&mut self) {
        // Whoever cares how it ended calls `end`.
        let _ = self.interrupt();
    }
}

/// What ends the system call that sends: the kernel looks for signals between its batches.
const INTERRUPTION: Signal = Signal::SIGUSR1;

/// Makes the signal do nothing but that.
fn install_interruption() -> Result<()> {
    extern "C" fn nothing(_: libc::c_int) {}
    let action = SigAction::new(SigHandler::Handler(nothing), SaFlags::empty(), SigSet::empty());
    // SAFETY: a handler that does nothing is safe at any moment.
    unsafe { sigaction(INTERRUPTION, &action) }.context("handle the signal that ends a flood")?;
    Ok(())
}

fn is_interruption(error: &anyhow::Error) -> bool {
    error.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::Interrupted)
}
