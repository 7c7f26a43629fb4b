//! One place from look to look: what is used, what is wrong with what came after it, and what may be wrong only just now.

use std::{sync::Arc, time::SystemTime};

use super::{
    chain::Certificate,
    pair::{self, Look},
    snapshot::Row,
    source::Place,
};

/// Something wrong that is told once it is seen to stay: files are replaced one after the other, directories too.
#[derive(Debug, Default)]
pub(super) struct Trouble {
    told: Option<String>,
    pending: Option<Pending>,
}

#[derive(Debug)]
struct Pending {
    problem: String,
    digest: [u8; 32],
    looks: u32,
}

/// Looks after which even something that is wrong in another way each time is told.
const PATIENCE: u32 = 5;

/// When something wrong is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Telling {
    /// There is no look after this one, or none that somebody who starts the daemon should wait for.
    AtOnce,
    OnceItStays,
}

impl Trouble {
    pub(super) fn told(&self) -> Option<&str> {
        self.told.as_deref()
    }

    /// Something is wrong. True: this is news.
    pub(super) fn seen(&mut self, problem: String, digest: [u8; 32], telling: Telling) -> bool {
        if self.told.as_ref() == Some(&problem) {
            self.pending = None;
            return false;
        }
        let looks = self.pending.as_ref().map_or(1, |pending| pending.looks + 1);
        let stays = self.pending.as_ref().is_some_and(|before| before.problem == problem && before.digest == digest);
        if telling == Telling::AtOnce || stays || looks >= PATIENCE {
            self.told = Some(problem);
            self.pending = None;
            return true;
        }
        self.pending = Some(Pending { problem, digest, looks });
        false
    }

    /// Nothing is wrong. True: this is news.
    pub(super) fn over(&mut self) -> bool {
        self.pending = None;
        self.told.take().is_some()
    }
}

#[derive(Debug)]
pub(super) struct Entry {
    place: Place,
    /// What the files looked like before they were last read; none: to be read whatever they look like.
    look: Option<Look>,
    used: Option<Used>,
    trouble: Trouble,
}

#[derive(Debug)]
struct Used {
    certificate: Arc<Certificate>,
    digest: [u8; 32],
    flaws: Vec<String>,
}

/// What a look changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Change {
    /// Another certificate, or the same with other things to say about it.
    Taken,
    /// What is there cannot be used.
    Bad,
}

impl Entry {
    pub(super) fn new(place: Place) -> Self {
        Self { place, look: None, used: None, trouble: Trouble::default() }
    }

    /// Looks at the files, and reads them if they may have changed.
    pub(super) fn look(&mut self, place: Place, now: SystemTime, telling: Telling) -> Option<Change> {
        self.place = place;
        let look = Look::at(&self.place);
        if self.look.as_ref() == Some(&look) {
            return None;
        }
        let attempt = pair::read(&self.place);
        let (change, is_settled) = match attempt.outcome {
            Ok(found) => {
                let is_over = self.trouble.over();
                let is_same =
                    self.used.as_ref().is_some_and(|used| used.digest == attempt.digest && used.flaws == found.flaws);
                if !is_same {
                    let (certificate, flaws) = (found.certificate, found.flaws);
                    self.used = Some(Used { certificate, digest: attempt.digest, flaws });
                }
                ((is_over || !is_same).then_some(Change::Taken), true)
            }
            Err(problem) => {
                let is_news = self.trouble.seen(problem.to_string(), attempt.digest, telling);
                let is_settled = self.trouble.pending.is_none() && !problem.may_pass();
                (is_news.then_some(Change::Bad), is_settled)
            }
        };
        self.look = (is_settled && !look.is_young(now)).then_some(look);
        change
    }

    pub(super) const fn is_used(&self) -> bool {
        self.used.is_some()
    }

    /// None: nobody should hear of this place yet.
    pub(super) fn row(&self) -> Option<Row> {
        let trouble = self.trouble.told().map(|problem| match self.used {
            Some(_) => format!("{problem}; the certificate that was read before is still used"),
            None => problem.to_owned(),
        });
        if self.used.is_none() && trouble.is_none() {
            return None;
        }
        let flaws = self.used.iter().flat_map(|used| used.flaws.iter().cloned());
        Some(Row {
            hostname: Some(self.place.host.clone()),
            path: self.place.chain.clone(),
            certificate: self.used.as_ref().map(|used| Arc::clone(&used.certificate)),
            problems: trouble.into_iter().chain(flaws).collect(),
        })
    }
}
