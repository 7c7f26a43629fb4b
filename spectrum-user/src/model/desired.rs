//! Everything that the data plane and the proxy should do, as one immutable value.

use std::{
    collections::{HashMap, hash_map::Entry},
    net::IpAddr,
};

use super::{AccessRule, AppId, Application, Edge, PortRange, Responder, Transport, ZoneId};

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DesiredState {
    pub edge: Edge,
    pub zones: Vec<Zone>,
    /// Those that share an (edge address, transport, port) have all ports of it in common, differ in the names of their
    /// `sni`, and are one to the kernel: the same zone, `ip_firewall`, `syn_cookies` and rates.
    pub applications: Vec<Application>,
    pub rules: Vec<AccessRule>,
    /// None of them at an (edge address, port) of an application.
    pub responders: Vec<Responder>,
}

/// Which application stands for all that share an address and its ports: what the kernel counts, it counts for this one.
#[derive(Debug, Default)]
pub struct Leaders(HashMap<(IpAddr, Transport, PortRange), Leader>);

#[derive(Debug)]
struct Leader {
    id: AppId,
    /// Whether clients that ask for no name are its own.
    takes_others: bool,
    sharing: Vec<AppId>,
}

impl Leaders {
    /// The one that takes clients without a name, or else the one whose id is the first.
    pub fn of(desired: &DesiredState) -> Self {
        let mut leaders = HashMap::new();
        for app in &desired.applications {
            let takes_others = app.sni.is_empty();
            for address in &app.addresses {
                match leaders.entry((*address, app.protocol.transport, app.protocol.ports)) {
                    Entry::Vacant(vacant) => {
                        vacant.insert(Leader { id: app.id, takes_others, sharing: Vec::new() });
                    }
                    Entry::Occupied(mut occupied) => occupied.get_mut().join(app.id, takes_others),
                }
            }
        }
        Self(leaders)
    }

    /// Whether this application stands for all at this address of its own.
    pub fn leads(&self, app: &Application, address: IpAddr) -> bool {
        self.at(app, address).is_none_or(|leader| leader.id == app.id)
    }

    /// The applications that this one stands for, beside itself; some of them more than once.
    pub fn led_by<'l>(&'l self, app: &'l Application) -> impl Iterator<Item = AppId> + 'l {
        let leaders = app.addresses.iter().filter_map(|address| self.at(app, *address));
        leaders.filter(|leader| leader.id == app.id).flat_map(|leader| leader.sharing.iter().copied())
    }

    fn at(&self, app: &Application, address: IpAddr) -> Option<&Leader> {
        self.0.get(&(address, app.protocol.transport, app.protocol.ports))
    }
}

impl Leader {
    fn join(&mut self, id: AppId, takes_others: bool) {
        let before = (!self.takes_others, self.id);
        if (!takes_others, id) < before {
            self.sharing.push(std::mem::replace(&mut self.id, id));
            self.takes_others = takes_others;
        } else {
            self.sharing.push(id);
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Zone {
    pub id: ZoneId,
    pub name: String,
}
