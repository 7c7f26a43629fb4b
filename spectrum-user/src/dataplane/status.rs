//! What is attached where, as the kernel and the pins say: true with and without a daemon.

use serde::{Deserialize, Serialize};
use spectrum_common::{
    Reason,
    layout::{Count, Owner},
};

use super::{
    attach,
    geo::GeoStatus,
    image::MapImage,
    maps::{ConfigMaps, CounterMaps, MapSource},
    netlink::Netlink,
    pins::Pins,
    rule_table::RuleTableStatus,
    sys::{self, LinkTarget},
};

/// One instance as it is in the kernel.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KernelStatus {
    pub pins: String,
    /// `load` or `run`: who made it, and who takes it away.
    pub owner: String,
    /// Revision that was applied last.
    pub revision: u64,
    pub steering: Option<LinkStatus>,
    pub interfaces: Vec<InterfaceStatus>,
    pub entries: Entries,
    /// The table of access rules, where there is one.
    #[serde(default)]
    pub rule_table: Option<RuleTableStatus>,
    /// The table of networks and countries, where there is one.
    #[serde(default)]
    pub geo: Option<GeoStatus>,
    pub counters: Vec<ReasonCount>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LinkStatus {
    pub link_id: u32,
    pub program_id: u32,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct InterfaceStatus {
    pub name: String,
    /// `native`, `generic`, or `gone` where the interface is.
    pub mode: String,
    #[serde(flatten)]
    pub link: LinkStatus,
}

/// How full the configuration maps are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entries {
    pub applications: usize,
    pub steer: usize,
    pub rules_v4: usize,
    pub rules_v6: usize,
    #[serde(default)]
    pub asn_rules: usize,
    #[serde(default)]
    pub country_rules: usize,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReasonCount {
    pub reason: String,
    pub packets: u64,
    pub bytes: u64,
}

impl ReasonCount {
    fn new(reason: Reason, count: Count) -> Self {
        Self { reason: reason.as_str().to_owned(), packets: count.packets, bytes: count.bytes }
    }
}

/// Reads the state of what is pinned; none where nothing is, or not yet everything.
pub async fn status(pins: &Pins, netlink: &Netlink) -> anyhow::Result<Option<KernelStatus>> {
    if ConfigMaps::read_meta(pins).is_none_or(|meta| meta.layout == 0) {
        return Ok(None);
    }
    let maps = ConfigMaps::open(MapSource::Pins(pins))?;
    let counters = CounterMaps::open(MapSource::Pins(pins))?;
    let meta = maps.meta()?;
    let image = maps.dump()?;
    Ok(Some(KernelStatus {
        pins: pins.directory().display().to_string(),
        owner: if meta.owner == Owner::Load as u32 { "load" } else { "run" }.to_owned(),
        revision: meta.revision,
        steering: steering(pins)?,
        interfaces: interfaces(pins, netlink).await?,
        entries: entries(&image),
        rule_table: maps.rule_table_status(),
        geo: maps.geo_status(),
        counters: total(&counters)?,
    }))
}

/// Packets and bytes by reason, all reasons, in their order.
pub fn total(counters: &CounterMaps) -> anyhow::Result<Vec<ReasonCount>> {
    Reason::ALL.into_iter().map(|reason| Ok(ReasonCount::new(reason, counters.total(reason)?))).collect()
}

/// As [`total`], for one application's number, and only reasons that occurred.
pub fn of_app(counters: &CounterMaps, app: u32) -> anyhow::Result<Vec<ReasonCount>> {
    let mut found = Vec::new();
    for reason in Reason::ALL {
        let count = counters.of_app(app, reason)?;
        if count.packets > 0 {
            found.push(ReasonCount::new(reason, count));
        }
    }
    Ok(found)
}

fn entries(image: &MapImage) -> Entries {
    Entries {
        applications: image.apps.len(),
        steer: image.steer.len(),
        rules_v4: image.rules_v4.len(),
        rules_v6: image.rules_v6.len(),
        asn_rules: image.asn_rules.len(),
        country_rules: image.country_rules.len(),
    }
}

fn steering(pins: &Pins) -> anyhow::Result<Option<LinkStatus>> {
    let Some(link) = attach::pinned(&pins.steer_link())? else { return Ok(None) };
    let link = sys::link(&link)?;
    Ok(Some(LinkStatus { link_id: link.id, program_id: link.program_id }))
}

async fn interfaces(pins: &Pins, netlink: &Netlink) -> anyhow::Result<Vec<InterfaceStatus>> {
    let present = netlink.interfaces().await?;
    let mut found = Vec::new();
    for (name, path) in pins.xdp_links() {
        let Some(link) = attach::pinned(&path)? else { continue };
        let link = sys::link(&link)?;
        let interface =
            present.iter().find(|interface| link.target == LinkTarget::Interface { index: interface.index });
        let mode = match interface {
            None => "gone",
            Some(interface) => interface.xdp.map_or("detached", |xdp| xdp.mode.as_str()),
        };
        let link = LinkStatus { link_id: link.id, program_id: link.program_id };
        found.push(InterfaceStatus { name, mode: mode.to_owned(), link });
    }
    Ok(found)
}
