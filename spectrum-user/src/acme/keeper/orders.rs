//! Orders under way, one task each, and whose each is.

use std::collections::HashMap;

use tokio::task::{AbortHandle, Id, JoinSet};

use crate::acme::{
    files::{Life, Pair},
    trouble::Trouble,
};

pub(super) type Outcome = Result<(Pair, Life), Trouble>;

/// Dropping it ends them.
#[derive(Default)]
pub(super) struct Orders {
    tasks: JoinSet<Outcome>,
    hosts: HashMap<Id, (String, AbortHandle)>,
}

pub(super) struct Ended {
    pub(super) host: String,
    pub(super) outcome: Outcome,
}

impl Orders {
    pub(super) fn len(&self) -> usize {
        self.hosts.len()
    }

    pub(super) fn begin(&mut self, host: &str, order: impl Future<Output = Outcome> + Send + 'static) {
        let task = self.tasks.spawn(order);
        self.hosts.insert(task.id(), (host.to_owned(), task));
    }

    /// Ends the others, and says which.
    pub(super) fn retain(&mut self, is_wanted: impl Fn(&str) -> bool) -> Vec<String> {
        let ended = self.hosts.extract_if(|_, (host, _)| !is_wanted(host));
        ended
            .map(|(_, (host, task))| {
                task.abort();
                host
            })
            .collect()
    }

    /// The next one that ends by itself; none while there are none.
    pub(super) async fn next(&mut self) -> Option<Ended> {
        loop {
            let (id, outcome) = match self.tasks.join_next_with_id().await? {
                Ok((id, outcome)) => (id, outcome),
                Err(error) => {
                    let words = "a bug of this program ended the order, see its log";
                    (error.id(), Err(Trouble::new(words)))
                }
            };
            // Those that were ended are in nobody's books.
            if let Some((host, _)) = self.hosts.remove(&id) {
                return Some(Ended { host, outcome });
            }
        }
    }
}
