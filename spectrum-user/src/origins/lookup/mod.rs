//! Asks the system's name servers for the addresses of a name, and tells at any time what is known so far.
//!
//! Deliberately not here: a cache. What is asked for is kept in the set of origins, and asked again when its time is over.

mod chain;
mod servers;

use std::{
    cmp::Reverse,
    net::IpAddr,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use futures_util::{StreamExt as _, stream};
use hickory_resolver::proto::rr::{Name, RData, RecordType};
use tokio::time::timeout;

use self::{
    chain::Records,
    servers::{QUESTION, Servers},
};
use super::answer::{Found, MOST, Missing, Record, Reply, Unresolved};
use crate::model::{AddressRecords, DnsOrigin, DnsRecords};

/// For everything: SRV records, then the addresses of their targets.
const DEADLINE: Duration = QUESTION.saturating_mul(2).saturating_add(Duration::from_secs(1));
/// Targets of SRV records that are asked for.
const MOST_TARGETS: usize = 64;
/// Questions of one lookup under way at once.
const AT_ONCE: u32 = 8;

/// One name that is asked for.
pub(super) struct Lookup<'a> {
    asked: &'a DnsOrigin,
    heard: Mutex<Heard>,
}

/// What is known so far.
struct Heard {
    /// Of the SRV records.
    life: Duration,
    parts: Vec<Part>,
    /// Why there are no parts.
    why: Unresolved,
}

/// The addresses of one family, of the name or of a target.
struct Part {
    record: Record,
    name: Name,
    is_v6: bool,
    /// None: no answer yet.
    answer: Option<Result<Records, Unresolved>>,
}

impl<'a> Lookup<'a> {
    pub(super) const fn new(asked: &'a DnsOrigin) -> Self {
        let heard = Heard { life: Duration::MAX, parts: Vec::new(), why: Unresolved::Failed };
        Self { asked, heard: Mutex::new(heard) }
    }

    /// How many questions are under way at once.
    pub(super) const fn width(&self) -> u32 {
        match self.asked.records {
            DnsRecords::Addresses(AddressRecords::Both, _) => 2,
            DnsRecords::Addresses(AddressRecords::A | AddressRecords::Aaaa, _) => 1,
            DnsRecords::Srv => AT_ONCE,
        }
    }

    /// Asks, and is done in bounded time: whoever has not answered then is missing.
    pub(super) async fn ask(&self) {
        // Read anew each time: a host that gets other name servers by DHCP is followed without a restart.
        let servers = Servers::of_this_host();
        let asking = async {
            let Ok(name) = name(&self.asked.name) else {
                self.heard().why = Unresolved::NoRecord;
                return;
            };
            match self.asked.records {
                DnsRecords::Addresses(records, _) => self.heard().add(&name, &Record::PLAIN, records),
                DnsRecords::Srv => self.ask_services(&servers, &name).await,
            }
            self.ask_addresses(&servers).await;
        };
        if timeout(DEADLINE, asking).await.is_err() {
            log::debug!("resolve {}: not all is answered after {DEADLINE:?}", self.asked.name);
        }
    }

    /// SRV records (RFC 2782).
    async fn ask_services(&self, servers: &Servers, name: &Name) {
        let answer = servers.ask(name, RecordType::SRV).await;
        let mut heard = self.heard();
        match answer {
            Ok(records) => {
                heard.life = records.life;
                heard.why = Unresolved::NoRecord;
                for (name, record) in targets(&records) {
                    heard.add(&name, &record, AddressRecords::Both);
                }
            }
            Err(why) => heard.why = why,
        }
    }

    async fn ask_addresses(&self, servers: &Servers) {
        let mut order: Vec<(bool, usize)> =
            self.heard().parts.iter().enumerate().map(|(index, part)| (part.is_v6, index)).collect();
        // Where so many are silent that time is up before all were asked, others have their turn the next time; and a
        // server that is silent about one type keeps no question of the other waiting.
        fastrand::shuffle(&mut order);
        order.sort_by_key(|(is_v6, _)| *is_v6);
        let asking = stream::iter(order).for_each_concurrent(AT_ONCE as usize, async |(is_v6, index)| {
            let Some(name) = self.heard().parts.get(index).map(|part| part.name.clone()) else { return };
            let kind = if is_v6 { RecordType::AAAA } else { RecordType::A };
            let answer = servers.ask(&name, kind).await;
            if let Some(part) = self.heard().parts.get_mut(index) {
                part.answer = Some(answer);
            }
        });
        asking.await;
    }

    /// What is known at this moment; what was not answered is missing.
    pub(super) fn so_far(&self) -> Result<Reply, Unresolved> {
        self.heard().so_far()
    }

    fn heard(&self) -> MutexGuard<'_, Heard> {
        self.heard.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Heard {
    fn add(&mut self, name: &Name, record: &Record, records: AddressRecords) {
        let families: &[bool] = match records {
            AddressRecords::A => &[false],
            AddressRecords::Aaaa => &[true],
            AddressRecords::Both => &[true, false],
        };
        self.parts.extend(families.iter().map(|is_v6| Part {
            record: record.clone(),
            name: name.clone(),
            is_v6: *is_v6,
            answer: None,
        }));
    }

    fn so_far(&self) -> Result<Reply, Unresolved> {
        // A target of a thousand addresses leaves room for the others.
        let most = MOST / (self.parts.len() / 2).max(1);
        let mut reply = Reply { found: Vec::new(), ttl: self.life, missing: Vec::new() };
        for part in &self.parts {
            match &part.answer {
                Some(Ok(records)) => {
                    reply.ttl = reply.ttl.min(records.life);
                    let addresses = records.data.iter().filter_map(address).take(most);
                    reply.found.extend(addresses.map(|address| Found { address, record: part.record.clone() }));
                }
                Some(Err(Unresolved::NoRecord)) => {}
                Some(Err(_)) | None => {
                    reply.missing.push(Missing { record: part.record.clone(), is_v6: part.is_v6 });
                }
            }
        }
        match (self.parts.is_empty(), reply.found.is_empty(), reply.missing.is_empty()) {
            (true, ..) => Err(self.why),
            (_, true, true) => Err(Unresolved::NoRecord),
            (_, true, false) => Err(Unresolved::Failed),
            (_, false, _) => Ok(reply),
        }
    }
}

/// Where SRV records lead to: those that are to be used first.
fn targets(records: &Records) -> Vec<(Name, Record)> {
    let mut targets: Vec<(Name, Record)> = records
        .data
        .iter()
        .filter_map(|data| match data {
            // A target of "." says that there is no such service.
            RData::SRV(service) if !service.target.is_root() => {
                let target = Some(service.target.to_lowercase().to_ascii().into());
                let (port, priority, weight) = (Some(service.port), service.priority, service.weight);
                Some((service.target.clone(), Record { target, port, priority, weight }))
            }
            _ => None,
        })
        .collect();
    targets.sort_by_key(|(_, record)| (record.priority, Reverse(record.weight)));
    targets.truncate(MOST_TARGETS);
    targets
}

/// A name with dots is whole; a single word is looked for in the search domains.
fn name(text: &str) -> Result<Name, Unresolved> {
    let mut name = Name::from_utf8(text).map_err(|_| Unresolved::NoRecord)?;
    name.set_fqdn(text.contains('.'));
    Ok(name)
}

fn address(data: &RData) -> Option<IpAddr> {
    match data {
        RData::A(v4) => Some(v4.0.into()),
        RData::AAAA(v6) => Some(v6.0.into()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use hickory_resolver::proto::rr::rdata::SRV;

    use super::*;

    fn service(priority: u16, weight: u16, target: &str) -> RData {
        RData::SRV(SRV::new(priority, weight, 7000, Name::from_ascii(target).unwrap()))
    }

    fn heard(answers: [Option<Result<Records, Unresolved>>; 2]) -> Heard {
        let mut heard = Heard { life: Duration::MAX, parts: Vec::new(), why: Unresolved::Failed };
        heard.add(&name("origin.example.net").unwrap(), &Record::PLAIN, AddressRecords::Both);
        for (part, answer) in heard.parts.iter_mut().zip(answers) {
            part.answer = answer;
        }
        heard
    }

    fn one() -> Records {
        Records { data: vec![RData::A(Ipv4Addr::new(192, 0, 2, 1).into())], life: Duration::from_secs(30) }
    }

    #[test]
    fn those_that_are_to_be_used_first_are_asked_for_and_a_dot_is_no_target() {
        let many = (0..100).map(|n| service(100 - n, 1, &format!("t{n}.example.net.")));
        let data = many.chain([service(0, 1, "."), service(0, 1, "A.example.net."), service(0, 7, "b.example.net.")]);
        let targets = targets(&Records { data: data.collect(), life: Duration::ZERO });
        assert_eq!(targets.len(), MOST_TARGETS);
        let names: Vec<&str> = targets.iter().map(|(_, record)| record.target.as_deref().unwrap()).take(3).collect();
        assert_eq!(names, ["b.example.net.", "a.example.net.", "t99.example.net."]);
    }

    #[test]
    fn a_family_that_is_silent_takes_nothing_from_the_other() {
        for silent in [None, Some(Err(Unresolved::Failed))] {
            let reply = heard([silent, Some(Ok(one()))]).so_far().unwrap();
            assert_eq!((reply.found.len(), reply.ttl.as_secs()), (1, 30));
            assert_eq!(reply.missing, [Missing { record: Record::PLAIN, is_v6: true }]);
        }
        let reply = heard([Some(Err(Unresolved::NoRecord)), Some(Ok(one()))]).so_far().unwrap();
        assert!(reply.missing.is_empty(), "who says that there is none has answered");
    }

    #[test]
    fn nothing_is_told_apart_from_no_answer() {
        let (none, failed) = (Some(Err(Unresolved::NoRecord)), Some(Err(Unresolved::Failed)));
        assert_eq!(heard([none.clone(), none.clone()]).so_far().unwrap_err(), Unresolved::NoRecord);
        assert_eq!(heard([none, failed]).so_far().unwrap_err(), Unresolved::Failed);
        assert_eq!(heard([None, None]).so_far().unwrap_err(), Unresolved::Failed);
    }
}
