//! Strings of the file that mean something: hostnames, durations, paths, interfaces, addresses.

use std::{
    net::IpAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use super::diagnostic::Fault;
pub(super) use crate::model::no_host;

/// A hostname, in lower case (RFC 1123, section 2.1).
pub(super) fn hostname(text: &str) -> Result<String, Fault> {
    let refused = |why: &str, help: &str| Err(Fault::new(format!("`{text}` is not a hostname: {why}")).help(help));
    if text.parse::<IpAddr>().is_ok() {
        return refused("it is an address", "write a name such as ssh.example.com");
    }
    if let Some(without) = text.strip_suffix('.') {
        return refused("it ends with a dot", &format!("write {without}"));
    }
    if !text.is_ascii() {
        return refused("it holds letters outside of ASCII", "write its xn--… form");
    }
    if text.is_empty() || text.len() > 253 {
        return refused("names have 1 to 253 characters", "write a name such as ssh.example.com");
    }
    for label in text.split('.') {
        if label.is_empty() || label.len() > 63 {
            return refused("every part between dots has 1 to 63 characters", "write a name such as ssh.example.com");
        }
        if let Some(odd) = label.chars().find(|c| !c.is_ascii_alphanumeric() && *c != '-') {
            return refused(&format!("it holds `{odd}`"), "use letters, digits, `-` and dots");
        }
        if label.starts_with('-') || label.ends_with('-') {
            return refused("a part of it begins or ends with `-`", "use `-` inside of a part only");
        }
    }
    Ok(text.to_ascii_lowercase())
}

/// Whether `hostname` is `zone` or under it.
pub(super) fn is_within(hostname: &str, zone: &str) -> bool {
    hostname.strip_suffix(zone).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
}

/// `500ms`, `5s`, `2m`: more than nothing, and no longer than `longest`.
pub(super) fn duration(text: &str, longest: Duration) -> Result<Duration, Fault> {
    let duration = humantime::parse_duration(text).map_err(|_| {
        Fault::new(format!("`{text}` is not a duration")).help("write a number and its unit: \"500ms\", \"5s\", \"2m\"")
    })?;
    if duration.is_zero() || duration > longest {
        let longest = humantime::format_duration(longest);
        return Err(Fault::new(format!("`{text}` is out of range"))
            .help(format!("write more than zero, and no more than \"{longest}\"")));
    }
    Ok(duration)
}

/// A path that means the same wherever the program is started.
pub(super) fn absolute_path(text: &str) -> Result<PathBuf, Fault> {
    if text.contains('\0') {
        return Err(Fault::new("a path cannot hold a zero byte").help("remove it"));
    }
    let path = Path::new(text);
    if !path.is_absolute() {
        return Err(Fault::new(format!("`{text}` is not an absolute path"))
            .help("write it from `/` on: a service does not start in your directory"));
    }
    Ok(path.to_owned())
}

/// The name of a network interface, as the kernel takes it (`dev_valid_name`, net/core/dev.c).
pub(super) fn interface(text: &str) -> Result<String, Fault> {
    let odd = |c: char| c == '/' || c == ':' || c.is_whitespace() || c.is_control();
    if text.is_empty() || text.len() > 15 || text == "." || text == ".." || text.contains(odd) {
        return Err(Fault::new(format!("`{text}` is not the name of an interface"))
            .help("write one of those that `ip link` shows: 1 to 15 characters, no spaces, `/` or `:`"));
    }
    Ok(text.to_owned())
}

/// An address in its one canonical form.
pub(super) fn address(text: &str) -> Result<IpAddr, Fault> {
    let address: IpAddr = text.parse().map_err(|_| {
        let fault = Fault::new(format!("`{text}` is not an IP address"));
        match text.strip_prefix('[').and_then(|text| text.strip_suffix(']')) {
            Some(bare) if bare.parse::<IpAddr>().is_ok() => fault.help(format!("write it without brackets: {bare}")),
            _ => fault.help("write an address such as 198.51.100.10 or 2001:db8::1"),
        }
    })?;
    canonical(address)
}

/// Refuses an IPv4 address that is written as an IPv6 one: it would be the same address under two names.
pub(super) fn canonical(address: IpAddr) -> Result<IpAddr, Fault> {
    let canonical = address.to_canonical();
    if canonical != address {
        return Err(
            Fault::new(format!("`{address}` is an IPv4 address written as IPv6")).help(format!("write {canonical}"))
        );
    }
    Ok(address)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hostnames() {
        assert_eq!(hostname("SSH.Example.com"), Ok("ssh.example.com".to_owned()));
        assert_eq!(hostname("localhost"), Ok("localhost".to_owned()));
        let long = format!("{}.com", "a".repeat(64));
        for bad in [
            "",
            ".",
            "a..b",
            "-a.com",
            "a-.com",
            "a_b.com",
            "*.a.com",
            "a.com.",
            "192.0.2.1",
            "::1",
            "bücher.de",
            &long,
        ] {
            assert!(hostname(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_name_is_within_a_zone_at_a_dot_only() {
        assert!(is_within("example.com", "example.com"));
        assert!(is_within("a.b.example.com", "example.com"));
        assert!(!is_within("badexample.com", "example.com"));
        assert!(!is_within("com", "example.com"));
    }

    #[test]
    fn durations() {
        let hour = Duration::from_hours(1);
        assert_eq!(duration("500ms", hour), Ok(Duration::from_millis(500)));
        assert_eq!(duration("2m", hour), Ok(Duration::from_mins(2)));
        for bad in ["", "5", "0s", "-1s", "61m", "s", "5 parsecs", "99999999999999999999s", "18446744073709551615w"] {
            assert!(duration(bad, hour).is_err(), "{bad}");
        }
    }

    #[test]
    fn addresses_have_one_form() {
        assert!(address("198.51.100.10").is_ok());
        assert!(address("::ffff:198.51.100.10").is_err());
        assert!(address("[2001:db8::1]").is_err());
        assert!(address("198.51.100.010").is_err(), "octal or decimal? nobody knows");
    }
}
