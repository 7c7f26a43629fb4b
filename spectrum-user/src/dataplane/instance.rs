//! An instance in the kernel, from nothing to filtering and back: the table of contents of this folder.
//!
//! Each step is safe to be cut short by `kill -9`: the next start finds pins and goes on from there.

use std::{
    io,
    os::fd::OwnedFd,
    path::{Path, PathBuf},
};

use aya::maps::MapError;
use spectrum_common::{
    layout::{self, Meta, ObjectId, Owner},
    limits,
};

use super::{
    apply::{ApplyError, Mode},
    attach::{self, AttachError, AttachedXdp, Filtering},
    bpffs::{self, BpffsError},
    diagnostics::Diagnostics,
    diff::{NameMap, Op, diff},
    found,
    geo::PutError,
    image::{ImageError, MapImage, image},
    load::{LoadError, Loaded, Options},
    lock::{Lock, LockError},
    maps::{ConfigMaps, MapSource, OpenMapError},
    memory::TableError,
    netlink::{Netlink, NetlinkError},
    numbers::Names,
    pins::Pins,
    rule_table::RuleTable,
    rules::{self, RuleChange},
};
use crate::{
    geo::Table,
    model::{AccessRule, DesiredState, Filter, GeoMemory, Instance},
};

#[derive(Debug, thiserror::Error)]
pub enum InstanceError {
    #[error(transparent)]
    Lock(#[from] LockError),
    #[error(transparent)]
    Bpffs(#[from] BpffsError),
    #[error(
        "the pins in {path} have layout {found}, this build has layout {}: unload them with the build that loaded them, or with `spectrum unload`",
        layout::VERSION
    )]
    OtherLayout { path: PathBuf, found: u32 },
    #[error("{path} is not what this build pins there ({what}): remove it with `spectrum unload`")]
    ForeignPin { path: PathBuf, what: String },
    #[error(
        "instance `{other}` is loaded in this network namespace already: unload it, or give this one a namespace of its own"
    )]
    NotAlone { other: Instance },
    #[error("pins in {path}")]
    Pins {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error(transparent)]
    Load(#[from] LoadError),
    #[error(transparent)]
    Map(#[from] OpenMapError),
    #[error("read the configuration maps")]
    Read(#[source] MapError),
    #[error(transparent)]
    Image(#[from] ImageError),
    #[error("write the configuration maps")]
    Apply(#[from] ApplyError),
    #[error("write the map META")]
    Meta(#[source] MapError),
    #[error(transparent)]
    Attach(#[from] AttachError),
    #[error(transparent)]
    Netlink(#[from] NetlinkError),
    #[error(transparent)]
    Geo(#[from] PutError),
    #[error("make a table of access rules")]
    MakeTable(#[source] TableError),
    #[error("put the table of access rules in place")]
    PutTable(#[source] MapError),
    #[error("write the map MODE")]
    Mode(#[source] MapError),
    #[error("put the listening socket into the map LISTENERS")]
    Listen(#[source] MapError),
}

/// What a change came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    pub revision: u64,
    /// Writes to the maps.
    pub writes: usize,
    /// Which applications and rules the maps' numbers stand for.
    pub apps: Names,
    pub rules: Names,
    /// Pools that somebody else's route makes local: it was left alone.
    pub foreign_routes: Vec<ipnet::IpNet>,
}

/// The programs and maps of one instance, in the hands of this process.
pub struct KernelInstance {
    pins: Pins,
    loaded: Loaded,
    maps: ConfigMaps,
    owner: Owner,
    adopted: bool,
    attached: Vec<AttachedXdp>,
    lock: Lock,
    /// What the maps hold as far as this process knows: what it wrote last, without any failure since.
    applied: Option<MapImage>,
    /// What the programs ask about rules by prefix, as far as this process has made it and nothing failed since.
    table: Option<RuleTable>,
}

/// What a change of rules came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RuleReport {
    pub revision: u64,
    pub writes: usize,
    /// Numbers that mean another rule from now on, or none.
    pub renamed: Vec<(u32, Option<ObjectId>)>,
}

impl KernelInstance {
    /// Loads the programs over pinned maps, adopting those that are there. Nothing is attached yet.
    pub fn open(instance: &Instance, owner: Owner, log_level: u8) -> Result<Self, InstanceError> {
        let lock = Lock::acquire(instance)?;
        bpffs::ensure()?;
        let pins = Pins::of(instance);
        let found = found::check(&pins)?;
        found::alone(instance)?;
        let opened = Self::load(pins.clone(), found, owner, log_level, lock);
        if opened.is_err() && found.is_none() {
            found::clear(&pins);
        }
        opened
    }

    /// As [`Self::open`], beside the process that holds the instance and gave `lock` away.
    pub fn share(instance: &Instance, owner: Owner, log_level: u8, lock: OwnedFd) -> Result<Self, InstanceError> {
        let lock = Lock::share(instance, lock)?;
        let pins = Pins::of(instance);
        let found = found::check(&pins)?;
        found::alone(instance)?;
        Self::load(pins, found, owner, log_level, lock)
    }

    fn load(pins: Pins, found: Option<Meta>, owner: Owner, log_level: u8, lock: Lock) -> Result<Self, InstanceError> {
        pins.create().map_err(|source| InstanceError::Pins { path: pins.directory().to_owned(), source })?;
        let loaded = Loaded::load(Options { pins: Some(&pins), log_level, ..Options::default() })?;
        let mut maps = ConfigMaps::open(MapSource::Pins(&pins))?;
        // What `spectrum load` made stays when a daemon that joined it leaves.
        let owner = match found {
            Some(meta) if meta.owner == Owner::Load as u32 => Owner::Load,
            _ => owner,
        };
        let revision = found.map_or(0, |meta| meta.revision);
        maps.set_meta(Meta { layout: layout::VERSION, owner: owner as u32, revision }).map_err(InstanceError::Meta)?;
        Ok(Self {
            pins,
            loaded,
            maps,
            owner,
            adopted: found.is_some(),
            attached: Vec::new(),
            lock,
            applied: None,
            table: None,
        })
    }

    /// Makes the kernel do what `desired` says: maps first, then routes, so that no address is local before it is filtered.
    pub async fn reconcile(&mut self, desired: &DesiredState, netlink: &Netlink) -> Result<Report, InstanceError> {
        // Only what is read counts: whatever went wrong before, or came from elsewhere, heals now.
        self.applied = None;
        let have = self.maps.dump().map_err(InstanceError::Read)?;
        let want = image(desired, &have)?;
        let mut ops = diff(&have, &want);
        if is_crowded(&have, &want) {
            // Entries of somebody else fill a map: they go first, or nothing could be set.
            ops.sort_by_key(|op| !matches!(op, Op::RemoveRuleV4(_) | Op::RemoveRuleV6(_)));
        }
        for op in &ops {
            log::debug!("{op}");
        }
        let table = self.table.take();
        let writes = self.maps.apply(&ops)?;
        self.table = self.tabulate(table, &want, &ops)?;
        let foreign_routes = netlink.route_pools(&desired.edge.pools).await?;
        let revision = self.advance()?;
        let (apps, rules) = (want.apps.clone(), want.rules.clone());
        self.applied = Some(want);
        Ok(Report { revision, writes, apps, rules, foreign_routes })
    }

    /// Writes a change of a few access rules, without reading what all the others say; `rules` are all there are after
    /// it. What the kernel refuses is taken back. None: it takes [`Self::reconcile`].
    pub fn change_rules<'a>(
        &mut self,
        change: RuleChange<'_>,
        rules: impl Iterator<Item = &'a AccessRule>,
    ) -> Result<Option<RuleReport>, InstanceError> {
        let Some(mut image) = self.applied.take() else { return Ok(None) };
        let ops = match rules::ops(&image, change, rules) {
            Ok(ops) => ops,
            Err(refused) => {
                // Nothing was written.
                self.applied = Some(image);
                return Err(refused.into());
            }
        };
        if let Err(error) = self.maps.apply(&ops) {
            match self.maps.apply_all(&rules::undo(&image, &ops)) {
                Ok(()) => self.applied = Some(image),
                Err(again) => {
                    self.table = None;
                    log::error!("the rules before could not be put back: {:#}", anyhow::Error::new(again));
                }
            }
            return Err(error.into());
        }
        let mut renamed = Vec::new();
        for op in &ops {
            log::debug!("{op}");
            match *op {
                Op::Name(NameMap::Rules, number, id) => renamed.push((number, Some(id))),
                Op::Forget(NameMap::Rules, number) => renamed.push((number, None)),
                _ => {}
            }
            image.write(*op);
        }
        let table = self.table.take();
        self.table = self.tabulate(table, &image, &ops)?;
        let revision = self.advance()?;
        self.applied = Some(image);
        Ok(Some(RuleReport { revision, writes: ops.len(), renamed }))
    }

    /// Lets the table say what the tries say after `ops`: `table`, where it can follow, or a new one.
    fn tabulate(
        &mut self,
        table: Option<RuleTable>,
        image: &MapImage,
        ops: &[Op],
    ) -> Result<Option<RuleTable>, InstanceError> {
        if let Some(mut table) = table
            && table.follow(image, ops)
        {
            return Ok(Some(table));
        }
        let (table, follows) = match RuleTable::of(image) {
            Ok(table) => (table, true),
            Err(error) => {
                let error = anyhow::Error::new(error);
                log::warn!(
                    "access rules are looked up in their tries, which is slower, for want of a table: {error:#}"
                );
                (RuleTable::that_asks().map_err(InstanceError::MakeTable)?, false)
            }
        };
        self.maps.put_rule_table(table.array()).map_err(InstanceError::PutTable)?;
        Ok(follows.then_some(table))
    }

    /// How many rules have a number, and how many prefixes of each family stand in the tries.
    pub fn fill(&self) -> (usize, usize, usize) {
        self.applied.as_ref().map_or((0, 0, 0), |image| (image.rules.len(), image.rules_v4.len(), image.rules_v6.len()))
    }

    fn advance(&mut self) -> Result<u64, InstanceError> {
        let revision = self.maps.meta().map_err(InstanceError::Read)?.revision + 1;
        let meta = Meta { layout: layout::VERSION, owner: self.owner as u32, revision };
        self.maps.set_meta(meta).map_err(InstanceError::Meta)?;
        Ok(revision)
    }

    /// Puts the table of networks and countries in the place of the one before. Returns the bytes that it takes.
    pub fn set_geo(&mut self, table: &Table, memory: GeoMemory) -> Result<usize, InstanceError> {
        Ok(self.maps.set_geo(table, memory)?)
    }

    /// Attaches the programs, or puts them in the place of the ones that pinned links hold.
    pub async fn attach(&mut self, filter: &Filter, netlink: &Netlink) -> Result<(), InstanceError> {
        attach::steer(&mut self.loaded, &self.pins)?;
        self.attached = self.filtering(filter, netlink).attach().await?;
        Ok(())
    }

    /// Attaches to interfaces that were recreated since. Returns whether there were any.
    pub async fn follow(&mut self, filter: &Filter, netlink: &Netlink) -> Result<bool, InstanceError> {
        let again = self.filtering(filter, netlink).follow().await?;
        for new in &again {
            self.attached.retain(|old| old.interface != new.interface);
        }
        let any = !again.is_empty();
        self.attached.extend(again);
        Ok(any)
    }

    fn filtering<'a>(&'a mut self, filter: &'a Filter, netlink: &'a Netlink) -> Filtering<'a> {
        Filtering { loaded: &mut self.loaded, pins: &self.pins, netlink, filter }
    }

    pub fn set_mode(&mut self, mode: Mode) -> Result<(), InstanceError> {
        self.maps.set_mode(mode).map_err(InstanceError::Mode)
    }

    /// Leads every steered TCP connection to `listener` and the sockets that share its port.
    pub fn listen(&mut self, listener: &impl std::os::fd::AsRawFd) -> Result<(), InstanceError> {
        self.maps.set_tcp_listener(listener).map_err(InstanceError::Listen)
    }

    /// Tells the command line where this process can be asked.
    pub fn announce(&mut self, socket: &Path) -> Result<(), InstanceError> {
        Ok(self.lock.announce(socket)?)
    }

    pub fn attached(&self) -> &[AttachedXdp] {
        &self.attached
    }

    pub fn pins(&self) -> &Pins {
        &self.pins
    }

    /// Whether pins of an earlier process were taken over.
    pub fn adopted(&self) -> bool {
        self.adopted
    }

    /// What the programs log; silence where the level is 0.
    pub fn diagnostics(&mut self) -> anyhow::Result<Diagnostics> {
        Diagnostics::open(&mut self.loaded)
    }

    /// A descriptor of the lock, for the process that takes this instance over.
    pub fn lock(&self) -> io::Result<OwnedFd> {
        self.lock.duplicate()
    }

    /// Leaves everything as it is: another process has taken it over.
    pub fn leave(self) {
        self.lock.leave();
    }

    /// Ends this process's part: what `spectrum load` made stays, all else goes.
    pub async fn release(self, netlink: &Netlink) -> Result<(), InstanceError> {
        match self.owner {
            Owner::Load => Ok(()),
            Owner::Run => self.remove(netlink).await,
        }
    }

    /// Takes everything away: routes first, so that no address stays local without its filter.
    pub async fn remove(self, netlink: &Netlink) -> Result<(), InstanceError> {
        let Self { pins, loaded, maps, .. } = self;
        drop((maps, loaded));
        take_away(&pins, netlink).await
    }
}

/// Whether the rules of before and after do not fit together. Those of one file and the next always do.
fn is_crowded(have: &MapImage, want: &MapImage) -> bool {
    let v4 = want.rules_v4.keys().filter(|prefix| !have.rules_v4.contains_key(prefix)).count();
    let v6 = want.rules_v6.keys().filter(|prefix| !have.rules_v6.contains_key(prefix)).count();
    have.rules_v4.len() + v4 > limits::RULE_PREFIXES || have.rules_v6.len() + v6 > limits::RULE_PREFIXES
}

/// `spectrum unload`: takes an instance away, whatever state and layout it is in. False: there was nothing.
pub async fn unload(instance: &Instance, netlink: &Netlink) -> Result<bool, InstanceError> {
    let _lock = Lock::acquire(instance)?;
    let pins = Pins::of(instance);
    let routes = netlink.pool_routes().await?;
    if !pins.exist() && routes.is_empty() {
        return Ok(false);
    }
    attach::check_here(&pins)?;
    take_away(&pins, netlink).await?;
    Ok(true)
}

async fn take_away(pins: &Pins, netlink: &Netlink) -> Result<(), InstanceError> {
    for pool in netlink.pool_routes().await? {
        netlink.remove_pool_route(pool).await?;
    }
    pins.remove().map_err(|source| InstanceError::Pins { path: pins.directory().to_owned(), source })?;
    bpffs::release();
    Ok(())
}
