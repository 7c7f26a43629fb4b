//! What scanners find at an edge that ends TLS.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test that cannot go on panics: that is its report")]

use serde_json::Value;
use spectrum_tests::{
    World, config,
    world::{
        EDGE,
        pki::{Authority, HOST, node_tls},
    },
};

/// An edge with certificates of both kinds in front of nginx.
fn with_edge(scan: impl FnOnce(&World)) {
    let world = World::new();
    let authority = Authority::new("an authority of a test");
    world.edge().certify(&format!("{HOST}.ecdsa"), &authority.sign(HOST));
    world.edge().certify(&format!("{HOST}.rsa"), &authority.sign_rsa(HOST));
    let nginx = world.origin().nginx();
    let app = config().raw(&node_tls("")).app("tcp/443").origin(nginx.addr()).line("tls = \"flexible\"");
    let _edge = world.edge().run(app);
    scan(&world);
}

#[test]
fn sslscan_finds_two_versions_and_nothing_that_is_weak() {
    with_edge(|world| {
        let (sni, target) = (format!("--sni-name={HOST}"), format!("{EDGE}:443"));
        let text = world.client().stdout("sslscan", &["--no-colour", &sni, &target]);
        for line in ["TLSv1.0   disabled", "TLSv1.1   disabled", "TLSv1.2   enabled", "TLSv1.3   enabled"] {
            assert!(text.contains(line), "{line}: {text}");
        }
        assert!(text.contains("TLSv1.3 not vulnerable to heartbleed"), "{text}");
        let accepted = text.lines().filter(|line| line.starts_with("Preferred") || line.starts_with("Accepted"));
        let weak: Vec<_> = accepted.filter(|line| !line.contains("GCM") && !line.contains("CHACHA20")).collect();
        assert!(weak.is_empty(), "{weak:?}");
    });
}

#[test]
fn testssl_finds_no_vulnerability() {
    with_edge(|world| {
        let target = format!("{HOST}:443");
        let ip = format!("--ip={EDGE}");
        let which = ["--heartbleed", "--ccs-injection", "--ticketbleed", "--robot", "--renegotiation", "--compression"];
        let more = ["--poodle", "--sweet32", "--freak", "--logjam", "--drown", "--beast", "--rc4", "--protocols"];
        let how = ["--quiet", "--color", "0", "--warnings", "off", "--nodns", "none", "--jsonfile", "/mnt/found.json"];
        let arguments = [&how[..], &which, &more, &[&ip, &target]].concat();
        let output = world.client().output("testssl", &arguments);
        let text = String::from_utf8_lossy(&output.stdout);
        let json = world.client().namespace().run(|| std::fs::read_to_string("/mnt/found.json"));
        let found: Value = serde_json::from_str(&json.unwrap_or_else(|error| panic!("{error}: {text}"))).unwrap();
        let found = found.as_array().unwrap();
        let bad: Vec<_> = found
            .iter()
            .filter(|one| ["LOW", "MEDIUM", "HIGH", "CRITICAL"].contains(&one["severity"].as_str().unwrap()))
            .collect();
        assert!(bad.is_empty(), "{bad:#?}\n{text}");
        for id in ["heartbleed", "CCS", "ticketbleed", "ROBOT", "secure_client_renego", "TLS1_3"] {
            assert!(found.iter().any(|one| one["id"] == id), "{id} was not looked for: {text}");
        }
    });
}
