//! Certificates from a directory, at the edge: the real binary asks, the directory looks at what its port 443 shows, and clients
//! get what comes of it.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test that cannot go on panics: that is its report")]

use std::{net::IpAddr, time::Duration};

use serde_json::Value;
use spectrum_tests::{
    World, config, wait,
    world::{
        CLIENT, EDGE, EDGE_OTHER,
        acme::{Directory, Fault, Place},
        config::Config,
    },
};

const EVENTS: &str = "[events]\nfile = \"/run/events.jsonl\"\n";
const DAY: Duration = Duration::from_hours(24);
const FLEXIBLE: &str = "tls = \"flexible\"";

/// Among the clients, as any other directory.
fn directory(world: &World) -> Directory {
    let directory = world.client().namespace().run(|| Directory::start((CLIENT, 0).into()));
    world.edge().namespace().write("root.pem", directory.root());
    directory
}

/// Asks this directory.
fn asking(directory: &Directory) -> Config {
    config().raw(EVENTS).raw(&format!(
        "[tls]\ncertificates = \"/mnt/certificates\"\n[tls.acme]\ndirectory = \"{}\"\n\
         contact = [\"mailto:ops@example.com\"]\nroot = \"/mnt/root.pem\"\nterms_agreed = true\n",
        directory.url()
    ))
}

fn resolve(directory: &Directory, host: &str, address: IpAddr) {
    directory.resolve(host, Place { address, tls: 443, http: 80 });
}

fn make_folder(world: &World) {
    world.edge().stdout("mkdir", &["/mnt/certificates"]);
}

/// The serial number of the certificate that clients of this hostname are shown, if they accept it by this authority.
fn serial(world: &World, host: &str, address: IpAddr, authority: &str) -> Option<String> {
    let command = format!(
        "openssl s_client -connect {address}:443 -servername {host} -verify_hostname {host} -CAfile /mnt/{authority} \
         -verify_return_error </dev/null | openssl x509 -noout -serial"
    );
    let output = world.client().output("sh", &["-c", &command]);
    output.status.success().then(|| String::from_utf8(output.stdout).unwrap())
}

fn await_serial(world: &World, host: &str, address: IpAddr) -> String {
    wait::eventually("there is a certificate", || serial(world, host, address, "root.pem"))
}

fn asked_for(status: &Value, host: &str) -> Value {
    let hosts = status["daemon"]["acme"].as_array().unwrap();
    hosts.iter().find(|row| row["host"] == host).cloned().unwrap_or_default()
}

fn is_degraded(status: &Value, words: &str) -> bool {
    status["daemon"]["degraded"].as_array().unwrap().iter().any(|told| told.as_str().unwrap().contains(words))
}

fn ends(world: &World) -> Vec<(String, u64, String)> {
    let text = world.edge().namespace().run(|| std::fs::read_to_string("/run/events.jsonl")).unwrap_or_default();
    let events = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let ends = events.filter(|event| event["Status"] != 0);
    let word = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    ends.map(|end| (word(&end["Event"]), end["Status"].as_u64().unwrap(), word(&end["extensions"]["reason"]))).collect()
}

#[test]
fn a_certificate_is_asked_for_renewed_and_kept_over_a_restart() {
    const HOST: &str = "app1.example.com";
    let world = World::new();
    make_folder(&world);
    let (directory, origin) = (directory(&world), world.origin().echo());
    resolve(&directory, HOST, EDGE);
    // Renewed after two thirds of it.
    directory.issue(Duration::from_secs(30), Duration::ZERO);
    let file = asking(&directory).app("tcp/443").origin(origin.addr()).line(FLEXIBLE);
    let mut edge = world.edge().run(file.clone());
    let first = await_serial(&world, HOST, EDGE);
    assert_eq!(directory.contacts(), [["mailto:ops@example.com"]]);
    let challenge = ("disconnect".to_owned(), 200, "acme_challenge".to_owned());
    assert!(ends(&world).contains(&challenge), "{:?}", ends(&world));
    let standing = asked_for(&edge.status(), HOST);
    assert_eq!(standing["state"], "held", "{standing}");
    assert!(standing["not_after"].is_u64() && standing["next_try"].is_u64(), "{standing}");
    assert!(world.edge().spectrum_ok(&["status"]).contains("ASKED FOR AT THE DIRECTORY"));

    directory.issue(90 * DAY, Duration::ZERO);
    let second =
        wait::eventually("it is renewed", || serial(&world, HOST, EDGE, "root.pem").filter(|serial| *serial != first));
    assert_eq!(edge.status()["daemon"]["degraded"], serde_json::json!([]));
    assert_eq!(directory.issued(), 2);

    assert!(edge.terminate().success());
    drop(edge);
    let edge = world.edge().run(file);
    assert_eq!(serial(&world, HOST, EDGE, "root.pem"), Some(second), "from the first client on");
    assert_eq!(asked_for(&edge.status(), HOST)["state"], "held");
    assert_eq!((directory.issued(), directory.accounts()), (2, 1));
}

#[test]
fn what_cannot_be_asked_for_is_told_and_others_go_on() {
    let world = World::new();
    make_folder(&world);
    let (directory, origin) = (directory(&world), world.origin().echo());
    directory.fail("directory", Fault::Broken, 1000);
    let own = |host: &str| {
        let rcgen::CertifiedKey { cert, signing_key } = rcgen::generate_simple_self_signed([host.to_owned()]).unwrap();
        world.edge().namespace().write(&format!("{host}.pem"), cert.pem());
        world.edge().namespace().write(&format!("certificates/{host}.key"), signing_key.serialize_pem());
        world.edge().namespace().write(&format!("certificates/{host}.pem"), cert.pem());
    };
    own("app1.example.com");
    let third: IpAddr = "198.51.100.12".parse().unwrap();
    let file = asking(&directory).app("tcp/443").origin(origin.addr()).line(FLEXIBLE);
    let file = file.app("tcp/443").on(&[EDGE_OTHER]).origin(origin.addr()).line(FLEXIBLE);
    let file = file.app("tcp/8443").on(&[third]).origin(origin.addr()).line(FLEXIBLE);
    let edge = world.edge().run(file);

    wait::eventually("it is told that the directory is broken", || {
        is_degraded(&edge.status(), "app2.example.com: no certificate from the directory: ").then_some(())
    });
    let status = edge.status();
    assert_eq!(asked_for(&status, "app2.example.com")["state"], "absent");
    assert!(is_degraded(
        &status,
        "app3.example.com: no certificate from the directory: no challenge can be answered: port 443"
    ));
    assert_eq!(asked_for(&status, "app3.example.com")["state"], "impossible");
    assert_eq!(asked_for(&status, "app1.example.com"), Value::Null, "a file is better");
    assert!(serial(&world, "app1.example.com", EDGE, "app1.example.com.pem").is_some());

    let command =
        format!("openssl s_client -connect {EDGE}:443 -servername app1.example.com -alpn acme-tls/1 </dev/null");
    let refused = world.client().output("sh", &["-c", &command]);
    let told = String::from_utf8_lossy(&refused.stderr);
    assert!(!refused.status.success() && told.contains("unrecognized name"), "{told}");
    let unknown = ("tlsError".to_owned(), 400, "client_asks_for_another_name".to_owned());
    wait::eventually("it is told of a challenge that nobody knows", || ends(&world).contains(&unknown).then_some(()));

    own("app2.example.com");
    wait::eventually("a file that appears is used", || {
        serial(&world, "app2.example.com", EDGE_OTHER, "app2.example.com.pem")
    });
    wait::eventually("and nobody is asked any more", || {
        asked_for(&edge.status(), "app2.example.com").is_null().then_some(())
    });
}
