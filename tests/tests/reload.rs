//! SIGHUP: an edited file is applied, and nothing that it does not speak of is touched.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test that cannot go on panics: that is its report")]

use std::{
    io::{Read as _, Write as _},
    net::TcpStream,
};

use spectrum_tests::{
    World, config,
    world::{CLIENT, EDGE, EDGE_OTHER, ORIGIN, SHUNNED, client::Knock, edge::at},
};

/// One question and its answer over a connection that stays open.
fn still_echoes(connection: &mut TcpStream) -> bool {
    let mut answer = [0; 4];
    connection.write_all(b"ping").and_then(|()| connection.read_exact(&mut answer)).is_ok() && &answer == b"ping"
}

#[test]
fn applications_come_go_and_change_while_others_keep_their_connections() {
    let world = World::new();
    let echo = world.origin().echo();
    let _named = world.origin().named(&[3001, 3002]);
    let keeper = || config().app("tcp/443").origin(echo.addr());
    let mut edge = world.edge().run(keeper().app("tcp/4001").origin(at(ORIGIN, 3001)));
    let mut connection = world.client().connect(edge.at(443)).unwrap();
    assert!(still_echoes(&mut connection));

    edge.reload(keeper().app("tcp/4001").origin(at(ORIGIN, 3002)));
    assert_eq!(world.client().ask(edge.at(4001), b""), b"3002\n", "changed: another origin");
    assert!(still_echoes(&mut connection));

    edge.reload(
        keeper()
            .app("tcp/4001")
            .origin(at(ORIGIN, 3002))
            .app("tcp/4002-4003")
            .on(&[EDGE_OTHER])
            .origin(format!("{ORIGIN}:3001-3002")),
    );
    assert_eq!(world.client().ask(at(EDGE_OTHER, 4003), b""), b"3002\n", "added");
    assert!(still_echoes(&mut connection));

    edge.reload(keeper());
    for gone in [edge.at(4001), at(EDGE_OTHER, 4003)] {
        assert_eq!(world.client().knock(gone), Knock::Silence, "removed");
    }
    assert!(still_echoes(&mut connection));
    assert!(still_echoes(&mut world.client().connect(edge.at(443)).unwrap()), "new ones as before");
}

#[test]
fn an_established_connection_keeps_the_application_it_began_with() {
    let world = World::new();
    let echo = world.origin().echo();
    let _named = world.origin().named(&[3001]);
    let mut edge = world.edge().run(config().app("tcp/443").origin(echo.addr()));
    let mut connection = world.client().connect(edge.at(443)).unwrap();
    assert!(still_echoes(&mut connection));
    edge.reload(config().app("tcp/443").origin(at(ORIGIN, 3001)));
    assert!(still_echoes(&mut connection), "I9: classified once");
    assert_eq!(world.client().ask(edge.at(443), b""), b"3001\n");
}

#[test]
fn an_open_connection_outlives_its_application() {
    let world = World::new();
    let echo = world.origin().echo();
    let both = config().app("tcp/443").origin(echo.addr()).app("tcp/444").origin(echo.addr());
    let mut edge = world.edge().run(both);
    let mut connection = world.client().connect(edge.at(444)).unwrap();
    assert!(still_echoes(&mut connection));
    edge.reload(config().app("tcp/443").origin(echo.addr()));
    assert_eq!(world.client().knock(edge.at(444)), Knock::Silence, "the port is closed for new ones");
    assert!(still_echoes(&mut connection), "I9: revocation is an explicit act");
}

#[test]
fn a_reload_that_fails_moves_no_dynamic_address() {
    let world = World::new();
    let echo = world.origin().echo();
    let dynamic = |names: &[&str]| {
        let app = |name: &&str| {
            format!(
                "[[applications]]\nprotocol = \"tcp/7000\"\ndns = {{ type = \"CNAME\", name = \"{name}.example.com\" }}\n\
                 edge_ips = {{ type = \"dynamic\", connectivity = \"ipv4\" }}\norigin_direct = [\"tcp://{}\"]\n",
                echo.addr()
            )
        };
        names.iter().fold(config().node("state_dir", "\"/mnt/state\""), |file, name| file.raw(&app(name)))
    };
    let served = dynamic(&["a", "b"]);
    let mut edge = world.edge().run(&served);
    let addresses = |edge: &spectrum_tests::world::edge::Daemon<'_>| {
        let applications = edge.status()["daemon"]["applications"].clone();
        applications.as_array().unwrap().iter().map(|app| app["edge_ips"].clone()).collect::<Vec<_>>()
    };
    let before = addresses(&edge);
    edge.reload(dynamic(&["b", "c"]).raw("[geo]\ncountry = \"/mnt/none.mmdb\"\n"));
    assert!(edge.status()["daemon"]["problem"].is_string());
    edge.reload(&served);
    assert_eq!((addresses(&edge), edge.status()["daemon"]["problem"].is_null()), (before, true));
}

#[test]
fn a_file_that_does_not_check_leaves_everything_as_it_was() {
    let world = World::new();
    let echo = world.origin().echo();
    let good = config().app("tcp/443").origin(echo.addr()).ip_firewall().block("192.0.2.66");
    let mut edge = world.edge().run(&good);
    let mut connection = world.client().connect(edge.at(443)).unwrap();
    let bad = [
        "this is no TOML".to_owned(),
        String::new(),
        String::from(&good).replace("tcp/443", "tcp/443443"),
        String::from(&good) + "\n[colour]\nred = 1\n",
    ];
    for text in bad {
        edge.reload(text.clone());
        assert!(still_echoes(&mut connection), "{text}");
        assert_eq!(world.client().ask_from(CLIENT, edge.at(443), b"hi"), b"hi", "{text}");
        assert_eq!(world.client().knock_from(SHUNNED, edge.at(443)), Knock::Silence, "{text}");
    }
    assert!(edge.process().printed().contains("colour"), "it says what is wrong");
    edge.reload(config().app("tcp/444").origin(echo.addr()));
    assert_eq!(world.client().ask(edge.at(444), b"hi"), b"hi", "a good file is taken afterwards");
}

#[test]
fn a_filter_that_cannot_be_attached_leaves_everything_as_it_was() {
    let world = World::new();
    let echo = world.origin().echo();
    let good = config().app("tcp/443").origin(echo.addr()).ip_firewall();
    let mut edge = world.edge().run(&good);
    let filtered = || world.edge().stdout("bpftool", &["net", "show"]);
    let before = filtered();
    let other = || config().app("tcp/444").origin(echo.addr()).ip_firewall().block("192.0.2.0/24");
    for bad in [
        other().node("interfaces", "[\"eth0\", \"eth7\"]"),
        // The first of them takes the filter before the second refuses it.
        other().node("interfaces", "[\"eth1\", \"lo\"]").node("xdp_mode", "\"native\""),
    ] {
        edge.reload(bad);
        assert_eq!(world.client().ask(edge.at(443), b"hi"), b"hi");
        assert_eq!(world.client().knock(edge.at(444)), Knock::Silence);
        assert_eq!(filtered(), before);
    }
    assert!(edge.process().printed().contains("eth7"), "it says what is wrong");
}

#[test]
fn rules_apply_to_the_next_connection() {
    let world = World::new();
    let echo = world.origin().echo();
    let open = || config().app("tcp/443").origin(echo.addr()).ip_firewall();
    let mut edge = world.edge().run(open());
    assert_eq!(world.client().ask_from(SHUNNED, edge.at(443), b"hi"), b"hi");
    edge.reload(open().block("192.0.2.64/28"));
    assert_eq!(world.client().knock_from(SHUNNED, edge.at(443)), Knock::Silence);
    assert_eq!(world.client().ask_from(CLIENT, edge.at(443), b"hi"), b"hi");
    edge.reload(open());
    assert_eq!(world.client().ask_from(SHUNNED, edge.at(443), b"hi"), b"hi");
}

#[test]
fn a_pool_can_be_added_and_taken_away() {
    let world = World::new();
    let echo = world.origin().echo();
    let serve = |pools: &str| config().edge("pools", pools).app("tcp/443").on(&[EDGE]).origin(echo.addr());
    let mut edge = world.edge().run(serve("[\"198.51.100.0/28\"]"));
    let routes = || world.edge().stdout("ip", &["-4", "route", "show", "table", "local"]);
    assert!(routes().contains("198.51.100.0/28") && !routes().contains("198.51.100.128/25"), "{}", routes());
    edge.reload(serve("[\"198.51.100.0/28\", \"198.51.100.128/25\"]"));
    assert!(routes().contains("198.51.100.128/25"), "{}", routes());
    assert_eq!(world.client().knock(at("198.51.100.200".parse().unwrap(), 80)), Knock::Silence);
    edge.reload(serve("[\"198.51.100.0/28\"]"));
    assert!(!routes().contains("198.51.100.128/25"), "{}", routes());
    assert_eq!(world.client().ask(edge.at(443), b"hi"), b"hi");
}

#[test]
fn reloads_under_traffic_refuse_nobody() {
    let world = World::new();
    let echo = world.origin().echo();
    let keeper = || config().app("tcp/443").origin(echo.addr());
    let mut edge = world.edge().run(keeper());
    let mut connection = world.client().connect(edge.at(443)).unwrap();
    for round in 0..20_u16 {
        edge.reload(keeper().app(&format!("tcp/{}", 1000 + round)).origin(echo.addr()));
        assert_eq!(world.client().ask(edge.at(443), b"hi"), b"hi", "round {round}");
    }
    assert!(still_echoes(&mut connection));
    assert_eq!(world.client().ask(edge.at(1019), b"hi"), b"hi");
    assert_eq!(world.client().knock(edge.at(1018)), Knock::Silence);
}
