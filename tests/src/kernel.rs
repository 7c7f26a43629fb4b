//! The real kernel programs, run on frames by `BPF_PROG_TEST_RUN`. Maps are private to each [`Kernel`]: nothing is
//! pinned or attached, so tests run in parallel and anywhere that has root and BPF.

mod lookup;

use std::{
    error::Error as _,
    fs::File,
    io::ErrorKind,
    net::{IpAddr, SocketAddr, TcpListener},
    ops::RangeInclusive,
    thread,
};

use aya::{
    Ebpf, Pod, TestRun as _, TestRunOptions,
    maps::{Array, ArrayOfMaps, HashMap, LpmTrie, Map, MapError, PerCpuArray, RingBuf, SockMap, lpm_trie::Key},
    programs::{SkLookup, Xdp},
};
use ipnet::IpNet;
use nix::sched::{CloneFlags, unshare};
use socket2::{Domain, Socket, Type};
use spectrum_common::{
    Reason,
    geo::{self, Class},
    layout::{
        ClassKey, Count, Event, Orphans, PROTOCOL_TCP, PROTOCOL_UDP, Policy, RuleKeyV4, RuleKeyV6, RuleValue,
        SCOPE_USER, SteerKey, SteerValue, app_counter, listener_slot, mode, steer_flags,
    },
    names, steer,
};
use spectrum_user::{
    dataplane::{
        geo::array,
        load::{Loaded, Options},
        maps::GeoTable,
    },
    geo::Table,
    model::{GeoMemory, Target},
};

pub use self::lookup::Lookup;
use crate::world::namespace::{NEEDS, require_root};

/// What XDP did with a frame, by the names of `enum xdp_action`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    Aborted,
    Drop,
    Pass,
    /// `XDP_TX`.
    Answer,
    Other(u32),
}

/// An application, or a part of one: these ports of this address.
#[expect(clippy::struct_excessive_bools, reason = "each is a switch of the application")]
#[derive(Clone, Debug)]
pub struct App {
    pub number: u32,
    pub zone: u32,
    pub protocol: u8,
    /// An address, or a prefix.
    pub address: String,
    pub ports: RangeInclusive<u16>,
    pub ip_firewall: bool,
    /// Rules by network or country may speak of its clients.
    pub class_rules: bool,
    /// `syn_cookies` is not `never`.
    pub syn_cookies: bool,
    pub policy: Policy,
    /// `udp_fragments` is `drop`.
    pub no_fragments: bool,
}

impl Default for App {
    fn default() -> Self {
        Self {
            number: 1,
            zone: 1,
            protocol: PROTOCOL_TCP,
            address: "198.51.100.10".into(),
            ports: 443..=443,
            ip_firewall: false,
            class_rules: false,
            syn_cookies: true,
            policy: Policy::default(),
            no_fragments: false,
        }
    }
}

/// What happens to the ports of a pool address that nobody has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Closed {
    Drop,
    Reset,
}

/// Runs `test` in a network namespace of its own, with nothing in it; all else is shared.
pub fn in_own_network(test: impl FnOnce() + Send + 'static) {
    require_root();
    let run = move || {
        unshare(CloneFlags::CLONE_NEWNET).unwrap_or_else(|error| panic!("make a network namespace: {error}; {NEEDS}"));
        test();
    };
    thread::spawn(run).join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
}

pub struct Kernel {
    ebpf: Ebpf,
    rules: Vec<Rule>,
    listener: Option<Socket>,
}

#[derive(Clone, Copy)]
struct Rule {
    scope: u32,
    prefix: IpNet,
    says: Says,
    number: u32,
}

/// What a rule does.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Says {
    Allow,
    Block,
    Simulate,
}

impl Kernel {
    /// Loads both programs: the verifier has accepted them when this returns.
    pub fn load() -> Self {
        Self::load_as(false)
    }

    /// As [`Self::load`], and every verdict becomes an event.
    pub fn load_explaining() -> Self {
        Self::load_as(true)
    }

    fn load_as(explain: bool) -> Self {
        require_root();
        let loaded = Loaded::load(Options { explain, ..Options::default() })
            .unwrap_or_else(|error| panic!("{error}: {:?}; {NEEDS}", error.source()));
        let ebpf = loaded.ebpf;
        Self { ebpf, rules: Vec::new(), listener: None }
    }

    /// Makes an application own its ports.
    pub fn steer(&mut self, app: &App) {
        let firewall = if app.ip_firewall { steer_flags::IP_FIREWALL } else { 0 };
        let cookies = if app.syn_cookies { 0 } else { steer_flags::NO_SYN_COOKIES };
        let classes = if app.class_rules { steer_flags::CLASS_RULES } else { 0 };
        let policy = if app.policy == Policy::default() { 0 } else { steer_flags::POLICY };
        let fragments = if app.no_fragments { steer_flags::NO_FRAGMENTS } else { 0 };
        let flags = firewall | cookies | classes | policy | fragments;
        let mut policies: Array<_, Policy> = self.ebpf.map_mut(names::POLICIES).unwrap().try_into().unwrap();
        policies.set(app.number, app.policy, 0).expect("write POLICIES");
        let value = SteerValue { app: app.number, zone: app.zone, flags };
        let (address, address_bits) = address_and_bits(&app.address);
        if address_bits < steer::ADDRESS_BITS {
            self.insert_steer(steer::key(app.protocol, address, [0; 2]), address_bits, value);
            return;
        }
        for prefix in steer::port_prefixes(*app.ports.start(), *app.ports.end()) {
            let key = steer::key(app.protocol, address, prefix.port.to_be_bytes());
            self.insert_steer(key, address_bits + prefix.bits, value);
        }
    }

    /// Makes an address or a whole prefix a pool's: its ports are closed where no application has them.
    pub fn pool(&mut self, prefix: &str, closed: Closed) {
        self.pool_of(prefix, closed, false);
    }

    /// As [`Self::pool`], and fragments of datagrams are dropped.
    pub fn pool_without_fragments(&mut self, prefix: &str) {
        self.pool_of(prefix, Closed::Drop, true);
    }

    fn pool_of(&mut self, prefix: &str, closed: Closed, no_fragments: bool) {
        let flags = match closed {
            Closed::Drop => steer_flags::CLOSED_DROP,
            Closed::Reset => steer_flags::CLOSED_RESET,
        };
        let (address, bits) = address_and_bits(prefix);
        for protocol in [PROTOCOL_TCP, PROTOCOL_UDP] {
            let refused = no_fragments && protocol == PROTOCOL_UDP;
            let flags = flags | if refused { steer_flags::NO_FRAGMENTS } else { 0 };
            let value = SteerValue { app: 0, zone: 0, flags };
            self.insert_steer(steer::key(protocol, address, [0; 2]), bits, value);
        }
    }

    fn insert_steer(&mut self, key: SteerKey, bits: u32, value: SteerValue) {
        let mut map: LpmTrie<_, SteerKey, SteerValue> = self.ebpf.map_mut(names::STEER).unwrap().try_into().unwrap();
        map.insert(&Key::new(bits, key), value, 0).expect("write STEER");
    }

    /// A block rule for every zone; gives its number.
    pub fn block(&mut self, prefix: &str) -> u32 {
        self.rule(SCOPE_USER, prefix, Says::Block)
    }

    /// An allow rule for every zone; gives its number.
    pub fn allow(&mut self, prefix: &str) -> u32 {
        self.rule(SCOPE_USER, prefix, Says::Allow)
    }

    /// A block rule for every zone that is only tried.
    pub fn simulate(&mut self, prefix: &str) -> u32 {
        self.rule(SCOPE_USER, prefix, Says::Simulate)
    }

    pub fn block_in(&mut self, zone: u32, prefix: &str) -> u32 {
        self.rule(zone, prefix, Says::Block)
    }

    pub fn allow_in(&mut self, zone: u32, prefix: &str) -> u32 {
        self.rule(zone, prefix, Says::Allow)
    }

    /// Puts a table of networks and countries in place.
    pub fn networks(&mut self, networks: &[(&str, u32, &str)], memory: GeoMemory) {
        let networks: Vec<(IpNet, Class)> = networks
            .iter()
            .map(|(network, asn, country)| {
                let country = geo::country(country.as_bytes().try_into().expect("two letters"));
                (network.parse().expect("a prefix"), Class { asn: *asn, country })
            })
            .collect();
        self.table(&Table::of(&networks).expect("a table"), memory);
    }

    /// As [`Self::networks`].
    pub fn table(&mut self, table: &Table, memory: GeoMemory) {
        let mut map: ArrayOfMaps<_, GeoTable> = self.ebpf.map_mut(names::GEO).unwrap().try_into().unwrap();
        map.set(0, &array(table, memory).expect("an array"), 0).expect("write GEO");
    }

    /// Writes a rule by network or country; `number` of another rule of the same target and mode takes its place.
    pub fn class_rule(&mut self, scope: u32, target: Target, value: RuleValue) {
        let (name, number) = match target {
            Target::Asn(number) => (names::ASN_RULES, number),
            Target::Country(country) => (names::COUNTRY_RULES, geo::country(country.bytes())),
            Target::Prefix(_) => panic!("a prefix has its own rules"),
        };
        let mut map: HashMap<_, ClassKey, RuleValue> = self.ebpf.map_mut(name).unwrap().try_into().unwrap();
        map.insert(ClassKey { scope, number }, value, 0).expect("write a rule");
    }

    /// Takes all access rules out again.
    pub fn forget_rules(&mut self) {
        for rule in std::mem::take(&mut self.rules) {
            self.set_rule(rule.scope, rule.prefix, None);
        }
    }

    fn rule(&mut self, scope: u32, prefix: &str, says: Says) -> u32 {
        let number = u32::try_from(self.rules.len()).unwrap() + 1;
        let prefix =
            prefix.parse::<IpNet>().unwrap_or_else(|_| IpNet::from(prefix.parse::<IpAddr>().expect("a prefix")));
        self.rules.push(Rule { scope, prefix, says, number });
        // A value speaks for every prefix that covers it: the new rule may change those that it covers.
        let prefixes: Vec<_> = self.rules.iter().filter(|rule| rule.scope == scope).map(|rule| rule.prefix).collect();
        for prefix in prefixes {
            let most_specific = |says: Says| {
                let speaks = |rule: &&Rule| rule.scope == scope && rule.says == says && rule.prefix.contains(&prefix);
                self.rules
                    .iter()
                    .filter(speaks)
                    .max_by_key(|rule| rule.prefix.prefix_len())
                    .map_or(0, |rule| rule.number)
            };
            let value = RuleValue {
                allow: most_specific(Says::Allow),
                block: most_specific(Says::Block),
                simulate: most_specific(Says::Simulate),
            };
            self.set_rule(scope, prefix, Some(value));
        }
        number
    }

    /// Writes a prefix, or takes it out where it has no value.
    fn set_rule(&mut self, scope: u32, prefix: IpNet, value: Option<RuleValue>) {
        let (scope, bits) = (scope.to_be_bytes(), 32 + u32::from(prefix.prefix_len()));
        match prefix.network() {
            IpAddr::V4(network) => {
                let key = Key::new(bits, RuleKeyV4 { scope, address: network.octets() });
                set(self.ebpf.map_mut(names::RULES_V4).unwrap(), &key, value);
            }
            IpAddr::V6(network) => {
                let key = Key::new(bits, RuleKeyV6 { scope, address: network.octets() });
                set(self.ebpf.map_mut(names::RULES_V6).unwrap(), &key, value);
            }
        }
    }

    /// Runs the XDP program on a frame of at least 14 bytes: fewer are no frame to the kernel.
    pub fn xdp(&self, frame: &[u8]) -> Action {
        self.xdp_making(frame).0
    }

    /// As [`Self::xdp`], and what the program made of the frame.
    pub fn xdp_making(&self, frame: &[u8]) -> (Action, Vec<u8>) {
        let program: &Xdp = self.ebpf.program(names::XDP).unwrap().try_into().unwrap();
        let mut out = vec![0; 4096];
        let options = TestRunOptions { data_in: Some(frame), data_out: Some(&mut out), ..Default::default() };
        let result = program.test_run(options).unwrap_or_else(|error| panic!("run {}: {error:?}", names::XDP));
        out.truncate(usize::try_from(result.data_size_out).unwrap());
        let action = match result.return_value {
            0 => Action::Aborted,
            1 => Action::Drop,
            2 => Action::Pass,
            3 => Action::Answer,
            other => Action::Other(other),
        };
        (action, out)
    }

    /// Drops segments of no connection, as the daemon does while a flood lasts.
    pub fn refuse_orphans(&mut self) {
        self.set_mode(mode::REFUSE_ORPHANS);
    }

    /// Lets answers to SYNs offer timestamps, and this window scale.
    pub fn answer_with_timestamps(&mut self, scale: u32) {
        self.set_mode(mode::TIMESTAMPS | scale << mode::SCALE_SHIFT);
    }

    fn set_mode(&mut self, bits: u32) {
        let mut map: Array<_, u32> = self.ebpf.map_mut(names::MODE).unwrap().try_into().unwrap();
        map.set(0, bits, 0).expect("write MODE");
    }

    /// What was seen of an application's segments of no connection.
    pub fn orphans(&self, app: u32) -> Orphans {
        let map: PerCpuArray<_, Orphans> = self.ebpf.map(names::ORPHANS).unwrap().try_into().unwrap();
        let cpus = map.get(&app, 0).expect("read ORPHANS");
        cpus.iter().fold(Orphans::default(), |sum, cpu| Orphans {
            segments: sum.segments + cpu.segments,
            found: sum.found + cpu.found,
        })
    }

    /// Brings the steering program into the network namespace of the calling thread, as long as this lives.
    pub fn attach_steering(&mut self) {
        let program: &mut SkLookup = self.ebpf.program_mut(names::STEER_PROGRAM).unwrap().try_into().unwrap();
        program.attach(File::open("/proc/thread-self/ns/net").unwrap()).expect("attach the steering program");
    }

    /// Runs the XDP program and says under which one reason the frame was counted; panics if it was not exactly one,
    /// or if the action is not that reason's (I5).
    pub fn verdict(&self, frame: &[u8]) -> Reason {
        let before = self.counters();
        let action = self.xdp(frame);
        let after = self.counters();
        let counted: Vec<_> = Reason::ALL
            .into_iter()
            .filter(|reason| after[reason.index() as usize] != before[reason.index() as usize])
            .collect();
        let [reason] = counted[..] else { panic!("counted under {counted:?}, not once: {frame:02x?}") };
        let (before, after) = (before[reason.index() as usize], after[reason.index() as usize]);
        assert_eq!(after.packets, before.packets + 1, "{reason:?}");
        assert_eq!(after.bytes, before.bytes + frame.len() as u64, "{reason:?}");
        let expected = match reason.action() {
            spectrum_common::reason::Action::Pass => Action::Pass,
            spectrum_common::reason::Action::Drop => Action::Drop,
            spectrum_common::reason::Action::Answer => Action::Answer,
        };
        assert_eq!(action, expected, "{reason:?}");
        reason
    }

    /// Packets counted under a reason so far.
    pub fn counter(&self, reason: Reason) -> u64 {
        self.counters()[reason.index() as usize].packets
    }

    /// Packets counted for an application under a reason so far.
    pub fn app_counter(&self, app: u32, reason: Reason) -> u64 {
        self.count(names::APP_COUNTERS, app_counter(app, reason)).packets
    }

    /// Packets counted, over all reasons.
    pub fn packets(&self) -> u64 {
        self.counters().iter().map(|count| count.packets).sum()
    }

    fn counters(&self) -> Vec<Count> {
        Reason::ALL.iter().map(|reason| self.count(names::COUNTERS, reason.index())).collect()
    }

    fn count(&self, map: &str, index: u32) -> Count {
        let map: PerCpuArray<_, Count> = self.ebpf.map(map).unwrap().try_into().unwrap();
        let cpus = map.get(&index, 0).expect("read a counter");
        cpus.iter().fold(Count::default(), |sum, cpu| Count {
            packets: sum.packets + cpu.packets,
            bytes: sum.bytes + cpu.bytes,
        })
    }

    /// The events since they were last asked for.
    pub fn events(&self) -> Vec<Event> {
        let mut ring: RingBuf<_> = self.ebpf.map(names::EVENTS).unwrap().try_into().unwrap();
        let mut events = Vec::new();
        while let Some(item) = ring.next() {
            events.push(bytemuck::pod_read_unaligned(&item));
        }
        events
    }

    /// Puts a listening TCP socket into its slot, as the daemon does; without `SO_REUSEPORT`, which a test run refuses
    /// (`bpf_sk_lookup_run`, since 5.13).
    pub fn listen(&mut self) {
        let socket = Socket::new(Domain::IPV6, Type::STREAM, None).unwrap();
        socket.set_only_v6(false).unwrap();
        let address: SocketAddr = "[::ffff:127.0.0.1]:0".parse().unwrap();
        socket.bind(&address.into()).unwrap();
        socket.listen(1).unwrap();
        let mut map: SockMap<_> = self.ebpf.map_mut(names::LISTENERS).unwrap().try_into().unwrap();
        map.set(listener_slot(PROTOCOL_TCP).unwrap(), &socket, 0).expect("write LISTENERS");
        self.listener = Some(socket);
    }

    /// Closes the listening socket: the kernel takes it out of its slot.
    pub fn close_listener(&mut self) {
        drop(TcpListener::from(self.listener.take().expect("listen first")));
    }

    /// Which socket the steering program chooses for a TCP connection to `edge`.
    pub fn lookup(&self, edge: SocketAddr) -> Lookup {
        self.lookup_protocol(PROTOCOL_TCP, edge)
    }

    pub fn lookup_protocol(&self, protocol: u8, edge: SocketAddr) -> Lookup {
        let program: &SkLookup = self.ebpf.program(names::STEER_PROGRAM).unwrap().try_into().unwrap();
        lookup::run(program.fd().unwrap(), protocol, edge, self.listener.as_ref())
    }
}

fn set<K: Pod>(map: &mut Map, key: &Key<K>, value: Option<RuleValue>) {
    let mut trie: LpmTrie<_, K, RuleValue> = map.try_into().unwrap();
    match value {
        Some(value) => trie.insert(key, value, 0).expect("write a rule"),
        None => match trie.remove(key) {
            // Two rules had one prefix, and it went with the first.
            Ok(()) | Err(MapError::KeyNotFound) => {}
            Err(MapError::SyscallError(error)) if error.io_error.kind() == ErrorKind::NotFound => {}
            Err(error) => panic!("remove a rule: {error}"),
        },
    }
}

/// An address, or a prefix, as a steering key carries it.
fn address_and_bits(prefix: &str) -> ([u8; 16], u32) {
    let prefix = prefix.parse::<IpNet>().unwrap_or_else(|_| IpNet::from(prefix.parse::<IpAddr>().expect("a prefix")));
    match prefix.network() {
        IpAddr::V4(network) => (
            steer::mapped(network.octets()),
            steer::PROTOCOL_BITS + steer::V4_MAPPED_BITS + u32::from(prefix.prefix_len()),
        ),
        IpAddr::V6(network) => (network.octets(), steer::PROTOCOL_BITS + u32::from(prefix.prefix_len())),
    }
}
