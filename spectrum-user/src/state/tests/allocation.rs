//! Who gets which address.

use super::*;

const BOTH: &str = "\"198.51.100.0/29\", \"2001:db8:51::/64\"";

fn allocated(config: &Config, existing: &Assignments) -> (DesiredState, Assignments) {
    allocate(config, existing, &[]).unwrap_or_else(|errors| panic!("{errors}"))
}

fn refusal(config: &Config, host: &[IpAddr]) -> String {
    allocate(config, &Assignments::default(), host).unwrap_err().to_string()
}

#[test]
fn a_hostname_gets_one_address_of_each_family_that_it_asks_for() {
    let apps = [
        app("b.example.com", 1, "all"),
        app("a.example.com", 1, "ipv4"),
        app("c.example.com", 1, "ipv6"),
        app("b.example.com", 2, "ipv6"),
    ];
    let (desired, _) = allocated(&config(BOTH, &apps), &Assignments::default());
    assert_eq!(addresses(&desired, 0), ["198.51.100.2", "2001:db8:51::1"], "by name, lowest first");
    assert_eq!(addresses(&desired, 1), ["198.51.100.1"]);
    assert_eq!(addresses(&desired, 2), ["2001:db8:51::2"]);
    assert_eq!(addresses(&desired, 3), ["2001:db8:51::1"], "shared with the other application of the hostname");
}

#[test]
fn static_addresses_are_passed_over_and_kept_as_given() {
    let apps = [app("a.example.com", 1, "ipv4"), app("z.example.com", 1, "198.51.100.1")];
    let (desired, assignments) = allocated(&config(BOTH, &apps), &Assignments::default());
    assert_eq!(addresses(&desired, 0), ["198.51.100.2"]);
    assert_eq!(addresses(&desired, 1), ["198.51.100.1"]);
    assert_eq!(assignments.iter().count(), 1, "static addresses are not assigned");
}

#[test]
fn all_is_what_there_are_pools_of() {
    for (pools, expected) in [("\"198.51.100.0/29\"", "198.51.100.1"), ("\"2001:db8:51::/64\"", "2001:db8:51::1")] {
        let (desired, _) = allocated(&config(pools, &[app("a.example.com", 1, "all")]), &Assignments::default());
        assert_eq!(addresses(&desired, 0), [expected]);
    }
}

#[test]
fn addresses_stay_while_hostnames_come_and_go() {
    let names = |names: &[&str]| names.iter().map(|name| app(name, 1, "all")).collect::<Vec<_>>();
    let (_, first) = allocated(&config(BOTH, &names(&["b.org", "c.org"])), &Assignments::default());
    let (_, second) = allocated(&config(BOTH, &names(&["a.org", "b.org", "c.org"])), &first);
    assert_eq!((second.of("b.org"), second.of("c.org")), (first.of("b.org"), first.of("c.org")));
    let (_, third) = allocated(&config(BOTH, &names(&["c.org"])), &second);
    assert_eq!(third.iter().collect::<Vec<_>>(), [("c.org", first.of("c.org"))]);
}

#[test]
fn an_address_is_given_up_where_it_cannot_be_kept() {
    let apps = [app("a.example.com", 1, "ipv4")];
    let (_, old) = allocated(&config(BOTH, &apps), &Assignments::default());
    assert_eq!(old.of("a.example.com").ipv4, Some("198.51.100.1".parse().unwrap()));

    let (_, moved) = allocated(&config("\"203.0.113.0/24\"", &apps), &old);
    assert_eq!(moved.of("a.example.com").ipv4, Some("203.0.113.1".parse().unwrap()), "out of the pools");

    let (_, moved) = allocated(&config("\"198.51.100.0/31\", \"198.51.100.4/30\"", &apps), &old);
    assert_eq!(moved.of("a.example.com"), old.of("a.example.com"), "the pool may become another one");

    let both = [apps[0].clone(), app("z.example.com", 1, "198.51.100.1")];
    let (_, moved) = allocated(&config(BOTH, &both), &old);
    assert_eq!(moved.of("a.example.com").ipv4, Some("198.51.100.2".parse().unwrap()), "now a static one");
}

#[test]
fn an_exhausted_pool_says_how_large_it_is() {
    let names = ["a.org", "b.org", "c.org"].map(|name| app(name, 1, "ipv4"));
    assert_eq!(
        refusal(&config("\"198.51.100.0/30\", \"2001:db8::/64\"", &names), &[]),
        r#"error[12005]: no IPv4 edge address is left for `c.org`: all of 198.51.100.0/30 (2 addresses) are in use
  --> spectrum.toml:18:12
   |
18 | edge_ips = { type = "dynamic", connectivity = "ipv4" }
   |            ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
   = help: add a pool, let applications share a hostname, or remove one

spectrum.toml: 1 error"#
    );
}

#[test]
fn no_pool_is_an_error_of_its_own() {
    let text = refusal(&config("\"2001:db8::/64\"", &[app("a.org", 1, "ipv4")]), &[]);
    assert!(text.starts_with("error[12005]: no IPv4 edge address for `a.org`: there is no IPv4 pool\n"), "{text}");
    let text = refusal(&config("", &[app("a.org", 1, "all")]), &[]);
    assert!(text.ends_with("spectrum.toml: 1 error"), "one, not one for each family: {text}");
}

#[test]
fn addresses_of_the_host_are_checked() {
    let host: IpAddr = "198.51.100.3".parse().unwrap();
    let text = refusal(&config(BOTH, &[app("a.org", 1, "203.0.113.1")]), &[host]);
    assert!(text.contains("the pool 198.51.100.0/29 holds 198.51.100.3, an address of this host"), "{text}");
    assert!(text.contains("203.0.113.1 is neither in a pool nor an address of this host"), "{text}");
    let elsewhere = config("\"203.0.113.0/24\"", &[app("a.org", 1, "198.51.100.3")]);
    assert!(allocate(&elsewhere, &Assignments::default(), &[host]).is_ok());
}

#[test]
fn a_large_pool_is_not_walked() {
    // 2^112 addresses, the first 2000 of them taken.
    let taken: Vec<_> = (1..=2000).map(|n| app(&format!("s{n}.org"), 1, &format!("2001:db8::{n:x}"))).collect();
    let apps: Vec<_> = taken.into_iter().chain([app("a.org", 1, "ipv6")]).collect();
    let (desired, _) =
        allocated(&config("\"2001:db8::/16\"".replace("2001:db8", "2001").as_str(), &apps), &Assignments::default());
    assert_eq!(addresses(&desired, 2000), ["2001::1"]);
    let (desired, _) = allocated(&config("\"2001:db8::/32\"", &apps), &Assignments::default());
    assert_eq!(addresses(&desired, 2000), ["2001:db8::7d1"]);
}
