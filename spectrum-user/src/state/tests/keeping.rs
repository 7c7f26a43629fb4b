//! Assignments over restarts: what is written, when, and what is done about a state directory that is wrong.

use std::{
    fs,
    path::{Path, PathBuf},
};

use super::*;

fn dynamic(state_dir: &Path, names: &[&str]) -> Config {
    let apps: Vec<_> = names.iter().map(|name| app(name, 1, "all")).collect();
    Config {
        node: crate::model::Node { state_dir: state_dir.to_owned(), ..config("", &[]).node },
        ..config("\"198.51.100.0/24\", \"2001:db8:51::/64\"", &apps)
    }
}

fn file(state_dir: &Path) -> PathBuf {
    state_dir.join("edge-ips.json")
}

#[test]
fn what_was_assigned_is_there_after_a_restart() {
    let directory = tempfile::tempdir().unwrap();
    let state_dir = directory.path().join("made/for/it");
    let first = desired_kept(&dynamic(&state_dir, &["b.org"]), &[]).unwrap();
    assert_eq!(
        fs::read_to_string(file(&state_dir)).unwrap(),
        "{\n  \"version\": 1,\n  \"hostnames\": {\n    \"b.org\": {\n      \"ipv4\": \"198.51.100.1\",\n      \
         \"ipv6\": \"2001:db8:51::1\"\n    }\n  }\n}\n"
    );
    let second = desired_kept(&dynamic(&state_dir, &["a.org", "b.org"]), &[]).unwrap();
    assert_eq!(addresses(&second, 1), addresses(&first, 0));
    assert_eq!(addresses(&second, 0), ["198.51.100.2", "2001:db8:51::2"]);
    let names: Vec<_> = fs::read_dir(&state_dir).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(names, ["edge-ips.json"], "no temporary file stays");
}

#[test]
fn checking_writes_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let state_dir = directory.path().join("absent");
    desired(&dynamic(&state_dir, &["a.org"]), &[]).unwrap();
    assert!(!state_dir.exists());
}

#[test]
fn what_was_never_in_force_takes_no_address_from_whoever_had_it() {
    let directory = tempfile::tempdir().unwrap();
    let state_dir = directory.path();
    let served = dynamic(state_dir, &["a.org", "b.org"]);
    let before = desired_kept(&served, &[]).unwrap();
    let kept = || fs::read_to_string(file(state_dir)).unwrap();
    let text = kept();
    // `a.org` has gone, and another one would get its address.
    let Plan { assigned, .. } = plan(&dynamic(state_dir, &["b.org", "c.org"]), &[]).unwrap();
    assert_eq!(kept(), text, "a plan alone");
    let provisional = assigned.keep().unwrap();
    assert_ne!(kept(), text);
    drop(provisional);
    assert_eq!(kept(), text);
    assert_eq!(desired_kept(&served, &[]).unwrap(), before);
    // A successor that ended had kept others.
    let Plan { assigned: own, .. } = plan(&served, &[]).unwrap();
    assigned.keep().unwrap().confirm();
    own.keep().unwrap().confirm();
    assert_eq!(kept(), text);
}

#[test]
fn without_dynamic_addresses_the_state_directory_is_not_touched() {
    let directory = tempfile::tempdir().unwrap();
    fs::write(file(directory.path()), "broken").unwrap();
    desired_kept(&dynamic(directory.path(), &[]), &[]).unwrap();
    assert_eq!(fs::read_to_string(file(directory.path())).unwrap(), "broken");
}

#[test]
fn what_is_unchanged_is_not_written_again() {
    let directory = tempfile::tempdir().unwrap();
    let config = dynamic(directory.path(), &["a.org"]);
    desired_kept(&config, &[]).unwrap();
    let before = fs::metadata(file(directory.path())).unwrap();
    desired_kept(&config, &[]).unwrap();
    let inode = |metadata: &fs::Metadata| std::os::unix::fs::MetadataExt::ino(metadata);
    assert_eq!(inode(&before), inode(&fs::metadata(file(directory.path())).unwrap()), "not replaced");
}

#[test]
fn a_broken_file_is_neither_used_nor_overwritten() {
    let directory = tempfile::tempdir().unwrap();
    let config = dynamic(directory.path(), &["a.org"]);
    for (text, why) in [
        ("", "EOF while parsing"),
        ("{}", "missing field `version`"),
        ("{\"version\": 1, \"hostnames\": {\"a.org\": {\"ipv4\": \"::1\"}}}", "invalid IPv4 address syntax"),
        ("{\"version\": 1, \"hostnames\": {}, \"more\": 1}", "unknown field `more`"),
        ("{\"version\": 2, \"anything\": []}", "was written by a newer program (version 2)"),
        ("\u{0}\u{0}\u{0}", "expected value"),
    ] {
        fs::write(file(directory.path()), text).unwrap();
        let error = desired_kept(&config, &[]).unwrap_err().to_string();
        assert!(error.contains(why), "{text}: {error}");
        assert!(error.contains("edge-ips.json") && error.contains("remove"), "where, and what to do: {error}");
        assert_eq!(fs::read_to_string(file(directory.path())).unwrap(), text);
    }
}

#[test]
fn a_file_that_promises_one_address_twice_is_healed() {
    let directory = tempfile::tempdir().unwrap();
    let twice =
        "{\"version\":1,\"hostnames\":{\"a.org\":{\"ipv4\":\"198.51.100.7\"},\"b.org\":{\"ipv4\":\"198.51.100.7\"}}}";
    fs::write(file(directory.path()), twice).unwrap();
    let desired = desired_kept(&dynamic(directory.path(), &["a.org", "b.org"]), &[]).unwrap();
    assert_eq!(addresses(&desired, 0)[0], "198.51.100.7");
    assert_eq!(addresses(&desired, 1)[0], "198.51.100.1");
}

#[test]
fn a_directory_that_cannot_be_written_is_named() {
    // A file in place of the directory, and of the assignments: this holds for root too.
    let directory = tempfile::tempdir().unwrap();
    let blocked = directory.path().join("file");
    fs::write(&blocked, "").unwrap();
    let error = desired_kept(&dynamic(&blocked, &["a.org"]), &[]).unwrap_err().to_string();
    assert!(error.contains("cannot read") && error.contains("Not a directory"), "{error}");
    let error = desired_kept(&dynamic(Path::new("/proc/spectrum"), &["a.org"]), &[]).unwrap_err().to_string();
    assert!(error.contains("cannot create /proc/spectrum") && error.contains("`state_dir` of [node]"), "{error}");
    fs::create_dir(file(directory.path())).unwrap();
    let error = desired_kept(&dynamic(directory.path(), &["a.org"]), &[]).unwrap_err().to_string();
    assert!(error.contains("Is a directory"), "{error}");
}

#[test]
fn a_link_in_place_of_the_temporary_file_is_not_followed() {
    let directory = tempfile::tempdir().unwrap();
    let victim = directory.path().join("victim");
    fs::write(&victim, "untouched").unwrap();
    std::os::unix::fs::symlink(&victim, directory.path().join(".edge-ips.json.new")).unwrap();
    desired_kept(&dynamic(directory.path(), &["a.org"]), &[]).unwrap();
    assert_eq!(fs::read_to_string(victim).unwrap(), "untouched");
}

#[test]
fn this_host_has_addresses() {
    let addresses = host_addresses().unwrap();
    assert!(addresses.is_sorted(), "{addresses:?}");
    // A namespace with `lo` down has none.
    assert!(addresses.is_empty() || addresses.iter().any(IpAddr::is_loopback), "{addresses:?}");
}
