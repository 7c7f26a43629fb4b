//! Certificates from a directory, at the edge: the real binary asks, the directory looks at what its port 443 shows, and clients
//! get what comes of it.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test that cannot go on panics: that is its report")]

use std::{
    io::{Read as _, Write as _},
    net::{IpAddr, SocketAddr, TcpStream},
    time::{Duration, Instant},
};

use serde_json::Value;
use spectrum_tests::{
    World, config, wait,
    world::{
        CLIENT, EDGE, EDGE_OTHER, HOST,
        acme::{Directory, Fault, Place},
        client::Knock,
        config::Config,
        edge::at,
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
    asking_by("tls-alpn-01", directory)
}

fn asking_by(challenge: &str, directory: &Directory) -> Config {
    config().raw(EVENTS).raw(&format!(
        "[tls]\ncertificates = \"/mnt/certificates\"\n[tls.acme]\ndirectory = \"{}\"\nchallenge = \"{challenge}\"\n\
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
    serial_at(world, host, at(address, 443), authority)
}

fn serial_at(world: &World, host: &str, edge: SocketAddr, authority: &str) -> Option<String> {
    let command = format!(
        "openssl s_client -connect {edge} -servername {host} -verify_hostname {host} -CAfile /mnt/{authority} \
         -verify_return_error </dev/null | openssl x509 -noout -serial"
    );
    let output = world.client().output("sh", &["-c", &command]);
    output.status.success().then(|| String::from_utf8(output.stdout).unwrap())
}

fn await_serial(world: &World, host: &str, address: IpAddr) -> String {
    await_serial_at(world, host, at(address, 443))
}

fn await_serial_at(world: &World, host: &str, edge: SocketAddr) -> String {
    wait::eventually("there is a certificate", || serial_at(world, host, edge, "root.pem"))
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
fn names_that_share_an_address_have_a_certificate_each() {
    let world = World::new();
    make_folder(&world);
    let (directory, origin) = (directory(&world), world.origin().echo());
    let names = ["a.example.com", "b.example.com"];
    let mut file = asking(&directory);
    for host in names {
        resolve(&directory, host, EDGE);
        let sni = format!("[\"{host}\"]");
        file = file.app("tcp/443").origin(origin.addr()).line(FLEXIBLE).extension("sni", &sni);
    }
    let edge = world.edge().run(file);
    let serials = names.map(|host| await_serial(&world, host, EDGE));
    assert_ne!(serials[0], serials[1]);
    let status = edge.status();
    let asked: Vec<&Value> = status["daemon"]["acme"].as_array().unwrap().iter().map(|row| &row["host"]).collect();
    assert_eq!(asked, names, "nobody asks for the hostname, to which no client comes");
    assert_eq!(directory.issued(), 2);
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
    // Whose TLS ends elsewhere.
    let file = file.app("tcp/443").on(&[third]).origin(origin.addr());
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

const HOST_NAME: &str = "app1.example.com";

#[test]
fn a_port_that_no_application_has_answers_challenges_and_nothing_else() {
    for (challenge, port) in [("http-01", 80), ("tls-alpn-01", 443)] {
        let world = World::new();
        make_folder(&world);
        let (directory, origin) = (directory(&world), world.origin().echo());
        resolve(&directory, HOST_NAME, EDGE);
        let alone = |mode: &str, file: Config| file.app("tcp/8443").origin(origin.addr()).line(mode);
        let file = alone(FLEXIBLE, asking_by(challenge, &directory));
        let checked = world.edge().spectrum_with("check", file.clone());
        let told = format!("challenges for app1.example.com are answered at {} (for nothing else)", at(EDGE, port));
        assert!(String::from_utf8_lossy(&checked.stdout).contains(&told), "{checked:?}");

        let mut edge = world.edge().run(file);
        await_serial_at(&world, HOST_NAME, edge.at(8443));
        assert_eq!(directory.issued(), 1, "{challenge}");
        let challenged = ("disconnect".to_owned(), 200, "acme_challenge".to_owned());
        assert!(ends(&world).contains(&challenged), "{:?}", ends(&world));
        let standing = asked_for(&edge.status(), HOST_NAME);
        assert_eq!(standing["state"], "held", "{standing}");
        let expected = serde_json::json!([{ "at": at(EDGE, port).to_string(), "alone": true }]);
        assert_eq!(standing["answers"], expected);
        assert!(world.edge().spectrum_ok(&["status"]).contains("(for nothing else)"));

        let turned_away = if challenge == "http-01" {
            let answer = world.client().ask(edge.at(80), b"GET / HTTP/1.1\r\nHost: app1.example.com\r\n\r\n");
            assert!(answer.starts_with(b"HTTP/1.1 404 Not Found\r\n"), "{}", String::from_utf8_lossy(&answer));
            ("clientFiltered".to_owned(), 999, "no_challenge".to_owned())
        } else {
            for (offered, alert) in [("", "handshake failure"), ("-alpn h2", "no application protocol")] {
                let client = format!("openssl s_client -connect {} {offered} </dev/null", edge.at(443));
                let refused = world.client().output("sh", &["-c", &client]);
                let told = String::from_utf8_lossy(&refused.stderr);
                assert!(!refused.status.success() && told.contains(alert), "{told}");
            }
            ("tlsError".to_owned(), 443, "client_asks_for_no_challenge".to_owned())
        };
        wait::eventually("it is told of", || ends(&world).contains(&turned_away).then_some(()));
        assert_eq!(world.client().knock(edge.at(81)), Knock::Silence, "no other port is opened");

        // Nobody is left who needs it: the port is a pool's closed one.
        edge.reload(alone("tls = \"off\"", asking_by(challenge, &directory)));
        assert_eq!(world.client().knock(edge.at(port)), Knock::Silence);
        edge.reload(alone(FLEXIBLE, asking_by(challenge, &directory)));
        assert_eq!(world.client().knock(edge.at(port)), Knock::Connected);
        assert!(edge.terminate().success());
        drop(edge);
        let edge = world.edge().run(alone(FLEXIBLE, config()));
        assert_eq!(world.client().knock(edge.at(port)), Knock::Silence, "nobody asks for certificates any more");
    }
}

#[test]
fn a_file_is_shown_beside_an_application_whose_clients_notice_nothing() {
    let world = World::new();
    make_folder(&world);
    // It speaks first.
    let (directory, origin) = (directory(&world), world.origin().named(&[4000]));
    resolve(&directory, HOST_NAME, EDGE);
    directory.wait(true);
    let file = asking_by("http-01", &directory).app("tcp/8443").origin(origin.addr()).line(FLEXIBLE);
    let edge = world.edge().run(file.app("tcp/80").origin(origin.addr()));
    let client = world.client();
    let reaches = |question: &[u8]| {
        let answer = client.ask(edge.at(80), question);
        assert_eq!(answer, [b"4000\n", question].concat(), "{}", String::from_utf8_lossy(question));
    };
    let token = wait::eventually("an order is open", || directory.token(HOST_NAME));
    let of = |host: &str, token: &str| {
        format!("GET /.well-known/acme-challenge/{token} HTTP/1.1\r\nHost: {host}\r\n\r\n").into_bytes()
    };
    wait::eventually("the file is shown", || {
        let answer = client.ask(edge.at(80), &of(HOST_NAME, &token));
        answer.starts_with(b"HTTP/1.1 200 OK\r\n").then_some(())
    });
    let questions = [
        b"GET / HTTP/1.1\r\nHost: app1.example.com\r\n\r\n".to_vec(),
        of(HOST_NAME, "another"),
        of("app2.example.com", &token),
        b"GET /.well-known/acme-cha".to_vec(),
        b"\x16\x03\x01\0\0".to_vec(),
        b"".to_vec(),
    ];
    for question in &questions {
        reaches(question);
    }
    // In pieces, of which the first could be a directory's.
    let mut slow = client.connect(edge.at(80)).unwrap();
    let whole = of(HOST_NAME, "another");
    for piece in whole.chunks(16) {
        slow.write_all(piece).unwrap();
        wait::pause(Duration::from_millis(30));
    }
    let mut answer = vec![0; 5 + whole.len()];
    slow.read_exact(&mut answer).unwrap();
    assert_eq!(answer, [b"4000\n", &*whole].concat());
    let mut silent = client.connect(edge.at(80)).unwrap();
    let mut greeting = [0; 5];
    silent.read_exact(&mut greeting).unwrap();
    assert_eq!(&greeting, b"4000\n", "whose origin speaks first");

    directory.wait(false);
    await_serial_at(&world, HOST_NAME, edge.at(8443));
    for question in &questions {
        reaches(question);
    }
    let standing = asked_for(&edge.status(), HOST_NAME);
    let expected = serde_json::json!([{ "at": edge.at(80).to_string(), "alone": false }]);
    assert_eq!(standing["answers"], expected);
}

#[test]
fn a_program_of_the_host_keeps_its_port_and_gets_it_back() {
    let world = World::new();
    make_folder(&world);
    let (directory, origin) = (directory(&world), world.origin().echo());
    resolve(&directory, HOST_NAME, HOST);
    let program = world.edge().host_service(&[80]);
    let greets = || world.client().ask(at(HOST, 80), b"").starts_with(b"80\n");
    let file = asking_by("http-01", &directory).app("tcp/8443").on(&[HOST]).origin(origin.addr()).line(FLEXIBLE);
    let checked = world.edge().spectrum_with("check", file.clone());
    let why = "port 80 of its address 192.0.2.1 is a program's of this host";
    assert!(checked.status.success() && String::from_utf8_lossy(&checked.stderr).contains(why), "{checked:?}");
    let mut edge = world.edge().run(file.clone());
    assert!(greets(), "it is reached as ever");
    assert_eq!(asked_for(&edge.status(), HOST_NAME)["state"], "impossible");
    assert!(is_degraded(&edge.status(), why), "{}", edge.status());
    assert_eq!(directory.asked("order"), 0);

    drop(program);
    edge.reload(file.clone());
    await_serial_at(&world, HOST_NAME, at(HOST, 8443));
    let program = world.edge().host_service(&[80]);
    wait::eventually("it gets the port back", || greets().then_some(()));
    assert!(is_degraded(&edge.status(), why), "{}", edge.status());
    edge.reload(file);
    assert!(greets());
    drop(program);
}

#[test]
fn who_has_nothing_to_say_where_challenges_are_answered_is_not_waited_for() {
    for (challenge, port) in [("http-01", 80), ("tls-alpn-01", 443)] {
        let world = World::new();
        make_folder(&world);
        let (directory, origin) = (directory(&world), world.origin().echo());
        directory.fail("directory", Fault::Broken, 1000);
        let file = asking_by(challenge, &directory).app("tcp/8443").origin(origin.addr()).line(FLEXIBLE);
        let edge = world.edge().run(file.extension("handshake_timeout", "\"2s\""));
        let connect = || world.client().connect(edge.at(port)).unwrap();
        let ends_soon = |what: &str, mut stream: TcpStream, mut say: Box<dyn FnMut(&mut TcpStream) -> bool>| {
            let begun = Instant::now();
            stream.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
            let mut part = [0; 1024];
            // Over where nothing can be said any more, or there is an end to be read.
            while say(&mut stream) && !matches!(stream.read(&mut part), Ok(0)) {
                assert!(begun.elapsed() < Duration::from_secs(20), "{challenge}: {what}");
            }
        };
        let is_open = |stream: &mut TcpStream| stream.take_error().unwrap().is_none();
        ends_soon("silent", connect(), Box::new(is_open));
        let mut first = Some(b"GET / HTTP/1.1\r\nHost: ".to_vec()).into_iter();
        ends_soon(
            "byte by byte",
            connect(),
            Box::new(move |stream| stream.write_all(&first.next().unwrap_or_else(|| b"a".to_vec())).is_ok()),
        );
        let mut record = Some(vec![0x16, 3, 1, 1, 0, 1]).into_iter();
        ends_soon(
            "a handshake byte by byte",
            connect(),
            Box::new(move |stream| stream.write_all(&record.next().unwrap_or_else(|| vec![0])).is_ok()),
        );
        ends_soon("garbage", connect(), Box::new(|stream| stream.write_all(&[b'x'; 4096]).is_ok()));
        wait::eventually("nobody is left", || {
            let open = edge.status()["daemon"]["applications"][0]["connections_active"].as_u64();
            (open == Some(0)).then_some(())
        });
        let late = if challenge == "http-01" { "challenge_timeout" } else { "client_handshake_timeout" };
        wait::eventually("it is told of", || ends(&world).iter().any(|(_, _, reason)| reason == late).then_some(()));
        assert_eq!(origin.accepted(), 0, "nobody dials");
    }
}
