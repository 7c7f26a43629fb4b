//! `sni`: applications that share an address and ports, and are chosen by name.

use super::*;
use crate::config::tests::refused::{Expected, refuses};

/// An application on one address; its id is its hostname's and its ports'.
fn app(host: &str, protocol: &str, more: &str) -> String {
    format!(
        "[[applications]]\nprotocol = \"{protocol}\"\ndns = {{ type = \"ADDRESS\", name = \"{host}.example.com\" }}\n\
         edge_ips = {{ type = \"static\", ips = [\"198.51.100.10\"] }}\n\
         origin_direct = [\"tcp://192.0.2.1:{}\"]\n{more}\n",
        protocol.split('/').next_back().unwrap()
    )
}

fn chosen(host: &str, names: &str) -> String {
    app(host, "tcp/443", &format!("extensions = {{ sni = {names} }}"))
}

fn file(apps: &[String]) -> String {
    format!("{NODE}{}", apps.concat())
}

#[test]
fn names_are_of_one_form_and_may_be_wildcards() {
    let config = good(&file(&[chosen("a", "[\"A.Example.com\", \"*.B.example.com\"]")]));
    assert_eq!(config.applications[0].sni.iter().collect::<Vec<_>>(), ["a.example.com", "*.b.example.com"]);
}

#[test]
fn one_address_is_shared_by_who_has_other_names_and_by_one_without() {
    let apps = [
        chosen("a", "[\"a.example.com\"]"),
        chosen("b", "[\"*.example.com\"]"),
        app("c", "tcp/443", ""),
        app("d", "tcp/444", ""),
    ];
    assert_eq!(good(&file(&apps)).applications.len(), 4);
    // Of one hostname as well: then they need ids.
    let ids = ["11111111111111111111111111111111", "22222222222222222222222222222222"];
    let with_id = |id, name| app("a", "tcp/443", &format!("id = \"{id}\"\nextensions = {{ sni = [\"{name}\"] }}"));
    good(&file(&[with_id(ids[0], "a.example.com"), with_id(ids[1], "b.example.com")]));
    let errors = bad(&file(&[chosen("a", "[\"a.example.com\"]"), chosen("a", "[\"b.example.com\"]")]));
    assert!(errors.as_slice()[0].message.ends_with(" has the same id"), "{errors}");
}

#[test]
fn clients_have_as_long_to_choose_as_for_a_handshake() {
    let extensions = "extensions = { sni = [\"a.example.com\"], handshake_timeout = \"2s\" }";
    let config = good(&file(&[app("a", "tcp/443", extensions)]));
    assert_eq!(config.applications[0].timeouts.handshake, std::time::Duration::from_secs(2));
}

fn both(one: &str, other: &str) -> String {
    file(&[app("a", "tcp/443", one), app("b", "tcp/443", other)])
}

fn refuses_once(marked: &str, code: u16, message: &str, help: &str) {
    let expected: [Expected<'_>; 1] = [(code, message, help)];
    refuses(marked, &expected);
}

#[test]
fn names_that_are_none() {
    let missing = "write sni = [\"a.example.com\"], or remove it: then it takes who asks for no other";
    let of = |names: &str| file(&[chosen("a", names)]);
    refuses_once(&of("▶[]"), 0, "`sni` names nobody whom clients could ask for", missing);
    refuses_once(
        &of("[▶\"*.com\"]"),
        0,
        "`*.com` takes in half of the Internet",
        "write a wildcard below a name of your own, such as *.example.com",
    );
    refuses_once(
        &of("[▶\"192.0.2.1\"]"),
        0,
        "`192.0.2.1` is not a hostname: it is an address",
        "write a name such as ssh.example.com",
    );
    refuses_once(
        &of("[\"a.example.com\", ▶\"A.example.com\"]"),
        0,
        "`a.example.com` is listed twice",
        "remove one of them",
    );
}

#[test]
fn what_cannot_be_chosen_between() {
    let other = format!(
        "`a.example.com` tcp/443 of line 4 (id {})",
        crate::model::AppId::derive(&["a.example.com", "tcp/443"])
    );
    let names = |names: &str| format!("extensions = {{ sni = {names} }}");
    refuses_once(
        &both(&names("[\"a.example.com\", \"b.example.com\"]"), &names("▶[\"b.example.com\"]")),
        11100,
        &format!("who asks for `b.example.com` chooses the application {other}, too"),
        "leave the name to one of them",
    );
    for (key, value) in
        [("ip_firewall", "true"), ("extensions.syn_cookies", "\"never\""), ("extensions.rate", "\"10/s\"")]
    {
        let key_name = key.rsplit('.').next().unwrap();
        let more = if key == key_name {
            format!("{key} = {value}\nextensions = {{ sni = ▶[\"b.example.com\"] }}")
        } else {
            format!("extensions = {{ sni = ▶[\"b.example.com\"], {key_name} = {value} }}")
        };
        refuses_once(
            &both(&names("[\"a.example.com\"]"), &more),
            11100,
            &format!("another `{key_name}` than the application {other}, which has the same address and ports"),
            "give both the same: the kernel judges packets before anybody asks for a name",
        );
    }
    let range = app("b", "tcp/400-500", &names("[\"b.example.com\"]")).replace("protocol = ", "protocol = ▶");
    refuses_once(
        &file(&[chosen("a", "[\"a.example.com\"]"), range]),
        11100,
        &format!("`tcp/400-500` overlaps the application {other}, and by `sni` clients choose of the same ports"),
        "give both the same ports, or ports that do not overlap",
    );
}
