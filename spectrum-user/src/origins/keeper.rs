//! Keeps the origins of all applications up to date, on a thread of its own: resolves names, checks health.
//!
//! Connections never ask a resolver: they take what is known. So the number of questions depends on the number of names
//! and on the lives of their records, and not on the traffic.

use std::{
    io,
    net::IpAddr,
    path::Path,
    pin::pin,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    thread,
    time::{Duration, SystemTime},
};

use futures_util::{StreamExt as _, stream};
use tokio::{
    runtime::Builder,
    sync::{Semaphore, oneshot, watch},
    task::{JoinHandle, JoinSet, spawn_blocking},
    time::{Instant, MissedTickBehavior, interval_at, sleep, sleep_until, timeout},
};

use super::{
    News, Origins,
    answer::{Answer, Found, Missing, Reply, SHORTEST, Unresolved, again_after},
    check::{Trouble, check},
    lookup::Lookup,
    memory::Memory,
};
use crate::{
    listen::Sources,
    model::{self, DnsOrigin, DnsRecords, HealthCheck, PortRange, no_host},
};

/// Questions to name servers, and checks, under way at once: more wait for their turn. A question takes up to three sockets
/// (hickory sends it again from another port).
const QUESTIONS: usize = 32;
const CHECKS: usize = 64;

/// How long an answer may take before a part of it serves, or a remembered one.
const LONG: Duration = Duration::from_secs(2);
/// How often new answers are written down.
const WRITING: Duration = Duration::from_secs(10);

/// Whose origins are kept.
pub trait Keep: Send + Sync + 'static {
    fn origins(&self) -> Vec<Arc<Origins>>;

    /// Whether an address and port belong to the edge itself: dialling it would never end.
    fn is_edge(&self, address: IpAddr, ports: PortRange) -> bool;
}

/// The running thread. Dropping it ends it.
#[derive(Debug)]
pub struct Keeper {
    stop: Option<oneshot::Sender<()>>,
    thread: Option<thread::JoinHandle<()>>,
}

/// What the tasks share.
struct Shared<T> {
    published: watch::Receiver<Arc<T>>,
    sources: Sources,
    questions: Semaphore,
    checks: Semaphore,
    memory: Mutex<Memory>,
}

impl Keeper {
    /// Follows what is published, in the calling thread's network namespace.
    ///
    /// `memory`: the file in which answers outlive this process.
    pub fn start<T: Keep>(published: watch::Receiver<Arc<T>>, sources: Sources, memory: &Path) -> io::Result<Self> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let memory = Memory::open(memory);
        let (stop, stopped) = oneshot::channel();
        let thread = thread::Builder::new().name("origins".to_owned()).spawn(move || {
            runtime.block_on(async {
                tokio::select! {
                    () = follow(published, sources, memory) => {}
                    _ = stopped => {}
                }
            });
        })?;
        Ok(Self { stop: Some(stop), thread: Some(thread) })
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        drop(self.stop.take());
        if self.thread.take().is_some_and(|thread| thread.join().is_err()) {
            log::error!("the thread that keeps the origins has panicked");
        }
    }
}

/// One task for each value of origins, as long as it is published.
async fn follow<T: Keep>(mut published: watch::Receiver<Arc<T>>, sources: Sources, memory: Memory) {
    let shared = Arc::new(Shared {
        published: published.clone(),
        sources,
        questions: Semaphore::new(QUESTIONS),
        checks: Semaphore::new(CHECKS),
        memory: Mutex::new(memory),
    });
    let mut writing = interval_at(Instant::now() + WRITING, WRITING);
    let mut written: Option<JoinHandle<()>> = None;
    let mut kept: Vec<(Arc<Origins>, JoinSet<()>)> = Vec::new();
    loop {
        let wanted = published.borrow_and_update().origins();
        // Dropping the set ends its tasks.
        kept.retain(|(origins, _)| wanted.iter().any(|wanted| Arc::ptr_eq(wanted, origins)));
        for origins in wanted {
            if !kept.iter().any(|(known, _)| Arc::ptr_eq(known, &origins)) {
                let tasks = keep(&origins, &shared);
                kept.push((origins, tasks));
            }
        }
        loop {
            tokio::select! {
                changed = published.changed() => match changed {
                    Ok(()) => break,
                    // Nobody publishes any more: what is kept stays kept.
                    Err(_) => std::future::pending().await,
                },
                // A slow disk keeps nobody waiting, and is not asked for more.
                _ = writing.tick(), if written.as_ref().is_none_or(JoinHandle::is_finished) => {
                    let edition = shared.memory().edition(SystemTime::now());
                    written = edition.map(|edition| spawn_blocking(|| edition.write()));
                }
            }
        }
    }
}

fn keep<T: Keep>(origins: &Arc<Origins>, shared: &Arc<Shared<T>>) -> JoinSet<()> {
    let mut tasks = JoinSet::new();
    if let model::Origins::Dns(asked) = origins.asked.clone() {
        let (origins, shared) = (Arc::clone(origins), Arc::clone(shared));
        tasks.spawn(for_ever(move || {
            let (origins, asked, shared) = (Arc::clone(&origins), asked.clone(), Arc::clone(&shared));
            async move { resolve(&origins, &asked, &shared).await }
        }));
    }
    if let Some(asked) = origins.check.clone() {
        let (origins, shared) = (Arc::clone(origins), Arc::clone(shared));
        tasks.spawn(for_ever(move || {
            let (origins, asked, shared) = (Arc::clone(&origins), asked.clone(), Arc::clone(&shared));
            async move { check_all(&origins, &asked, &shared).await }
        }));
    }
    tasks
}

/// Begins a task anew that panicked: a bug must not leave an application with what was known at that moment.
async fn for_ever<F: Future<Output = ()> + Send + 'static>(task: impl Fn() -> F) {
    loop {
        // Dropping the set ends what runs in it.
        let mut running = JoinSet::new();
        running.spawn(task());
        if let Some(Err(error)) = running.join_next().await {
            log::error!("a bug of this program: what keeps origins up to date begins anew: {error}");
        }
        sleep(SHORTEST).await;
    }
}

/// How much of a name is answered, the worst last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Answered {
    All,
    InPart,
    Not,
}

/// Asks when the answer before has had its time, or sooner where something of it failed, or none of its addresses lives.
async fn resolve<T: Keep>(origins: &Origins, asked: &DnsOrigin, shared: &Shared<T>) {
    // The worst since all was well: each is told once.
    let mut told = Answered::All;
    let (mut failures, mut deserted) = (0_u32, 0_u32);
    loop {
        let asked_at = Instant::now();
        let outcome = answer(origins, asked, shared).await;
        let (answered, ttl) = match &outcome {
            Ok((ttl, missing)) if missing.is_empty() => (Answered::All, *ttl),
            Ok((ttl, _)) => (Answered::InPart, *ttl),
            Err(_) => (Answered::Not, Duration::MAX),
        };
        if answered == Answered::All && told != Answered::All || answered > told {
            tell(&asked.name, &outcome);
        }
        if let Err(why) = outcome {
            recall(origins, asked, shared);
            origins.unresolved(why);
        }
        let is_well = answered == Answered::All;
        (told, failures) = if is_well { (answered, 0) } else { (told.max(answered), failures.saturating_add(1)) };
        deserted = if origins.are_dead() { deserted.saturating_add(1) } else { 0 };
        let reasons = [failures, deserted].into_iter().filter(|times| *times > 0);
        let again = reasons.map(again_after).fold(ttl, Duration::min);
        tokio::select! {
            () = sleep_until(asked_at + again) => {}
            () = origins.abandoned.notified() => sleep_until(asked_at + SHORTEST).await,
        }
    }
}

fn tell(name: &str, outcome: &Result<(Duration, Vec<Missing>), Unresolved>) {
    match outcome {
        Ok((_, missing)) if missing.is_empty() => log::info!("{name} resolves again"),
        Ok((_, missing)) => {
            let some: Vec<String> = missing.iter().take(MOST_TOLD).map(ToString::to_string).collect();
            log::warn!("{name}: no answer about {}; what was known of them stays in use", some.join(", "));
        }
        Err(why) => log::warn!("{name} does not resolve: {why}; what was known before stays in use"),
    }
}

/// Parts of a question that one line of the log names.
const MOST_TOLD: usize = 4;

/// Asks, and puts the answer to use: what there is of it, and for the rest what was known before. How long it may be used,
/// and what of it is missing.
async fn answer<T: Keep>(
    origins: &Origins,
    asked: &DnsOrigin,
    shared: &Shared<T>,
) -> Result<(Duration, Vec<Missing>), Unresolved> {
    let lookup = Lookup::new(asked);
    let mut asking = pin!(async {
        // Never closed.
        let _turn = shared.questions.acquire_many(lookup.width()).await;
        lookup.ask().await;
    });
    if timeout(LONG, &mut asking).await.is_err() {
        match lookup.so_far().and_then(|reply| shared.judge(origins, asked, &reply)) {
            Ok(answer) => origins.resolved(&answer),
            Err(_) => recall(origins, asked, shared),
        }
        asking.await;
    }
    let reply = lookup.so_far()?;
    let answer = shared.judge(origins, asked, &reply)?;
    shared.memory().keep(asked, &answer.origins, reply.missing.is_empty(), SystemTime::now());
    origins.resolved(&answer);
    Ok((answer.ttl, reply.missing))
}

/// What the name resolved to before this start, where nothing is known since.
fn recall<T: Keep>(origins: &Origins, asked: &DnsOrigin, shared: &Shared<T>) {
    if !origins.is_unknown() {
        return;
    }
    let Some(found) = shared.memory().recall(asked, SystemTime::now()) else { return };
    // Its time is over as soon as there is an answer.
    if let Ok(answer) = shared.usable(asked, found, SHORTEST) {
        log::warn!("{}: no answer yet, what it resolved to before this start is in use", asked.name);
        origins.resolved(&answer);
    }
}

impl<T: Keep> Shared<T> {
    /// What a reply and what was known before come to.
    fn judge(&self, origins: &Origins, asked: &DnsOrigin, reply: &Reply) -> Result<Answer, Unresolved> {
        let known = if origins.is_unknown() {
            self.memory().recall(asked, SystemTime::now()).unwrap_or_default()
        } else {
            origins.set.load().found()
        };
        self.usable(asked, reply.with(&known), reply.ttl)
    }

    /// What of all this may be used.
    fn usable(&self, asked: &DnsOrigin, found: Vec<Found>, ttl: Duration) -> Result<Answer, Unresolved> {
        let table = self.published.borrow().clone();
        let mut refused: Option<(IpAddr, usize)> = None;
        let answer = Answer::new(found, ttl, asked.ttl, |one| {
            let ports = match (one.record.port, asked.records) {
                (Some(port), _) => PortRange::single(port).ok(),
                (None, DnsRecords::Addresses(_, ports)) => Some(ports),
                (None, DnsRecords::Srv) => None,
            };
            let refuses = no_host(one.address).is_some() || ports.is_none_or(|ports| table.is_edge(one.address, ports));
            if refuses {
                refused = Some(refused.map_or((one.address, 0), |(first, more)| (first, more + 1)));
            }
            refuses
        });
        if let Some((first, more)) = refused {
            let more = if more > 0 { format!(" (and {more} more)") } else { String::new() };
            log::warn!("{} resolves to {first}{more}, which cannot be an origin: it is left out", asked.name);
        }
        answer
    }

    fn memory(&self) -> MutexGuard<'_, Memory> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What the tasks learned last.
impl<T> Drop for Shared<T> {
    fn drop(&mut self) {
        let memory = self.memory.get_mut().unwrap_or_else(PoisonError::into_inner);
        if let Some(edition) = memory.edition(SystemTime::now()) {
            edition.write();
        }
    }
}

async fn check_all<T: Keep>(origins: &Origins, asked: &HealthCheck, shared: &Shared<T>) {
    // Not all applications at the same moment.
    let first = Instant::now() + asked.interval.mul_f64(fastrand::f64()).min(FIRST);
    let mut ticks = interval_at(first, asked.interval);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let told = AtomicBool::new(false);
    loop {
        ticks.tick().await;
        let endpoints = stream::iter(origins.endpoints());
        endpoints
            .for_each_concurrent(CHECKS, async |endpoint| {
                let _turn = shared.checks.acquire().await;
                let outcome = check(origins, asked, endpoint.check_address(asked.port), &shared.sources).await;
                match &outcome {
                    Ok(()) => origins.tell(&endpoint, News::Checked),
                    Err(Trouble::Origin(why)) => origins.tell(&endpoint, News::CheckFailed(why)),
                    Err(Trouble::Here(why)) if !told.swap(true, Relaxed) => {
                        log::warn!("origin {endpoint} of {} is not checked: {why}", origins.name);
                    }
                    Err(Trouble::Here(_)) => {}
                }
            })
            .await;
    }
}

/// A new origin is checked soon, however long the interval is.
const FIRST: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_task_that_panics_begins_anew() {
        let begun = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&begun);
        let task = for_ever(move || {
            let turn = count.fetch_add(1, Relaxed);
            async move {
                assert!(turn > 1, "as the test wants");
                std::future::pending::<()>().await;
            }
        });
        assert!(timeout(Duration::from_mins(1), task).await.is_err());
        assert_eq!(begun.load(Relaxed), 3);
    }
}
