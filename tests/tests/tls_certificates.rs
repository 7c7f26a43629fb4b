//! Certificates of an edge that runs: which one a client gets, what happens when files change, and sessions.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test that cannot go on panics: that is its report")]

use std::{
    io::{Read as _, Write as _},
    net::SocketAddr,
    os::unix::fs::MetadataExt as _,
    sync::Arc,
};

use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned, pki_types::pem::PemObject as _};
use serde_json::Value;
use spectrum_tests::{
    World, config, wait,
    world::{
        EDGE, EDGE_OTHER,
        config::Config,
        edge::{Daemon, at},
        lineage::Lineage,
        pki::{Authority, HOST, Signed, node_tls},
    },
};
use spectrum_user::tls::{Peer, provider};

const EVENTS: &str = "[events]\nfile = \"/mnt/events.jsonl\"\n";
const ROOT: &str = "/mnt/root.crt";

fn authority(world: &World) -> Authority {
    let authority = Authority::new("an authority of a test");
    authority.publish(world.edge(), "root.crt");
    authority
}

fn app(origin: SocketAddr) -> Config {
    config().raw(EVENTS).raw(&node_tls("")).app("tcp/443").origin(origin).line("tls = \"flexible\"")
}

fn ask(world: &World, more: &[&str]) -> String {
    let base = ["-CAfile", ROOT, "-verify_return_error", "-servername", HOST];
    world.client().s_client(at(EDGE, 443), &[&base, more].concat())
}

fn await_event(world: &World, wanted: impl Fn(&Value) -> bool) -> Value {
    wait::eventually("an event is written", || {
        let text = world.edge().namespace().run(|| std::fs::read_to_string("/mnt/events.jsonl")).unwrap_or_default();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).find(&wanted)
    })
}

fn await_shown(world: &World, signed: &Signed) {
    wait::eventually("the certificate is shown", || signed.is_shown_in(&ask(world, &[])).then_some(()));
}

#[test]
fn a_host_with_two_certificates_shows_the_one_that_the_client_can_verify() {
    let world = World::new();
    let authority = authority(&world);
    let (ecdsa, rsa) = (authority.sign(HOST), authority.sign_rsa(HOST));
    world.edge().certify(&format!("{HOST}.ecdsa"), &ecdsa);
    world.edge().certify(&format!("{HOST}.rsa"), &rsa);
    let nginx = world.origin().nginx();
    let _edge = world.edge().run(app(nginx.addr()));
    let cases: [(&Signed, &[&str]); 5] = [
        (&ecdsa, &[]),
        (&ecdsa, &["-tls1_3", "-sigalgs", "ecdsa_secp256r1_sha256"]),
        (&rsa, &["-tls1_3", "-sigalgs", "rsa_pss_rsae_sha256"]),
        (&ecdsa, &["-tls1_2", "-cipher", "ECDHE-ECDSA-AES128-GCM-SHA256"]),
        (&rsa, &["-tls1_2", "-cipher", "ECDHE-RSA-AES128-GCM-SHA256"]),
    ];
    for (expected, arguments) in cases {
        let said = ask(&world, arguments);
        assert!(expected.is_shown_in(&said) && said.contains("hello from nginx"), "{arguments:?}: {said}");
    }
}

#[test]
fn a_chain_is_sent_whole_so_that_the_root_is_enough() {
    let world = World::new();
    let authority = authority(&world).intermediate("one between").intermediate("another one");
    world.edge().certify(HOST, &authority.sign(HOST));
    let nginx = world.origin().nginx();
    let _edge = world.edge().run(app(nginx.addr()));
    let said = ask(&world, &["-showcerts"]);
    assert_eq!((said.matches("BEGIN CERTIFICATE").count(), said.contains("Verify return code: 0 (ok)")), (3, true));
}

#[test]
fn a_wildcard_as_certbot_leaves_it_is_shown_to_any_name_that_it_covers() {
    let world = World::new();
    let wildcard = authority(&world).sign("*.example.com");
    world.edge().certify_raw("example.com/fullchain.pem", &wildcard.chain);
    world.edge().certify_raw("example.com/privkey.pem", &wildcard.key);
    let nginx = world.origin().nginx();
    let _edge = world.edge().run(app(nginx.addr()));
    for name in [HOST, "APP1.example.com", "another.example.com"] {
        let said = ask(&world, &["-servername", name]);
        assert!(wildcard.is_shown_in(&said) && said.contains("hello from nginx"), "{name}: {said}");
    }
    let said = ask(&world, &["-servername", "a.b.example.com"]);
    assert!(said.contains("unrecognized name"), "{said}");
}

#[test]
fn no_name_gets_the_certificate_and_a_wrong_one_the_alert() {
    let world = World::new();
    let signed = authority(&world).sign(HOST);
    world.edge().certify(HOST, &signed);
    let nginx = world.origin().nginx();
    let _edge = world.edge().run(app(nginx.addr()));
    let said = world.client().s_client(at(EDGE, 443), &["-CAfile", ROOT, "-noservername"]);
    assert!(signed.is_shown_in(&said) && said.contains("hello from nginx"), "{said}");
    for version in ["-tls1_2", "-tls1_3"] {
        let said = ask(&world, &["-servername", "other.example.com", version]);
        assert!(said.contains("unrecognized name"), "{version}: {said}");
    }
    let event = await_event(&world, |event| event["Event"] == "tlsError");
    assert_eq!(
        (&event["Status"], &event["extensions"]["reason"]),
        (&400.into(), &"client_asks_for_another_name".into())
    );
}

#[test]
fn an_application_without_a_certificate_turns_its_clients_away_and_others_are_served() {
    let world = World::new();
    let authority = authority(&world);
    let nginx = world.origin().nginx();
    world.edge().certify(HOST, &authority.sign(HOST));
    let two = app(nginx.addr()).app("tcp/443").on(&[EDGE_OTHER]).origin(nginx.addr()).line("tls = \"flexible\"");
    let mut edge = world.edge().run(two);
    let other = || world.client().s_client(at(EDGE_OTHER, 443), &["-servername", "app2.example.com"]);
    assert!(other().contains("alert internal error"), "{}", other());
    let event = await_event(&world, |event| event["Event"] == "tlsError");
    assert_eq!((&event["Status"], &event["extensions"]["reason"]), (&540.into(), &"no_certificate".into()));
    assert!(ask(&world, &[]).contains("hello from nginx"));
    let is_told = |words: &str| is_degraded(&world.edge().status(), words);
    assert!(is_told("no certificate for app2.example.com: its clients are turned away"));
    assert!(!is_told("no certificate for app1.example.com"));
    // One that is no good changes nothing of it.
    world.edge().certify_raw("app2.example.com.pem", "no certificate at all");
    edge.process().await_line("app2.example.com.pem: ");
    assert!(is_told("no certificate for app2.example.com: its clients are turned away"));
    // It needs no restart once there is one.
    world.edge().certify("app2.example.com", &authority.sign("app2.example.com"));
    wait::eventually("it is served, too", || other().contains("hello from nginx").then_some(()));
    assert_eq!(edge.status()["daemon"]["degraded"], serde_json::json!([]));
}

fn is_degraded(status: &Value, words: &str) -> bool {
    status["daemon"]["degraded"].as_array().unwrap().iter().any(|told| told.as_str().unwrap().contains(words))
}

/// A connection in TLS that stays open.
fn open(world: &World, authority: &Authority) -> StreamOwned<ClientConnection, std::net::TcpStream> {
    let mut roots = RootCertStore::empty();
    roots.add(rustls::pki_types::CertificateDer::from_pem_slice(authority.pem().as_bytes()).unwrap()).unwrap();
    let config = ClientConfig::builder_with_provider(provider(Peer::Origin)).with_safe_default_protocol_versions();
    let config = Arc::new(config.unwrap().with_root_certificates(roots).with_no_client_auth());
    let session = ClientConnection::new(config, HOST.try_into().unwrap()).unwrap();
    StreamOwned::new(session, world.client().connect(at(EDGE, 443)).unwrap())
}

#[test]
fn a_certificate_that_is_replaced_is_shown_without_a_restart_and_open_connections_go_on() {
    let world = World::new();
    let authority = authority(&world);
    world.edge().certify(HOST, &authority.sign(HOST));
    let echo = world.origin().echo();
    let edge = world.edge().run(app(echo.addr()));
    let mut client = open(&world, &authority);
    let mut asks = || {
        let mut answer = [0];
        client.write_all(b"?").and_then(|()| client.read_exact(&mut answer)).map(|()| answer)
    };
    assert_eq!(asks().unwrap(), *b"?");
    let next = authority.sign(HOST);
    world.edge().certify(HOST, &next);
    let shown = || {
        let said = world.client().s_client_after(":", edge.at(443), &["-servername", HOST]);
        next.is_shown_in(&said).then_some(())
    };
    wait::within(std::time::Duration::from_secs(10), shown).unwrap();
    assert_eq!(asks().unwrap(), *b"?");
}

#[test]
fn a_replacement_that_is_no_good_is_told_and_the_one_before_stays() {
    let world = World::new();
    let authority = authority(&world);
    let good = authority.sign(HOST);
    let nginx = world.origin().nginx();
    world.edge().certify(HOST, &good);
    let mut edge = world.edge().run(app(nginx.addr()));
    let next = authority.sign(HOST);
    let cut = next.chain.len() / 2;
    for (bad, told) in [
        (next.chain[..cut].to_owned(), "cut short"),
        (format!("{}{}", next.chain, good.key), "does not fit the certificate"),
        (next.chain.clone(), "there is no key"),
        (String::new(), "is empty"),
        ("no certificate at all".to_owned(), "there is no PEM in it"),
    ] {
        edge.process().forget();
        world.edge().certify_raw(&format!("{HOST}.pem"), &bad);
        edge.process().await_line(told);
        assert!(good.is_shown_in(&ask(&world, &[])), "{told}");
    }
    world.edge().namespace().stdout("ln", &["-sf", "/mnt/nowhere", &format!("/mnt/certificates/{HOST}.pem")]);
    edge.process().await_line("a link that points to nothing");
    assert!(good.is_shown_in(&ask(&world, &[])), "a link to nothing");
    world.edge().certify(HOST, &next);
    await_shown(&world, &next);
}

#[test]
fn what_the_daemon_keeps_only_its_owner_reads_and_no_key_is_logged() {
    let world = World::new();
    let authority = authority(&world);
    let keys = [authority.sign(HOST), authority.sign_rsa(HOST), authority.sign(HOST)];
    world.edge().certify(&format!("{HOST}.ecdsa"), &keys[0]);
    world.edge().certify(&format!("{HOST}.rsa"), &keys[1]);
    let nginx = world.origin().nginx();
    let mut edge = world.edge().run(app(nginx.addr()));
    assert!(ask(&world, &[]).contains("hello from nginx"));
    // Where the chain should be there is a key: what is told of it must not quote it.
    world.edge().certify_raw(&format!("{HOST}.ecdsa.pem"), &keys[2].key);
    edge.process().await_line("there is no certificate in it");
    let modes = wait::eventually("ticket keys are kept", || {
        world.edge().namespace().run(|| {
            let mode = |path: &std::path::Path| std::fs::metadata(path).unwrap().mode() & 0o7777;
            let directory = std::path::Path::new("/var/lib/spectrum/tls");
            let files: Vec<_> = std::fs::read_dir(directory).ok()?.map(|entry| entry.unwrap().path()).collect();
            let modes = files.iter().map(|path| (path.clone(), mode(path))).collect::<Vec<_>>();
            (!modes.is_empty()).then(|| (mode(directory), modes))
        })
    });
    assert_eq!(modes.0, 0o700);
    assert!(modes.1.iter().all(|(_, mode)| *mode == 0o600), "{:?}", modes.1);
    assert!(edge.terminate().success());
    let printed = edge.process().printed();
    for key in &keys {
        assert!(key.key_lines().all(|line| line.len() < 16 || !printed.contains(line)), "a key is in the log");
    }
}

/// Begins a session in this version and keeps it.
fn begin(world: &World, version: &str, more: &[&str]) {
    let said = ask(world, &[&[version, "-sess_out", "/mnt/session"], more].concat());
    assert!(said.contains("hello from nginx") && said.contains("New, TLSv1"), "{said}");
}

fn goes_on(world: &World, version: &str, more: &[&str]) -> bool {
    let said = ask(world, &[&[version, "-sess_in", "/mnt/session"], more].concat());
    assert!(said.contains("hello from nginx"), "{said}");
    said.contains("Reused, TLSv1")
}

#[test]
fn sessions_go_on_after_a_restart_and_in_a_successor() {
    let world = World::new();
    let signed = authority(&world).sign(HOST);
    world.edge().certify(HOST, &signed);
    let nginx = world.origin().nginx();
    for version in ["-tls1_2", "-tls1_3"] {
        let mut edge = world.edge().run(app(nginx.addr()));
        begin(&world, version, &[]);
        assert!(goes_on(&world, version, &[]), "{version}");
        begin(&world, version, &[]);
        assert!(edge.terminate().success());
        drop(edge);
        let mut edge = Lineage::start(world.edge(), app(nginx.addr()));
        assert!(goes_on(&world, version, &[]), "{version}, after a restart");
        begin(&world, version, &[]);
        edge.upgrade();
        assert!(goes_on(&world, version, &[]), "{version}, in the successor");
        edge.terminate_all();
    }
}

#[test]
fn a_session_that_other_authorities_let_in_begins_anew() {
    let world = World::new();
    let authority = authority(&world);
    world.edge().certify(HOST, &authority.sign(HOST));
    let nginx = world.origin().nginx();
    let (chain, key) = authority.sign_client("me").publish(world.edge(), "me");
    let me = ["-cert", &*chain, "-key", &*key];
    let ca = authority.publish(world.edge(), "clients.crt");
    let _edge = world.edge().run(app(nginx.addr()).extension("client_ca", &format!("\"{ca}\"")));
    for version in ["-tls1_2", "-tls1_3"] {
        begin(&world, version, &me);
        assert!(goes_on(&world, version, &me), "{version}");
        begin(&world, version, &me);
        let others = Authority::new("of other clients");
        let both = authority.pem() + &others.pem();
        world.edge().namespace().write("clients.crt", both);
        wait::eventually("it begins anew", || (!goes_on(&world, version, &me)).then_some(()));
        begin(&world, version, &me);
        world.edge().namespace().write("clients.crt", others.pem());
        wait::eventually("it is refused", || {
            let said = ask(&world, &[&[version, "-sess_in", "/mnt/session"], &me[..]].concat());
            (!said.contains("hello from nginx")).then_some(())
        });
        authority.publish(world.edge(), "clients.crt");
        wait::eventually("it is let in", || ask(&world, &me).contains("hello from nginx").then_some(()));
    }
}

const SEAL_KEY: &str = "seal.key";

/// Puts a key in place that ticket keys are sealed with: 64 times this digit.
fn seal(world: &World, digit: &str) {
    let path = world.edge().namespace().write(SEAL_KEY, digit.repeat(64));
    world.edge().stdout("chmod", &["600", path.to_str().unwrap()]);
}

/// What is kept of ticket keys: names, modes and bytes of the files.
fn kept_of_tickets(world: &World) -> Vec<(String, u32, Vec<u8>)> {
    world.edge().namespace().run(|| {
        let files = std::fs::read_dir("/var/lib/spectrum/tls").unwrap().map(|entry| entry.unwrap());
        let kept = files.map(|file| {
            let mode = file.metadata().unwrap().mode() & 0o7777;
            (file.file_name().into_string().unwrap(), mode, std::fs::read(file.path()).unwrap())
        });
        kept.collect()
    })
}

#[test]
fn sessions_go_on_after_a_restart_only_with_the_seal_key_that_their_keys_were_sealed_with() {
    let world = World::new();
    world.edge().certify(HOST, &authority(&world).sign(HOST));
    let nginx = world.origin().nginx();
    let node = config().raw(EVENTS).raw(&node_tls(&format!("seal_key = \"/mnt/{SEAL_KEY}\"")));
    let sealed = node.app("tcp/443").origin(nginx.addr()).line("tls = \"flexible\"");
    let restart = |mut edge: Daemon<'_>| {
        assert!(edge.terminate().success());
        drop(edge);
        world.edge().run(&sealed)
    };
    seal(&world, "5");
    let mut edge = world.edge().run(&sealed);
    for version in ["-tls1_2", "-tls1_3"] {
        begin(&world, version, &[]);
        edge = restart(edge);
        assert!(goes_on(&world, version, &[]), "{version}: with the same key");

        begin(&world, version, &[]);
        seal(&world, "6");
        edge = restart(edge);
        edge.process().await_line("sealed with another key); it is replaced, and sessions begin anew");
        assert!(!goes_on(&world, version, &[]), "{version}: with another key");
        begin(&world, version, &[]);
        assert!(goes_on(&world, version, &[]), "{version}: begun anew");
        wait::eventually("the file is of the other key", || {
            (edge.status()["daemon"]["degraded"] == serde_json::json!([])).then_some(())
        });
        edge = restart(edge);
        assert!(goes_on(&world, version, &[]), "{version}: with the other key for the second time");
        seal(&world, "5");
        edge = restart(edge);
    }
    begin(&world, "-tls1_3", &[]);
    world
        .client()
        .stdout("openssl", &["sess_id", "-in", "/mnt/session", "-outform", "DER", "-out", "/mnt/session.der"]);
    let session = world.client().namespace().run(|| std::fs::read("/mnt/session.der").unwrap());
    let kept = kept_of_tickets(&world);
    let [(name, 0o600, bytes)] = &kept[..] else { panic!("{kept:?}") };
    assert_eq!(name, "tickets.sealed");
    // A ticket begins with the name of its key, which stands beside the key where keys are kept.
    let found = session.windows(16).find(|part| bytes.windows(16).any(|kept| kept == *part));
    assert_eq!(found, None, "a ticket key is kept in the clear");
    for known in [&[0x55; 32][..], &[b'5'; 64]] {
        assert!(!bytes.windows(known.len()).any(|part| part == known), "the seal key is kept beside what it seals");
    }
}

#[test]
fn a_seal_key_that_others_can_read_is_told_and_tickets_stay_in_memory() {
    let world = World::new();
    world.edge().certify(HOST, &authority(&world).sign(HOST));
    let nginx = world.origin().nginx();
    let node = config().raw(EVENTS).raw(&node_tls(&format!("seal_key = \"/mnt/{SEAL_KEY}\"")));
    let sealed = node.app("tcp/443").origin(nginx.addr()).line("tls = \"flexible\"");
    let path = world.edge().namespace().write(SEAL_KEY, "5".repeat(64));
    world.edge().stdout("chmod", &["644", path.to_str().unwrap()]);
    let edge = world.edge().run(&sealed);
    let told = |words: &str| is_degraded(&edge.status(), words).then_some(());
    wait::eventually("it is told", || told("others can get at the seal key /mnt/seal.key (mode 0644)"));
    begin(&world, "-tls1_3", &[]);
    assert!(goes_on(&world, "-tls1_3", &[]));
    assert!(kept_of_tickets(&world).is_empty());
}
