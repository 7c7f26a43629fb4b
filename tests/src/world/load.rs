//! Clients that connect, ask and close, one connection after the other, until they are told to end.

use std::{
    io::{Read as _, Write as _},
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

use super::client::{Client, connect};
use crate::wait::{self, DEADLINE};

/// What became of all connections.
#[derive(Debug, Default)]
pub struct Tally {
    /// Answered, and each answer right.
    pub answered: u64,
    /// What happened to the others, in words.
    pub failed: Vec<String>,
}

pub struct Load {
    ended: Arc<AtomicBool>,
    answered: Arc<AtomicU64>,
    clients: Vec<JoinHandle<Vec<String>>>,
}

impl Load {
    /// So many clients, of whom each keeps its connections for so long and asks all the while.
    pub fn begin(client: &Client, edge: SocketAddr, clients: usize, lasting: Duration) -> Self {
        let (ended, answered) = (Arc::<AtomicBool>::default(), Arc::<AtomicU64>::default());
        let clients = (0..clients).map(|number| {
            let (ended, answered) = (Arc::clone(&ended), Arc::clone(&answered));
            client.namespace().spawn(move || {
                let mut failed = Vec::new();
                for turn in 0.. {
                    if ended.load(Relaxed) {
                        break;
                    }
                    let question = format!("client {number}, turn {turn}, {}", "x".repeat(turn % 700));
                    match ask(edge, question.as_bytes(), lasting) {
                        Ok(()) => drop(answered.fetch_add(1, Relaxed)),
                        Err(error) => failed.push(format!("client {number}, turn {turn}: {error}")),
                    }
                }
                failed
            })
        });
        let clients = clients.collect();
        Self { ended, answered, clients }
    }

    pub fn answered(&self) -> u64 {
        self.answered.load(Relaxed)
    }

    /// Waits until more have been answered than now.
    pub fn goes_on(&self) {
        let now = self.answered();
        wait::eventually("clients are answered", || (self.answered() > now + 5).then_some(()));
    }

    pub fn end(self) -> Tally {
        self.ended.store(true, Relaxed);
        let failed = self.clients.into_iter().flat_map(|client| client.join().expect("clients do not panic"));
        Tally { failed: failed.collect(), answered: self.answered.load(Relaxed) }
    }
}

impl Tally {
    /// Every connection was accepted and answered, and none was reset.
    pub fn assert_all_answered(&self) {
        let few: Vec<&String> = self.failed.iter().take(8).collect();
        assert!(self.failed.is_empty(), "{} answered, {} not: {few:#?}", self.answered, self.failed.len());
        assert!(self.answered > 0, "nobody asked");
    }
}

/// One connection: asks until its time is over, and once at least.
fn ask(edge: SocketAddr, question: &[u8], lasting: Duration) -> Result<(), String> {
    let said = |step: &'static str| move |error: std::io::Error| format!("{step}: {error}");
    let begun = Instant::now();
    let mut stream = connect(None, edge, DEADLINE).map_err(said("connect"))?;
    loop {
        stream.write_all(question).map_err(said("ask"))?;
        let mut answer = vec![0; question.len()];
        stream.read_exact(&mut answer).map_err(said("read the answer"))?;
        if answer != question {
            return Err("another answer than to the question".to_owned());
        }
        if begun.elapsed() >= lasting {
            break;
        }
        wait::pause(Duration::from_millis(20));
    }
    stream.shutdown(std::net::Shutdown::Write).map_err(said("close"))?;
    match stream.read(&mut [0]) {
        Ok(0) => Ok(()),
        Ok(_) => Err("more than was asked for".to_owned()),
        Err(error) => Err(format!("wait for the end: {error}")),
    }
}
