//! What an answer says of the name that was asked for: pure. Aliases are followed, whatever the type.
//!
//! hickory's own resolver follows the target of an SRV record as if it were an alias, so a service whose name is one has
//! no records there (`caching_client.rs`, `handle_noerror`).

use std::time::Duration;

use hickory_resolver::proto::rr::{Name, RData, Record, RecordType};

/// Aliases that are followed: more are a loop, or a bad joke.
pub(super) const MOST_ALIASES: usize = 8;

/// Records of one type, and how long the shortest-lived of them and of the aliases before them may be used.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Records {
    pub(super) data: Vec<RData>,
    pub(super) life: Duration,
}

/// What `answers` has of `kind`, and the name at the end of the aliases.
pub(super) fn follow(answers: &[Record], asked: &Name, kind: RecordType) -> (Name, Records) {
    let seconds = |record: &Record| Duration::from_secs(record.ttl.into());
    let mut end = asked;
    let mut life = Duration::MAX;
    for _ in 0..MOST_ALIASES {
        let alias = answers.iter().find_map(|record| match &record.data {
            RData::CNAME(alias) if record.name == *end => Some((&alias.0, record)),
            _ => None,
        });
        let Some((next, record)) = alias else { break };
        life = life.min(seconds(record));
        end = next;
    }
    let wanted = answers.iter().filter(|record| record.name == *end && record.record_type() == kind);
    let life = wanted.clone().map(seconds).fold(life, Duration::min);
    (end.clone(), Records { data: wanted.map(|record| record.data.clone()).collect(), life })
}

#[cfg(test)]
mod tests {
    use hickory_resolver::proto::rr::rdata::{A, CNAME, SRV};

    use super::*;

    fn name(text: &str) -> Name {
        Name::from_ascii(text).unwrap()
    }

    fn alias(from: &str, to: &str, ttl: u32) -> Record {
        Record::from_rdata(name(from), ttl, RData::CNAME(CNAME(name(to))))
    }

    fn service(of: &str) -> Record {
        Record::from_rdata(name(of), 60, RData::SRV(SRV::new(1, 1, 7000, name("target.example."))))
    }

    #[test]
    fn the_shortest_life_of_a_chain_counts() {
        let address = Record::from_rdata(name("c.example."), 300, RData::A(A::new(192, 0, 2, 1)));
        let other = Record::from_rdata(name("d.example."), 1, RData::A(A::new(192, 0, 2, 2)));
        let answers = [address, alias("b.example.", "c.example.", 20), other, alias("a.example.", "B.example.", 30)];
        let (end, records) = follow(&answers, &name("A.example."), RecordType::A);
        assert_eq!((end, records.life.as_secs()), (name("c.example."), 20));
        assert_eq!(records.data, [RData::A(A::new(192, 0, 2, 1))], "what was not asked for is not used");
    }

    #[test]
    fn a_service_may_be_an_alias_and_its_target_is_none() {
        let answers = [alias("_app._tcp.example.", "_app._tcp.other.", 30), service("_app._tcp.other.")];
        let (end, records) = follow(&answers, &name("_app._tcp.example."), RecordType::SRV);
        assert_eq!((end, records.data.len(), records.life.as_secs()), (name("_app._tcp.other."), 1, 30));
    }

    #[test]
    fn a_loop_ends() {
        let answers = [alias("a.example.", "b.example.", 30), alias("b.example.", "a.example.", 30)];
        assert!(follow(&answers, &name("a.example."), RecordType::A).1.data.is_empty());
    }
}
