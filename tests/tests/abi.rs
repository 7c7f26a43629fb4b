//! The built object against what userspace believes about it. Needs no privileges.

use aya_obj::{Map, Object, generated::bpf_map_type};
use spectrum_common::{
    fair::Share,
    layout::{
        ClassKey, Count, Event, Meta, ObjectId, Orphans, Policy, RuleKeyV4, RuleKeyV6, RuleValue, Sampler, SteerKey,
        SteerValue,
    },
    limits, names,
    reason::SLOTS,
    sketch::{self, Cell},
};

/// Names longer than this are cut by the kernel (`BPF_OBJ_NAME_LEN`).
const NAME: usize = 15;

/// An LPM trie's key is the prefix length, then the data.
const PREFIX: usize = size_of::<u32>();

struct Expected {
    name: &'static str,
    kind: bpf_map_type,
    key: usize,
    value: usize,
    entries: usize,
}

fn expected() -> [Expected; 24] {
    use bpf_map_type::{
        BPF_MAP_TYPE_ARRAY as ARRAY, BPF_MAP_TYPE_ARRAY_OF_MAPS as MAPS, BPF_MAP_TYPE_HASH as HASH,
        BPF_MAP_TYPE_LPM_TRIE as LPM, BPF_MAP_TYPE_PERCPU_ARRAY as PER_CPU, BPF_MAP_TYPE_RINGBUF as RING,
        BPF_MAP_TYPE_SOCKMAP as SOCKMAP,
    };
    let map = |name, kind, key, value, entries| Expected { name, kind, key, value, entries };
    let (index, id, count) = (size_of::<u32>(), size_of::<ObjectId>(), size_of::<Count>());
    [
        map(names::STEER, LPM, PREFIX + size_of::<SteerKey>(), size_of::<SteerValue>(), limits::STEER),
        map(names::RULES_V4, LPM, PREFIX + size_of::<RuleKeyV4>(), size_of::<RuleValue>(), limits::RULE_PREFIXES),
        map(names::RULES_V6, LPM, PREFIX + size_of::<RuleKeyV6>(), size_of::<RuleValue>(), limits::RULE_PREFIXES),
        map(names::RULE_TABLE, MAPS, index, 4, 1),
        map(names::ASN_RULES, HASH, size_of::<ClassKey>(), size_of::<RuleValue>(), limits::RULES),
        map(names::COUNTRY_RULES, HASH, size_of::<ClassKey>(), size_of::<RuleValue>(), limits::RULES),
        map(names::GEO, MAPS, index, 4, 1),
        map(names::LISTENERS, SOCKMAP, index, 4, limits::LISTENERS),
        map(names::APPS, ARRAY, index, id, limits::APPLICATIONS),
        map(names::RULES, ARRAY, index, id, limits::RULES),
        map(names::ZONES, ARRAY, index, id, limits::ZONES),
        map(names::COUNTERS, PER_CPU, index, count, SLOTS as usize),
        map(names::APP_COUNTERS, PER_CPU, index, count, limits::APPLICATIONS * SLOTS as usize),
        map(names::REQUESTS, PER_CPU, index, size_of::<u64>(), limits::APPLICATIONS),
        map(names::ORPHANS, PER_CPU, index, size_of::<Orphans>(), limits::APPLICATIONS),
        map(names::POLICIES, ARRAY, index, size_of::<Policy>(), limits::APPLICATIONS),
        map(names::SHARES, ARRAY, index, size_of::<Share>(), limits::APPLICATIONS),
        map(names::SKETCH, ARRAY, index, size_of::<Cell>(), sketch::ROWS * sketch::WIDTH),
        map(names::MODE, ARRAY, index, size_of::<u32>(), 1),
        map(names::QUESTION, PER_CPU, index, size_of::<u64>(), 1),
        map(names::EVENTS, RING, 0, 0, limits::EVENTS_BYTES),
        map(names::SAMPLER, PER_CPU, index, size_of::<Sampler>(), 1),
        map(names::DRAFT, PER_CPU, index, size_of::<Event>(), 1),
        map(names::META, ARRAY, index, size_of::<Meta>(), 1),
    ]
}

fn object() -> Object {
    Object::parse(spectrum_user::dataplane::object::object().expect("built by `cargo xtask build`"))
        .expect("the object is well formed")
}

#[test]
fn every_map_is_what_userspace_takes_it_for() {
    let object = object();
    for expected in expected() {
        let name = expected.name;
        let map = object.maps.get(name).unwrap_or_else(|| panic!("{name} is missing from the object"));
        assert_eq!(map.map_type(), expected.kind as u32, "type of {name}");
        assert_eq!(map.key_size() as usize, expected.key, "key size of {name}");
        assert_eq!(map.value_size() as usize, expected.value, "value size of {name}");
        assert_eq!(map.max_entries() as usize, expected.entries, "capacity of {name}");
    }
}

#[test]
fn every_pinned_map_is_known_here_and_the_other_way_round() {
    let mut expected: Vec<_> = expected().iter().map(|map| map.name).collect();
    let mut pinned = names::MAPS.to_vec();
    expected.sort_unstable();
    pinned.sort_unstable();
    assert_eq!(expected, pinned);
    let object = object();
    for name in object.maps.keys().filter(|name| !name.starts_with('.') && *name != "AYA_LOGS") {
        assert!(names::MAPS.contains(&name.as_str()), "{name} is in the object and nobody pins it");
    }
}

#[test]
fn maps_describe_themselves_by_btf() {
    let object = object();
    assert!(object.btf.is_some(), "the object has BTF");
    for name in names::MAPS {
        assert!(matches!(object.maps.get(name), Some(Map::Btf(_))), "{name} is defined by BTF");
    }
}

#[test]
fn both_programs_are_there_under_names_that_the_kernel_does_not_cut() {
    let object = object();
    let mut programs: Vec<_> = object.programs.keys().map(String::as_str).collect();
    programs.sort_unstable();
    assert_eq!(programs, [names::STEER_PROGRAM, names::XDP]);
    for name in programs.into_iter().chain(names::MAPS) {
        assert!(name.len() <= NAME, "{name} is cut by the kernel");
    }
}
