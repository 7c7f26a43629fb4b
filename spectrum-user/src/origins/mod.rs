//! The origins of an application while it runs: who they are, which of them live, and whose turn it is.
//!
//! Workers read, one task for each application (`keeper`) writes, both see a failure at once. Deliberately not here: the
//! dial itself (`proxy::dial`), and where the applications come from (`state`).

mod answer;
mod balance;
mod check;
mod endpoint;
mod health;
mod keeper;
mod lookup;
mod memory;
mod set;
mod tls;

use std::{
    net::{IpAddr, SocketAddr},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::Instant,
};

use arc_swap::ArcSwap;
use tokio::sync::{Notify, watch};

use self::{
    answer::Answer,
    health::{Change, Rules},
    set::Set,
};
pub use self::{
    answer::Unresolved,
    endpoint::{Endpoint, Lease},
    keeper::{Keep, Keeper},
};
use crate::model::{self, Application, Balance, DnsOrigin, DnsRecords, HealthCheck, PortRange};

/// The origins of one application, for all workers.
#[derive(Debug)]
pub struct Origins {
    /// As the log calls the application.
    name: String,
    asked: model::Origins,
    check: Option<HealthCheck>,
    /// What a check says first.
    greeting: Vec<u8>,
    /// Whom a check asks for in TLS.
    server_name: String,
    rules: Rules,
    set: ArcSwap<Set>,
    resolution: watch::Sender<Resolution>,
    turn: AtomicUsize,
    /// Told when the last of them that lived is left out.
    abandoned: Notify,
}

/// What is known of a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Resolution {
    /// The first answer is on its way.
    Pending,
    Known,
    /// There has never been a usable answer.
    Failed(Unresolved),
}

/// An origin that may be dialled for one connection.
#[derive(Clone, Debug)]
pub struct Candidate {
    pub endpoint: Arc<Endpoint>,
    pub address: SocketAddr,
}

/// For whom an origin is chosen.
#[derive(Clone, Copy, Debug)]
pub struct Wish {
    pub client: IpAddr,
    pub edge_port: u16,
    /// Those of the application's protocol.
    pub edge_ports: PortRange,
    pub balance: Balance,
}

impl Origins {
    /// `greeting`: what a health check says first, where origins expect something before what they are asked. `before`: the
    /// origins of the application as it was; what is known of those that stay is kept, and how busy they are.
    pub fn new(app: &Application, greeting: Vec<u8>, before: Option<&Self>) -> Arc<Self> {
        let (set, resolution) = match &app.origins {
            model::Origins::Direct(origins) => {
                let known = before.map(Self::endpoints).unwrap_or_default();
                (Arc::new(Set::direct(origins, &known)), Resolution::Known)
            }
            model::Origins::Dns(origin) => match before.and_then(|before| before.answer_of(origin)) {
                Some(known) => known,
                None => (Arc::new(Set::of_name(origin.records.ports())), Resolution::Pending),
            },
        };
        Arc::new(Self {
            name: format!("{} {}", app.hostname, app.protocol),
            asked: app.origins.clone(),
            check: app.health_check.clone(),
            greeting,
            server_name: server_name(app),
            rules: Rules::of(app.health_check.as_ref()),
            set: ArcSwap::new(set),
            resolution: watch::Sender::new(resolution),
            turn: AtomicUsize::new(0),
            abandoned: Notify::new(),
        })
    }

    /// Whether these are the ones that `app` asks for: then what is known of them is true for it, too.
    pub fn are_of(&self, app: &Application, greeting: &[u8]) -> bool {
        self.asked == app.origins
            && self.check == app.health_check
            && self.greeting == greeting
            && self.server_name == server_name(app)
    }

    /// What the same question was answered before.
    fn answer_of(&self, asked: &DnsOrigin) -> Option<(Arc<Set>, Resolution)> {
        match &self.asked {
            model::Origins::Dns(before) if (&before.name, before.records) == (&asked.name, asked.records) => {
                Some((self.set.load_full(), *self.resolution.borrow()))
            }
            model::Origins::Dns(_) | model::Origins::Direct(_) => None,
        }
    }

    /// What origins are called towards themselves.
    pub fn server_name(&self) -> &str {
        &self.server_name
    }

    /// Whether there is anybody to dial: asking costs nothing.
    pub fn are_known(&self) -> bool {
        self.set.load().len() > 0
    }

    /// Waits for the first answer of a name; origins by address are there from the beginning. A name of which the
    /// last question failed is not waited for.
    pub async fn known(&self) -> Result<(), Unresolved> {
        let mut resolution = self.resolution.subscribe();
        let known = match resolution.wait_for(|now| *now != Resolution::Pending).await {
            Ok(now) => *now,
            // The sender is `self`.
            Err(_) => return Err(Unresolved::Failed),
        };
        match known {
            Resolution::Failed(why) => Err(why),
            Resolution::Known | Resolution::Pending => Ok(()),
        }
    }

    /// Who may be dialled for a connection, the best first.
    pub fn candidates(&self, wish: &Wish) -> Vec<Candidate> {
        let set = self.set.load();
        let turn = if set.len() > 1 { self.turn.fetch_add(1, Relaxed) } else { 0 };
        set.ordered(wish, turn, Instant::now(), self.rules)
    }

    /// Whether candidates are addresses of one name, and not servers of their own.
    pub const fn are_one_name(&self) -> bool {
        matches!(self.asked, model::Origins::Dns(_))
    }

    /// A dial or a check came to its end.
    pub fn tell(&self, endpoint: &Endpoint, news: News<'_>) {
        match endpoint.tell(news, Instant::now(), self.rules) {
            None => {}
            Some(Change::Down) => {
                let why = if let News::DialFailed(why) | News::CheckFailed(why) = news { why } else { "" };
                log::warn!("origin {endpoint} of {} is left out: {why}", self.name);
                if self.are_dead() {
                    log::warn!("no origin of {} lives: each is tried all the same", self.name);
                    self.abandoned.notify_one();
                }
            }
            Some(Change::Up) => log::info!("origin {endpoint} of {} is back", self.name),
        }
    }

    /// Leaves one out that a process before has left out: as if what it needs for that had failed here.
    pub fn leave_out(&self, origin: &str) {
        const WHY: &str = "it was left out before";
        let news = if self.check.is_some() { News::CheckFailed(WHY) } else { News::DialFailed(WHY) };
        let Some(endpoint) = self.endpoints().into_iter().find(|endpoint| endpoint.to_string() == origin) else {
            return;
        };
        for _ in 0..MOST_FAILURES {
            if endpoint.is_up() {
                self.tell(&endpoint, news);
            }
        }
    }

    /// Every origin that is known now.
    pub fn endpoints(&self) -> Vec<Arc<Endpoint>> {
        self.set.load().endpoints()
    }

    /// Whether somebody is known, and nobody of them lives.
    fn are_dead(&self) -> bool {
        let endpoints = self.endpoints();
        !endpoints.is_empty() && !endpoints.iter().any(|endpoint| endpoint.is_up())
    }

    /// A name was resolved anew.
    fn resolved(&self, answer: &Answer) {
        let before = self.set.load();
        let set = before.renewed(answer);
        if let Some(difference) = before.difference(&set) {
            log::info!("origins of {}: {difference}", self.name);
        }
        self.set.store(Arc::new(set));
        self.resolution.send_replace(Resolution::Known);
    }

    /// Whether there has been no answer yet, and none from before this start.
    fn is_unknown(&self) -> bool {
        *self.resolution.borrow() != Resolution::Known
    }

    /// A name was not resolved: the last good answer stays.
    fn unresolved(&self, why: Unresolved) {
        self.resolution.send_if_modified(|now| {
            let never = *now != Resolution::Known;
            if never {
                *now = Resolution::Failed(why);
            }
            never
        });
    }
}

/// As many as a file can ask for before an origin is left out.
const MOST_FAILURES: u32 = 100;

/// What origins are called towards themselves: as the file says, or by the name that leads to them, or by the application's.
fn server_name(app: &Application) -> String {
    if let Some(name) = &app.tls.origin_server_name {
        return name.clone();
    }
    match &app.origins {
        model::Origins::Dns(origin) if origin.records != DnsRecords::Srv => origin.name.clone(),
        model::Origins::Dns(_) | model::Origins::Direct(_) => app.hostname.clone(),
    }
}

/// What a dial or a check says of an origin.
#[derive(Clone, Copy, Debug)]
pub enum News<'a> {
    Dialled,
    DialFailed(&'a str),
    Checked,
    CheckFailed(&'a str),
}
