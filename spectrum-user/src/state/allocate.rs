//! Gives addresses of the pools to the hostnames that ask for them. Pure: the same input, the same addresses.
//!
//! A hostname keeps what it has as long as that is still to be had. New ones get the lowest free address, in the order
//! of their names. All applications of a hostname share its addresses; each uses those of the families it asks for.
//! `connectivity = "all"` asks for the families that there are pools of, and for both where there are none.

use std::{
    collections::{BTreeMap, HashSet},
    net::IpAddr,
};

use super::{
    assignments::{Assignments, Family},
    pool::Pool,
};
use crate::{
    config::{self, Config, ConfigErrors, Declared, Fault, Findings},
    model::{Application, Connectivity, DesiredState, EdgeIps},
};

/// The desired state, and the assignments it rests on.
pub fn allocate(
    config: &Config,
    existing: &Assignments,
    host_addresses: &[IpAddr],
) -> Result<(DesiredState, Assignments), ConfigErrors> {
    let findings = Findings::new(&config.source);
    config::check_host(&findings, &config.edge, &config.pools, &config.applications, host_addresses);
    let assignments = assign(&findings, config, existing, host_addresses);
    let applications = config.applications.iter().map(|declared| place(declared, &assignments)).collect();
    findings.finish()?;
    let desired = DesiredState {
        edge: config.edge.clone(),
        zones: config.zones.clone(),
        applications,
        rules: config.rules.clone(),
        // What else this host listens on is not known here.
        responders: Vec::new(),
    };
    Ok((desired, assignments))
}

fn assign(findings: &Findings<'_>, config: &Config, existing: &Assignments, host_addresses: &[IpAddr]) -> Assignments {
    let wanted = wanted(config);
    let mut pools: Vec<Pool> = config.edge.pools.iter().map(|prefix| Pool::new(*prefix)).collect();
    let mut taken: HashSet<IpAddr> = host_addresses.iter().map(IpAddr::to_canonical).collect();
    taken.extend(config.applications.iter().flat_map(fixed));
    let mut assignments = Assignments::default();
    for (hostname, wish) in &wanted {
        for family in wish.families() {
            let kept = existing.of(hostname).of(family);
            let kept = kept.filter(|address| pools.iter().any(|pool| pool.gives(*address)) && !taken.contains(address));
            if let Some(address) = kept {
                taken.insert(address);
                assignments.set(hostname, address);
            }
        }
    }
    for (hostname, wish) in &wanted {
        for family in wish.families() {
            if assignments.of(hostname).of(family).is_some() {
                continue;
            }
            let mut of_family = pools.iter_mut().filter(|pool| pool.family() == family);
            if let Some(address) = of_family.find_map(|pool| pool.next_free(|address| taken.contains(&address))) {
                taken.insert(address);
                assignments.set(hostname, address);
                continue;
            }
            findings.error(&wish.first.places.edge_ips, exhausted(hostname, family, &pools));
            // Without any pool there is nothing to be said about the other family.
            if pools.is_empty() {
                break;
            }
        }
    }
    assignments
}

/// What the applications of a hostname ask for together.
struct Wish<'c> {
    ipv4: bool,
    ipv6: bool,
    first: &'c Declared,
}

impl Wish<'_> {
    fn families(&self) -> impl Iterator<Item = Family> + use<> {
        let (ipv4, ipv6) = (self.ipv4, self.ipv6);
        Family::BOTH.into_iter().filter(move |family| match family {
            Family::V4 => ipv4,
            Family::V6 => ipv6,
        })
    }
}

fn wanted(config: &Config) -> BTreeMap<&str, Wish<'_>> {
    let mut wanted = BTreeMap::new();
    let has = |family| config.edge.pools.iter().any(|pool| Pool::new(*pool).family() == family);
    for application in &config.applications {
        let EdgeIps::Dynamic(connectivity) = application.edge_ips else { continue };
        let none = Wish { ipv4: false, ipv6: false, first: application };
        let wish = wanted.entry(application.hostname.as_str()).or_insert(none);
        let all = connectivity == Connectivity::All;
        wish.ipv4 |= connectivity.ipv4() && !(all && has(Family::V6) && !has(Family::V4));
        wish.ipv6 |= connectivity.ipv6() && !(all && has(Family::V4) && !has(Family::V6));
    }
    wanted
}

fn fixed(application: &Declared) -> Vec<IpAddr> {
    match &application.edge_ips {
        EdgeIps::Static(ips) => ips.clone(),
        EdgeIps::Dynamic(_) => Vec::new(),
    }
}

fn place(declared: &Declared, assignments: &Assignments) -> Application {
    let mut addresses = match &declared.edge_ips {
        EdgeIps::Static(ips) => ips.clone(),
        EdgeIps::Dynamic(connectivity) => {
            let asked = |address: &IpAddr| asks_for(*connectivity, *address);
            assignments.of(&declared.hostname).iter().filter(asked).collect()
        }
    };
    addresses.sort();
    declared.at(addresses)
}

fn asks_for(connectivity: Connectivity, address: IpAddr) -> bool {
    match address {
        IpAddr::V4(_) => connectivity.ipv4(),
        IpAddr::V6(_) => connectivity.ipv6(),
    }
}

fn exhausted(hostname: &str, family: Family, pools: &[Pool]) -> Fault {
    let word = family.as_str();
    let example = match family {
        Family::V4 => "198.51.100.0/24",
        Family::V6 => "2001:db8:51::/64",
    };
    let sizes: Vec<_> = pools.iter().filter(|pool| pool.family() == family).map(Pool::describe).collect();
    if sizes.is_empty() {
        return Fault::new(format!("no {word} edge address for `{hostname}`: there is no {word} pool"))
            .code(12005)
            .help(format!("add one to `pools` of [edge], such as \"{example}\", or give it static edge_ips"));
    }
    Fault::new(format!("no {word} edge address is left for `{hostname}`: all of {} are in use", sizes.join(" and ")))
        .code(12005)
        .help("add a pool, let applications share a hostname, or remove one")
}
