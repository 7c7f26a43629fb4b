//! What distance does to handshakes, and bad lines to what is carried. For kernels that have netem: it runs in a VM alone.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test that cannot go on panics: that is its report")]

use std::{
    fmt,
    io::{Read, Write},
    net::{Shutdown, SocketAddr, TcpStream},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread,
    time::{Duration, Instant},
};

use rustls::{
    ClientConfig, ClientConnection, RootCertStore, ServerConfig, ServerConnection, StreamOwned,
    SupportedProtocolVersion,
    client::Resumption,
    crypto::{CryptoProvider, aws_lc_rs::kx_group::X25519},
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
    version::{TLS12, TLS13},
};
use spectrum_tests::{
    World, config,
    stream::Stream,
    wait,
    world::{
        EDGE,
        config::Config,
        edge::at,
        pki::{Authority, HOST, Signed, node_tls},
    },
};
use spectrum_user::tls::{Peer, provider};

/// From the edge to the origin and back.
const ROUND_TRIP: Duration = Duration::from_millis(100);
const ONE_WAY: &str = "delay 50ms";
/// What processors may make of it: less than a round trip, so whole ones are told apart.
const TOLERANCE: Duration = Duration::from_millis(50);
const TRIES: usize = 11;
/// Processors only add to what a network takes, emulated ones on a busy machine much and never the same. So the least of all
/// tries says what the network took, and more of them say it better.
const MANY_TRIES: usize = 61;
/// Both ways between client and edge: a quarter of the packets overtake others.
const BAD: &str = "delay 4ms reorder 25% loss 1% duplicate 1%";
const MEBIBYTE: usize = 1 << 20;

const QUESTION: &[u8; 4] = b"ask\n";
const ANSWER: &[u8; 7] = b"answer\n";

#[test]
fn flexible_saves_clients_the_round_trips_of_a_handshake_with_a_far_origin() {
    let scene = Scene::new();
    let world = &scene.world;
    world.edge().namespace().netem("eth1", ONE_WAY);
    world.origin().namespace().netem("eth0", ONE_WAY);
    let (clear, tls) = (scene.serve(None), scene.serve(Some(scene.server())));
    let edge = world.edge().run(apps(clear, tls, "auto"));

    let far = world.edge().namespace().run(move || connecting(clear));
    assert!(far >= ROUND_TRIP, "netem delays: the origin is {far:?} away from the edge");
    let near = world.client().namespace().run(move || connecting(at(EDGE, 443)));
    assert!(near < ROUND_TRIP / 2, "the edge is {near:?} away from the client");

    for (name, version, round_trips) in [("1.3", &TLS13, 2), ("1.2", &TLS12, 3)] {
        let client = scene.client(version);
        let ask = |port| {
            let (client, to) = (Arc::clone(&client), edge.at(port));
            world.client().namespace().run(move || ask(client, to))
        };
        // Not counted: what is done for the first time takes longer.
        let _first = (ask(8443), ask(443));
        let mut waits = Both::default();
        while waits.off.len() < TRIES || (waits.saved(round_trips).is_err() && waits.off.len() < MANY_TRIES) {
            // In turns, so that what else the machine does meets both.
            waits.off.add(&ask(8443));
            waits.flexible.add(&ask(443));
        }
        tell(&format!("TLS {name}, origin {} ms away: {waits}", far.as_millis()));
        waits.saved(round_trips).unwrap_or_else(|not| panic!("TLS {name}: {not}: {waits}"));
    }
    // However slow the processor: a handshake that is done without the origin has no round trip to it.
    world.edge().namespace().netem("eth1", "loss 100%");
    let (client, to) = (scene.client(&TLS13), edge.at(443));
    world.client().namespace().run(move || drop(handshake(client, to)));
}

#[test]
fn splice_carries_every_byte_over_a_line_that_loses_repeats_and_reorders() {
    let scene = Scene::new();
    let (listener, origin) = scene.world.origin().listen();
    let edge = scene.world.edge().run(apps(origin, origin, "splice"));
    scene.spoil();
    let client = scene.world.client().connect(edge.at(8443)).unwrap();
    let (accepted, _) = listener.accept().unwrap();
    Stream::both_ways(MEBIBYTE, client, accepted);
    scene.was_bad();
}

#[test]
fn flexible_carries_every_byte_over_a_line_that_loses_repeats_and_reorders() {
    let scene = Scene::new();
    let (listener, origin) = scene.world.origin().listen();
    let edge = scene.world.edge().run(apps(origin, origin, "auto"));
    scene.spoil();
    let [up, down] = [(); 2].map(|()| (0..MEBIBYTE).map(|_| fastrand::u8(..)).collect::<Vec<_>>());
    let (expected, sent) = (up.clone(), down.clone());
    let origin = thread::spawn(move || {
        let (mut accepted, _) = listener.accept().unwrap();
        let mut arrived = Vec::new();
        accepted.read_to_end(&mut arrived).unwrap();
        assert!(arrived == expected, "{} of {MEBIBYTE} bytes up, or others", arrived.len());
        accepted.write_all(&sent).unwrap();
    });
    let session = ClientConnection::new(scene.client(&TLS13), HOST.try_into().unwrap()).unwrap();
    let mut client = StreamOwned::new(session, scene.world.client().connect(edge.at(443)).unwrap());
    client.write_all(&up).unwrap();
    client.conn.send_close_notify();
    client.flush().unwrap();
    client.sock.shutdown(Shutdown::Write).unwrap();
    let mut arrived = Vec::new();
    client.read_to_end(&mut arrived).unwrap();
    assert!(arrived == down, "{} of {MEBIBYTE} bytes down, or others", arrived.len());
    origin.join().unwrap();
    scene.was_bad();
}

struct Scene {
    world: World,
    authority: Authority,
    origin: Signed,
    /// They measure time, so they run one after the other.
    _alone: MutexGuard<'static, ()>,
}

impl Scene {
    fn new() -> Self {
        static ALONE: Mutex<()> = Mutex::new(());
        let alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
        let world = World::new();
        let authority = Authority::new("an authority of a test");
        world.edge().certify(HOST, &authority.sign(HOST));
        Self { origin: authority.sign(HOST), world, authority, _alone: alone }
    }

    fn client(&self, version: &'static SupportedProtocolVersion) -> Arc<ClientConfig> {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(self.authority.pem().as_bytes()).unwrap()).unwrap();
        // The cheapest key exchange: it is the network that is measured.
        let cheap = CryptoProvider { kx_groups: vec![X25519], ..provider(Peer::Origin).as_ref().clone() };
        let client = ClientConfig::builder_with_provider(cheap.into()).with_protocol_versions(&[version]);
        let mut client = client.unwrap().with_root_certificates(roots).with_no_client_auth();
        // Each handshake is a full one.
        client.resumption = Resumption::disabled();
        client.into()
    }

    /// The origin's side of TLS where the edge leaves it to it.
    fn server(&self) -> Arc<ServerConfig> {
        let chain = CertificateDer::pem_slice_iter(self.origin.chain.as_bytes()).collect::<Result<_, _>>().unwrap();
        let key = PrivateKeyDer::from_pem_slice(self.origin.key.as_bytes()).unwrap();
        let server = ServerConfig::builder_with_provider(provider(Peer::Client)).with_safe_default_protocol_versions();
        server.unwrap().with_no_client_auth().with_single_cert(chain, key).unwrap().into()
    }

    /// An origin that answers one question on each connection, in clear or by TLS. It ends by itself when nobody comes.
    fn serve(&self, tls: Option<Arc<ServerConfig>>) -> SocketAddr {
        let (listener, origin) = self.world.origin().listen();
        thread::spawn(move || {
            while let Ok((accepted, _)) = listener.accept() {
                accepted.set_nodelay(true).unwrap();
                // Who only connects has no question.
                let _gone = match &tls {
                    None => answer(accepted),
                    Some(tls) => answer(StreamOwned::new(ServerConnection::new(Arc::clone(tls)).unwrap(), accepted)),
                };
            }
        });
        origin
    }

    fn spoil(&self) {
        for namespace in [self.world.client().namespace(), self.world.edge().namespace()] {
            // One packet each, not a batch of them that is lost as a whole or not at all.
            namespace.ip(&["link set dev eth0 gso_max_segs 1"]);
            namespace.netem("eth0", BAD);
        }
    }

    fn was_bad(&self) {
        let [up, down] = [self.world.client().namespace(), self.world.edge().namespace()].map(|one| one.lost("eth0"));
        tell(&format!("lost {up} packets up and {down} down"));
        assert!(up + down > 0, "netem loses packets");
    }
}

#[expect(
    clippy::explicit_write,
    reason = "who reads the log of a run that passed wants the figures, too: not captured"
)]
fn tell(figures: &str) {
    writeln!(std::io::stderr(), "\nnetem: {figures}").unwrap();
}

/// TLS that ends at the edge on port 443, and at the origin on port 8443, which moves its bytes as `splice` says.
fn apps(clear: SocketAddr, tls: SocketAddr, splice: &str) -> Config {
    let flexible = config().raw(&node_tls("")).app("tcp/443").origin(clear).line("tls = \"flexible\"");
    flexible.app("tcp/8443").origin(tls).line("tls = \"off\"").extension("splice", &format!("\"{splice}\""))
}

/// How long a TCP connection takes to be there, at best: the first packet of a link asks for the neighbour as well.
fn connecting(to: SocketAddr) -> Duration {
    let tries = (0..TRIES).map(|_| {
        let begun = Instant::now();
        TcpStream::connect_timeout(&to, wait::DEADLINE).unwrap();
        begun.elapsed()
    });
    tries.min().unwrap()
}

/// What a client waits for, from before it connects.
struct Waits {
    handshake: Duration,
    first_byte: Duration,
}

fn ask(client: Arc<ClientConfig>, to: SocketAddr) -> Waits {
    let begun = Instant::now();
    let mut stream = handshake(client, to);
    let handshake = begun.elapsed();
    stream.write_all(QUESTION).unwrap();
    let mut answer = [0; ANSWER.len()];
    stream.read_exact(&mut answer[..1]).unwrap();
    let first_byte = begun.elapsed();
    stream.read_exact(&mut answer[1..]).unwrap();
    assert_eq!(&answer, ANSWER);
    Waits { handshake, first_byte }
}

/// A connection through which both sides have shaken hands.
fn handshake(client: Arc<ClientConfig>, to: SocketAddr) -> StreamOwned<ClientConnection, TcpStream> {
    let mut stream = TcpStream::connect_timeout(&to, wait::DEADLINE).unwrap();
    stream.set_nodelay(true).unwrap();
    stream.set_read_timeout(Some(wait::DEADLINE)).unwrap();
    let mut session = ClientConnection::new(client, HOST.try_into().unwrap()).unwrap();
    while session.is_handshaking() {
        session.complete_io(&mut stream).unwrap();
    }
    StreamOwned::new(session, stream)
}

fn answer(mut stream: impl Read + Write) -> std::io::Result<()> {
    let mut question = [0; QUESTION.len()];
    stream.read_exact(&mut question)?;
    stream.write_all(ANSWER)
}

/// The same clients by both ways.
#[derive(Default)]
struct Both {
    off: Tries,
    flexible: Tries,
}

impl Both {
    /// Whether the network took what it must, and `flexible` spares a handshake these round trips; else what is not so.
    fn saved(&self, round_trips: u32) -> Result<(), &'static str> {
        let (off, flexible) = (&self.off, &self.flexible);
        let saved = |off: &Sorted, flexible: &Sorted| off.least().saturating_sub(flexible.least()) + TOLERANCE;
        let facts = [
            ("off: dial, then the round trips of TLS", off.handshake.least() >= ROUND_TRIP * round_trips),
            ("off: and the question", off.first_byte.least() >= ROUND_TRIP * (round_trips + 1)),
            ("flexible: dial and the question", flexible.first_byte.least() >= ROUND_TRIP * 2),
            ("saved: a handshake", saved(&off.handshake, &flexible.handshake) >= ROUND_TRIP * round_trips),
            ("saved: less the dial", saved(&off.first_byte, &flexible.first_byte) >= ROUND_TRIP * (round_trips - 1)),
            // Medians have in them what else the machine did, so one of the round trips may be lost in it.
            (
                "saved: by most clients",
                off.handshake.median() >= flexible.handshake.median() + ROUND_TRIP * (round_trips - 1),
            ),
        ];
        facts.into_iter().try_for_each(|(fact, holds)| if holds { Ok(()) } else { Err(fact) })
    }
}

impl fmt::Display for Both {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { off, flexible } = self;
        write!(f, "{off} with off, {flexible} with flexible (medians of {} with the least and the most)", off.len())
    }
}

/// What all tries took.
#[derive(Default)]
struct Tries {
    handshake: Sorted,
    first_byte: Sorted,
}

impl Tries {
    fn add(&mut self, waits: &Waits) {
        self.handshake.add(waits.handshake);
        self.first_byte.add(waits.first_byte);
    }

    fn len(&self) -> usize {
        self.handshake.0.len()
    }
}

impl fmt::Display for Tries {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "handshake {} and first byte {}", self.handshake, self.first_byte)
    }
}

#[derive(Default)]
struct Sorted(Vec<Duration>);

impl Sorted {
    fn add(&mut self, time: Duration) {
        self.0.insert(self.0.partition_point(|one| *one < time), time);
    }

    fn least(&self) -> Duration {
        self.0[0]
    }

    fn median(&self) -> Duration {
        self.0[self.0.len() / 2]
    }
}

impl fmt::Display for Sorted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [least, median, most] = [self.least(), self.median(), self.0[self.0.len() - 1]].map(|one| one.as_millis());
        write!(f, "{median} ms [{least}, {most}]")
    }
}
