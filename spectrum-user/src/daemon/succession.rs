//! The start of a successor: what it takes over, and the steps that it takes together with its predecessor.
//!
//! A start that has none takes the same steps alone. So does one whose predecessor ends in between: it has all it needs
//! in its hands.

use std::{io, time::Duration};

use anyhow::Context as _;
use futures_util::future::select_all;
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use serde::de::DeserializeOwned;
use tokio::time::timeout;

use super::{Predecessor, store};
use crate::{
    config::ConfigErrors,
    handover::{Channel, Estate, FromPredecessor, FromSuccessor, Received, Shield, VERSION},
    model::Node,
};

/// A predecessor answers at once, or not at all.
const PATIENCE: Duration = Duration::from_secs(30);

/// Bytes of what a predecessor is told of an error: in JSON it may be six times as long, and a word has 64 KiB.
const LONGEST_REPORT: usize = 8 << 10;
const LONGEST_WHY: usize = 2 << 10;

/// What a start takes over, and from whom.
#[derive(Debug, Default)]
pub(super) struct Succession {
    /// None: there is no predecessor, or no more.
    predecessor: Option<Channel>,
    /// There was one when it began.
    was_begun_by_one: bool,
    pub(super) estate: Estate,
}

/// One that drains, as far as it has told.
#[derive(Debug)]
pub(super) struct Draining {
    pub(super) channel: Channel,
    pub(super) pid: u32,
    connections: u64,
    /// It has been told to end.
    dismissed: bool,
}

impl Draining {
    const fn new(channel: Channel, pid: u32) -> Self {
        Self { channel, pid, connections: 0, dismissed: false }
    }

    pub(super) const fn seen(&self) -> Predecessor {
        Predecessor { pid: self.pid, connections: self.connections }
    }
}

/// Waits until one of them tells how many connections it has left, or has gone. All that are left then.
pub(super) async fn draining(all: &mut Vec<Draining>) -> Vec<Predecessor> {
    if all.is_empty() {
        return std::future::pending().await;
    }
    let words = all.iter().map(|one| Box::pin(one.channel.receive::<FromPredecessor>()));
    let (heard, index, _) = select_all(words).await;
    match heard {
        Ok(Some(Received { word: FromPredecessor::Draining { connections }, .. })) => {
            if let Some(one) = all.get_mut(index) {
                one.connections = connections;
            }
        }
        Ok(Some(_)) => {}
        Ok(None) | Err(_) => drop(all.remove(index)),
    }
    all.iter().map(Draining::seen).collect()
}

/// Tells all of them to end, once: each cuts what it has left, and writes its events.
pub(super) fn dismiss(all: &mut [Draining]) {
    for Draining { pid, dismissed, .. } in all.iter_mut().filter(|one| !one.dismissed) {
        *dismissed = true;
        log::info!("process {pid}, which drains since an upgrade, is told to end");
        // Its channel has not ended: the number is still its own. No such number means a group of processes.
        let Some(number) = i32::try_from(*pid).ok().filter(|number| *number > 1) else { continue };
        if let Err(error) = kill(Pid::from_raw(number), Signal::SIGTERM) {
            log::warn!("process {pid} was not told to end: {error}");
        }
    }
}

/// The text, or its first lines and where the others are.
fn beginning(text: &str, most: usize) -> String {
    if text.len() <= most {
        return text.to_owned();
    }
    let end = text.floor_char_boundary(most);
    let end = text.get(..end).and_then(|few| few.rfind('\n')).unwrap_or(end);
    format!("{}\n… and more: the log has all of it, and so has `spectrum check`", text.get(..end).unwrap_or_default())
}

impl Succession {
    /// Asks the predecessor for what it has, where there is one; else the service manager.
    pub(super) async fn begin() -> anyhow::Result<Self> {
        let Some(channel) = Channel::inherited()? else {
            let estate = Estate { listeners: store::take(), ..Estate::default() };
            return Ok(Self { predecessor: None, was_begun_by_one: false, estate });
        };
        let mut succession = Self { predecessor: Some(channel), was_begun_by_one: true, estate: Estate::default() };
        let program = env!("CARGO_PKG_VERSION").to_owned();
        succession.say(&FromSuccessor::Hello { version: VERSION, program });
        let Some(channel) = &succession.predecessor else { return Ok(succession) };
        let received = timeout(PATIENCE, Estate::receive(channel)).await.context("the predecessor gives nothing")?;
        match received.context("take over from the predecessor")? {
            Some(estate) => succession.estate = estate,
            None => succession.alone(),
        }
        Ok(succession)
    }

    /// Refuses a file that speaks of another instance: its lock and its pins are others.
    pub(super) fn check(&self, node: &Node) -> anyhow::Result<()> {
        let ours = &self.estate.notes.instance;
        anyhow::ensure!(
            self.estate.lock.is_none() || node.instance.as_str() == ours,
            "node.instance cannot change in an upgrade: `{ours}` runs, the file says `{}`; stop it and start anew, or \
             change it back",
            node.instance
        );
        Ok(())
    }

    /// Returns when nobody else accepts or changes anything.
    pub(super) async fn changing(&mut self) -> anyhow::Result<()> {
        self.say(&FromSuccessor::Changing);
        match self.hear::<FromPredecessor>().await? {
            None | Some(FromPredecessor::Go) => Ok(()),
            Some(other) => anyhow::bail!("the predecessor says {other:?} where it should let go"),
        }
    }

    /// Everything is done that can fail. Returns what the predecessor knew of floods: from now on all of it is ours.
    pub(super) async fn ready(&mut self) -> anyhow::Result<Option<Shield>> {
        self.say(&FromSuccessor::Ready);
        match self.hear::<FromPredecessor>().await? {
            None => Ok(None),
            Some(FromPredecessor::Yours(shield)) => Ok(Some(shield)),
            Some(other) => anyhow::bail!("the predecessor says {other:?} where it should hand over"),
        }
    }

    /// It is served. Returns when the service manager knows by whom: those who drain, this one's predecessor and its own.
    pub(super) async fn serving(mut self) -> Vec<Draining> {
        self.say(&FromSuccessor::Serving { pid: std::process::id() });
        // Whatever it says or does not say: the work is done.
        let _ = self.hear::<FromPredecessor>().await;
        let mut draining: Vec<Draining> = std::mem::take(&mut self.estate.draining)
            .into_iter()
            .filter_map(|(pid, channel)| Some(Draining::new(Channel::new(channel).ok()?, pid)))
            .collect();
        let pid = self.estate.notes.pid;
        draining.extend(self.predecessor.map(|channel| Draining::new(channel, pid)));
        draining
    }

    /// Tells the predecessor why there is no successor.
    pub(super) fn fail(&mut self, error: &anyhow::Error) {
        let (why, report) = match error.downcast_ref::<ConfigErrors>() {
            Some(errors) => ("the file has errors".to_owned(), Some(beginning(&errors.to_string(), LONGEST_REPORT))),
            None => (beginning(&format!("{error:#}"), LONGEST_WHY), None),
        };
        self.say(&FromSuccessor::Failed { why, report });
    }

    /// Whether a predecessor started this process, also where it has left nothing.
    pub(super) const fn was_begun_by_one(&self) -> bool {
        self.was_begun_by_one
    }

    pub(super) const fn is_one(&self) -> bool {
        self.estate.lock.is_some()
    }

    fn say(&mut self, word: &FromSuccessor) {
        if self.predecessor.as_ref().is_some_and(|channel| channel.send(word).is_err()) {
            self.alone();
        }
    }

    async fn hear<T: DeserializeOwned>(&mut self) -> io::Result<Option<T>> {
        let Some(channel) = &self.predecessor else { return Ok(None) };
        let heard =
            timeout(PATIENCE, channel.receive()).await.map_err(|_| io::Error::other("the predecessor is stuck"))?;
        if let Some(Received { word, .. }) = heard? {
            return Ok(Some(word));
        }
        self.alone();
        Ok(None)
    }

    fn alone(&mut self) {
        log::warn!("the predecessor has ended before it handed over: going on without it");
        self.predecessor = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_too_long_to_be_told_is_cut_between_lines() {
        assert_eq!(beginning("one\ntwo", 7), "one\ntwo");
        let told = beginning("one\ntwo", 6);
        assert!(told.starts_with("one\n… and more"), "{told}");
        assert!(beginning(&"é".repeat(100), 9).starts_with("éééé\n"));
    }
}
