//! The only writer of configuration maps (I7).

use std::os::fd::AsRawFd;

use aya::maps::{MapError, PerCpuValues, lpm_trie::Key};
use spectrum_common::{
    layout::{Count, Meta, ObjectId, PROTOCOL_TCP, Policy, listener_slot, mode},
    reason::SLOTS,
};

use super::{
    diff::{ClassMap, NameMap, Op},
    image::Prefix,
    maps::{ConfigMaps, TableArray},
};

/// A write that the kernel refused. What came before it is applied; the next reconcile goes on from there.
#[derive(Debug, thiserror::Error)]
#[error("{op}{}", if is_full(source) { ": the map is full" } else { "" })]
pub struct ApplyError {
    pub op: Box<Op>,
    #[source]
    pub source: MapError,
}

impl ApplyError {
    /// Whether the map has no room.
    pub fn is_full(&self) -> bool {
        is_full(&self.source)
    }
}

/// Since 6.13 an insert into a trie can find its allocator's cache empty (`bpf_mem_alloc`, refilled by an interrupt a
/// moment later) and fail with ENOMEM while there is memory.
const ENOMEM_RETRIES: u32 = 1000;

/// What the kernel programs do beyond the ordinary while protected.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Mode {
    /// Segments of no connection are dropped.
    pub refuse_orphans: bool,
    /// Answers to SYNs offer timestamps and this window scale.
    pub answer_scale: Option<u8>,
}

impl Mode {
    fn bits(self) -> u32 {
        let orphans = if self.refuse_orphans { mode::REFUSE_ORPHANS } else { 0 };
        let scale = |scale: u8| mode::TIMESTAMPS | (u32::from(scale) & mode::SCALE_MASK) << mode::SCALE_SHIFT;
        orphans | self.answer_scale.map_or(0, scale)
    }
}

impl ConfigMaps {
    /// Executes `ops` in their order. Returns how many were executed.
    pub fn apply(&mut self, ops: &[Op]) -> Result<usize, ApplyError> {
        for op in ops {
            self.retry(*op).map_err(|source| ApplyError { op: Box::new(*op), source })?;
        }
        Ok(ops.len())
    }

    /// As [`Self::apply`], for writes that take others back, of which some were never executed: each is tried, and
    /// what is not there need not be removed.
    pub fn apply_all(&mut self, ops: &[Op]) -> Result<(), ApplyError> {
        let mut failed = None;
        for op in ops {
            match self.retry(*op) {
                Err(MapError::KeyNotFound) | Ok(()) => {}
                Err(MapError::SyscallError(error)) if error.io_error.raw_os_error() == Some(libc::ENOENT) => {}
                Err(source) => failed = Some(ApplyError { op: Box::new(*op), source }),
            }
        }
        failed.map_or(Ok(()), Err)
    }

    /// Puts a table in the place of the one before: each packet meets one of them, whole.
    pub(super) fn put_geo(&mut self, table: &TableArray) -> Result<(), MapError> {
        self.geo.set(0, table, 0)
    }

    /// The same for a table of access rules.
    pub fn put_rule_table(&mut self, table: &TableArray) -> Result<(), MapError> {
        self.rule_table.set(0, table, 0)
    }

    pub fn set_meta(&mut self, meta: Meta) -> Result<(), MapError> {
        self.meta.set(0, meta, 0)
    }

    pub fn set_mode(&mut self, mode: Mode) -> Result<(), MapError> {
        self.mode.set(0, mode.bits(), 0)
    }

    /// Puts a listening TCP socket where the steering program looks for it.
    pub fn set_tcp_listener(&mut self, listener: &impl AsRawFd) -> Result<(), MapError> {
        let slot = listener_slot(PROTOCOL_TCP).unwrap_or_default();
        self.listeners.set(slot, listener, 0)
    }

    fn retry(&mut self, op: Op) -> Result<(), MapError> {
        let mut tries = 0;
        loop {
            match self.write(op) {
                Err(error) if is_enomem(&error) && tries < ENOMEM_RETRIES => {
                    tries += 1;
                    std::thread::yield_now();
                }
                result => return result,
            }
        }
    }

    fn write(&mut self, op: Op) -> Result<(), MapError> {
        match op {
            Op::Name(map, number, id) => {
                if map == NameMap::Apps {
                    self.clear_counters(number)?;
                }
                self.name(map, number, id)
            }
            Op::Forget(map, number) => self.name(map, number, ObjectId::default()),
            Op::SetRuleV4(prefix, value) => self.rules_v4.insert(&key(prefix), value, 0),
            Op::SetRuleV6(prefix, value) => self.rules_v6.insert(&key(prefix), value, 0),
            Op::SetPolicy(app, policy) => self.policies.set(app, policy, 0),
            Op::RemovePolicy(app) => self.policies.set(app, Policy::default(), 0),
            Op::SetSteer(prefix, value) => self.steer.insert(&key(prefix), value, 0),
            Op::RemoveSteer(prefix) => self.steer.remove(&key(prefix)),
            Op::RemoveRuleV4(prefix) => self.rules_v4.remove(&key(prefix)),
            Op::RemoveRuleV6(prefix) => self.rules_v6.remove(&key(prefix)),
            Op::SetClassRule(ClassMap::Asn, key, value) => self.asn_rules.insert(key, value, 0),
            Op::SetClassRule(ClassMap::Country, key, value) => self.country_rules.insert(key, value, 0),
            Op::RemoveClassRule(ClassMap::Asn, key) => self.asn_rules.remove(&key),
            Op::RemoveClassRule(ClassMap::Country, key) => self.country_rules.remove(&key),
        }
    }

    fn name(&mut self, map: NameMap, number: u32, id: ObjectId) -> Result<(), MapError> {
        match map {
            NameMap::Apps => self.apps.set(number, id, 0),
            NameMap::Rules => self.rules.set(number, id, 0),
            NameMap::Zones => self.zones.set(number, id, 0),
        }
    }

    /// A number that changes hands starts counting from zero.
    fn clear_counters(&mut self, app: u32) -> Result<(), MapError> {
        let first = app * SLOTS;
        for slot in first..first + SLOTS {
            let cpus = self.app_counters.get(&slot, 0)?.len();
            let zero = PerCpuValues::try_from(vec![Count::default(); cpus]).map_err(MapError::IoError)?;
            self.app_counters.set(slot, zero, 0)?;
        }
        Ok(())
    }
}

fn key<K: aya::Pod>(prefix: Prefix<K>) -> Key<K> {
    Key::new(prefix.bits, prefix.key)
}

/// A trie that is full says ENOSPC (`trie_update_elem`, `kernel/bpf/lpm_trie.c`).
fn is_full(error: &MapError) -> bool {
    matches!(error, MapError::SyscallError(error) if error.io_error.raw_os_error() == Some(libc::ENOSPC))
}

fn is_enomem(error: &MapError) -> bool {
    matches!(error, MapError::SyscallError(error) if error.io_error.raw_os_error() == Some(libc::ENOMEM))
}
