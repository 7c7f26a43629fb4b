//! What floods look like while they last, and what the heaviest moment of one looked like when it is over.

use std::{collections::HashMap, time::Instant};

use spectrum_common::Reason;

use super::{View, flood_event::Account};
use crate::{
    dataplane::events::Sample,
    model::AppId,
    shield::{Form, Kind, Likeness, Looks, Portraits, TcpFlags},
};

/// What is left of the past with each look, in quarters: the last two seconds weigh most.
const FADE: (u64, u64) = (3, 4);

/// With less than one part in so many of its heaviest moment a flood is calm, and what is seen is others'.
const CALM: u64 = 10;

/// Sees every sampled packet for an application that no rule blocks.
#[derive(Debug, Default)]
pub(super) struct Witness {
    portraits: Portraits<AppId>,
    floods: HashMap<(Kind, AppId), Remembered>,
}

/// A flood that is under way.
#[derive(Clone, Debug)]
struct Remembered {
    since: Instant,
    /// Packets in its heaviest moment.
    most: u64,
    /// Of that moment.
    portrait: Vec<Likeness>,
}

impl Witness {
    pub(super) fn see(&mut self, sample: &Sample, view: &View) {
        // A sample of the drops alone would count twice. What a rule stops does not flood any more.
        if sample.weight > 0
            && sample.reason != Reason::Blocked
            && let Some(app) = sample.app.and_then(|number| view.app_id(number))
        {
            self.portraits.add(app, &looks(sample), sample.weight);
        }
    }

    /// Time passes.
    pub(super) fn fade(&mut self) {
        let (keep, of) = FADE;
        self.portraits.fade(keep, of);
    }

    /// A flood that is under way: what it looks like now, and in a calm moment what it looked like.
    pub(super) fn under_way(&mut self, kind: Kind, app: AppId) -> Account {
        let meant = |form| is_of(kind, form);
        let (weight, portrait) = (self.portraits.weight(app, meant), self.portraits.of(app, meant));
        let new = || Remembered { since: Instant::now(), most: 0, portrait: Vec::new() };
        let remembered = self.floods.entry((kind, app)).or_insert_with(new);
        if weight >= remembered.most {
            remembered.most = weight;
            remembered.portrait.clone_from(&portrait);
        }
        let is_calm = weight < remembered.most / CALM;
        let portrait = if is_calm { remembered.portrait.clone() } else { portrait };
        Account { lasted: remembered.since.elapsed(), portrait }
    }

    /// A flood that is over: what its heaviest moment looked like.
    pub(super) fn over(&mut self, kind: Kind, app: AppId) -> Account {
        let remembered = self.floods.remove(&(kind, app));
        remembered
            .map_or_else(Account::default, |flood| Account { lasted: flood.since.elapsed(), portrait: flood.portrait })
    }
}

fn looks(sample: &Sample) -> Looks {
    let header = sample.header();
    Looks {
        form: Form { protocol: sample.protocol, flags: sample.tcp_flags.map(TcpFlags) },
        length: header.ip_length,
        ttl: header.ttl,
        window: header.tcp_window,
        options: header.tcp_options,
        source_port: sample.source_port,
        destination_port: sample.destination_port,
    }
}

/// Whether packets of this form are what a flood of this kind is made of.
fn is_of(kind: Kind, form: Form) -> bool {
    form.flags.is_some_and(|flags| flags.asks() == (kind == Kind::Syn))
}
