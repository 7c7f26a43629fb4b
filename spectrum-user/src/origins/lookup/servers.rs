//! The name servers of this host, and one question to them: each in its turn, as glibc does it (`resolv.conf(5)`).
//!
//! hickory's own resolver asks two at once and takes the first word, even where that is a refusal
//! (`name_server_pool.rs`, `try_send`). So each server is a pool of its own here.

use std::{
    fs,
    net::{Ipv4Addr, Ipv6Addr},
    sync::Arc,
    time::Duration,
};

use hickory_resolver::{
    Hosts, NameServerPool, PoolContext, TlsConfig,
    config::{ResolverConfig, ResolverOpts},
    lookup::Lookup,
    net::{
        NetError,
        runtime::TokioRuntimeProvider,
        xfer::{DnsHandle as _, FirstAnswer as _},
    },
    proto::{
        op::{DnsRequestOptions, DnsResponse, Query},
        rr::{Name, RData, RecordType},
    },
    system_conf::parse_resolv_conf,
};
use tokio::time::{Instant, timeout};

use super::chain::{MOST_ALIASES, Records, follow};
use crate::origins::answer::Unresolved;

/// For one question, all servers, attempts and aliases together: whatever `resolv.conf` says.
pub(super) const QUESTION: Duration = Duration::from_millis(4500);
/// As many servers as glibc asks.
const MOST_SERVERS: usize = 3;
const MOST_ATTEMPTS: usize = 3;
/// Domains in which a single word is looked for.
const MOST_DOMAINS: usize = 6;

/// What this host's files say of names.
pub(super) struct Servers {
    /// In the file's order.
    pools: Vec<NameServerPool<TokioRuntimeProvider>>,
    options: ResolverOpts,
    domains: Vec<Name>,
    hosts: Hosts,
}

impl Servers {
    /// What cannot be read is as if it were empty.
    pub(super) fn of_this_host() -> Self {
        let text = fs::read("/etc/resolv.conf").unwrap_or_default();
        let (config, mut options) = parse(&text).unwrap_or_else(|error| {
            log::warn!("/etc/resolv.conf cannot be used, no name server is asked: {error}");
            Default::default()
        });
        let one_try = options.timeout.clamp(Duration::from_secs(1), QUESTION);
        options.timeout = QUESTION;
        let context =
            |options: &ResolverOpts| Some(Arc::new(PoolContext::new(options.clone(), TlsConfig::new().ok()?)));
        let pools = config
            .name_servers
            .iter()
            .take(MOST_SERVERS)
            .filter_map(|server| {
                let provider = TokioRuntimeProvider::default();
                Some(NameServerPool::from_config([server.clone()], context(&options)?, provider))
            })
            .collect();
        options.timeout = one_try;
        let domains = if config.search.is_empty() { config.domain.into_iter().collect() } else { config.search };
        Self { pools, options, domains, hosts: Hosts::from_system().unwrap_or_default() }
    }

    /// Records of one type; a single word is looked for in the search domains, then as it is.
    pub(super) async fn ask(&self, name: &Name, kind: RecordType) -> Result<Records, Unresolved> {
        if let Some(known) = self.known_without_asking(name, kind) {
            return known;
        }
        let deadline = Instant::now() + QUESTION;
        let mut why = Unresolved::NoRecord;
        for name in self.whole_names(name) {
            match self.resolve(name, kind, deadline).await {
                Ok(records) => return Ok(records),
                Err(Unresolved::NoRecord) => {}
                Err(failed) => why = failed,
            }
        }
        Err(why)
    }

    /// What `/etc/hosts` says of a name is all there is of it, as with `hosts: files dns` of `nsswitch.conf(5)`.
    fn known_without_asking(&self, name: &Name, kind: RecordType) -> Option<Result<Records, Unresolved>> {
        let of_kind = |kind| self.hosts.lookup_static_host(&Query::query(name.clone(), kind));
        let (v4, v6) = match kind {
            RecordType::A | RecordType::AAAA => (of_kind(RecordType::A), of_kind(RecordType::AAAA)),
            _ => return None,
        };
        let mut data: Vec<RData> = [v4, v6].into_iter().flatten().flat_map(|lookup| all(&lookup)).collect();
        // RFC 6761, section 6.3.
        if data.is_empty() && name.is_localhost() {
            data = vec![RData::A(Ipv4Addr::LOCALHOST.into()), RData::AAAA(Ipv6Addr::LOCALHOST.into())];
        }
        if data.is_empty() {
            return None;
        }
        data.retain(|data| data.record_type() == kind);
        Some(if data.is_empty() { Err(Unresolved::NoRecord) } else { Ok(Records { data, life: Duration::MAX }) })
    }

    fn whole_names(&self, name: &Name) -> Vec<Name> {
        let mut whole = name.clone();
        whole.set_fqdn(true);
        if name.is_fqdn() {
            return vec![whole];
        }
        let within =
            self.domains.iter().take(MOST_DOMAINS).filter_map(|domain| name.clone().append_domain(domain).ok());
        within.chain([whole]).collect()
    }

    async fn resolve(&self, mut name: Name, kind: RecordType, deadline: Instant) -> Result<Records, Unresolved> {
        let mut life = Duration::MAX;
        for _ in 0..MOST_ALIASES {
            let response = self.answer(&Query::query(name.clone(), kind), deadline).await?;
            let (end, records) = follow(&response.answers, &name, kind);
            life = life.min(records.life);
            if !records.data.is_empty() {
                return Ok(Records { life, ..records });
            }
            // An alias whose end is not in the answer is asked for.
            if end == name {
                break;
            }
            name = end;
        }
        Err(Unresolved::NoRecord)
    }

    /// The first answer that is one: who refuses, fails or is silent leaves it to the next.
    async fn answer(&self, query: &Query, deadline: Instant) -> Result<DnsResponse, Unresolved> {
        let mut options = DnsRequestOptions::default();
        options.use_edns = self.options.edns0;
        let tries = self.pools.len() * self.options.attempts.clamp(1, MOST_ATTEMPTS);
        let mut left = u32::try_from(tries).unwrap_or(u32::MAX);
        for pool in self.pools.iter().cycle().take(tries) {
            // So that the last one, too, has its time.
            let share = deadline.saturating_duration_since(Instant::now()) / left.max(1);
            left = left.saturating_sub(1);
            match timeout(share.min(self.options.timeout), pool.lookup(query.clone(), options).first_answer()).await {
                Ok(Ok(response)) => return Ok(response),
                Ok(Err(error)) if error.is_no_records_found() => return Err(Unresolved::NoRecord),
                Ok(Err(error)) => log::debug!("resolve {query}: {error}"),
                Err(_) => log::debug!("resolve {query}: no answer"),
            }
        }
        Err(Unresolved::Failed)
    }
}

/// Without any server it is the one of this host (`resolv.conf(5)`).
fn parse(text: &[u8]) -> Result<(ResolverConfig, ResolverOpts), NetError> {
    parse_resolv_conf(text).or_else(|_| parse_resolv_conf([text, b"\nnameserver 127.0.0.1\n"].concat()))
}

fn all(lookup: &Lookup) -> Vec<RData> {
    lookup.answers().iter().map(|record| record.data.clone()).collect()
}

#[cfg(test)]
mod tests {
    use hickory_resolver::proto::rr::rdata::A;

    use super::*;

    fn of(resolv_conf: &str, hosts: &str) -> Servers {
        let (config, options) = parse(resolv_conf.as_bytes()).unwrap();
        let mut file = Hosts::default();
        file.read_hosts_conf(hosts.as_bytes()).unwrap();
        Servers { pools: Vec::new(), options, domains: config.search, hosts: file }
    }

    fn name(text: &str) -> Name {
        super::super::name(text).unwrap()
    }

    #[test]
    fn a_file_without_a_server_means_the_one_of_this_host() {
        for text in ["", "options timeout:1", "# nameserver 192.0.2.1\n", "nameserver\n"] {
            let (config, _) = parse(text.as_bytes()).unwrap();
            assert_eq!(config.name_servers.len(), 1, "{text}");
            assert_eq!(config.name_servers[0].ip, Ipv4Addr::LOCALHOST, "{text}");
        }
    }

    #[test]
    fn a_single_word_is_looked_for_in_the_search_domains_first() {
        let servers = of("nameserver 192.0.2.1\nsearch one.example two.example", "");
        let names = |text| servers.whole_names(&name(text)).iter().map(Name::to_ascii).collect::<Vec<_>>();
        assert_eq!(names("db"), ["db.one.example.", "db.two.example.", "db."]);
        assert_eq!(names("db.internal"), ["db.internal."]);
    }

    #[tokio::test]
    async fn what_is_in_the_hosts_file_is_asked_of_nobody() {
        let servers = of("", "192.0.2.1 db DB.example.net\n192.0.2.2 db\n");
        for word in ["db", "db.example.net"] {
            assert_eq!(servers.ask(&name(word), RecordType::A).await.unwrap().data[0], RData::A(A::new(192, 0, 2, 1)));
            assert_eq!(servers.ask(&name(word), RecordType::AAAA).await, Err(Unresolved::NoRecord));
        }
        assert_eq!(servers.ask(&name("db"), RecordType::A).await.unwrap().data.len(), 2);
        assert_eq!(servers.ask(&name("localhost"), RecordType::AAAA).await.unwrap().data.len(), 1);
        assert_eq!(servers.ask(&name("other.example.net"), RecordType::A).await, Err(Unresolved::Failed));
    }
}
