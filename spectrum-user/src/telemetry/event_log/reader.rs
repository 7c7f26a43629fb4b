//! Those who read events while they are written: nobody waits for them.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering::Relaxed},
};

use tokio::sync::mpsc::{self, error::TrySendError};

/// Lines waiting for one reader.
pub(super) const QUEUE: usize = 1024;

/// The writer's end of a reader.
#[derive(Debug)]
pub(super) struct Subscriber {
    sender: mpsc::Sender<Arc<str>>,
    missed: Arc<AtomicU64>,
}

/// Both ends of one reader.
pub(super) fn pair() -> (Subscriber, EventReader) {
    let (sender, receiver) = mpsc::channel(QUEUE);
    let missed = Arc::<AtomicU64>::default();
    (Subscriber { sender, missed: Arc::clone(&missed) }, EventReader { receiver, missed })
}

impl Subscriber {
    /// Hands a line over, or counts it as missed. Whether anybody is there still.
    pub(super) fn offer(&self, line: &Arc<str>) -> bool {
        match self.sender.try_send(Arc::clone(line)) {
            Ok(()) => true,
            Err(TrySendError::Full(_)) => {
                self.missed.fetch_add(1, Relaxed);
                true
            }
            Err(TrySendError::Closed(_)) => false,
        }
    }
}

/// Every line from its making on, except for those that it was too slow for.
#[derive(Debug)]
pub struct EventReader {
    pub(super) receiver: mpsc::Receiver<Arc<str>>,
    missed: Arc<AtomicU64>,
}

impl EventReader {
    /// Waits for the next line, without its end. None: the log is closed. Cancel safe.
    pub async fn next(&mut self) -> Option<Arc<str>> {
        self.receiver.recv().await
    }

    /// How many lines were missed since this was last asked.
    pub fn missed(&self) -> u64 {
        self.missed.swap(0, Relaxed)
    }
}
