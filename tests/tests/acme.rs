//! Certificates from a directory: the keeper, a real directory, and who shows the challenges, on loopback in one process.
//!
//! Deliberately not here: the edge itself, whose ports show the challenges in a world.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test that cannot go on panics: that is its report")]

use std::{
    fs,
    net::{IpAddr, Ipv4Addr},
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant, SystemTime},
};

use spectrum_tests::{
    wait,
    world::acme::{Directory, Fault, Place, shows::Shows},
};
use spectrum_user::{
    acme::{Challenges, HostReport, HostState, Keeper, Pace, certificates},
    model::{Acme, AcmeChallenge, ExternalAccount, KeyType},
};
use tokio::sync::watch;

const HOST: &str = "a.example";
const LOOPBACK: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
const DAY: Duration = Duration::from_hours(24);

/// A directory, a state folder, and who shows challenges; keepers come and go.
struct Scene {
    directory: Directory,
    state: tempfile::TempDir,
    challenges: Challenges,
    shows: Shows,
    settings: Acme,
    wanted: watch::Sender<Vec<String>>,
    /// Seconds by which the keepers' clock is ahead.
    ahead: Arc<AtomicU64>,
    answer: Duration,
}

fn scene() -> Scene {
    let directory = Directory::start((LOOPBACK, 0).into());
    let state = tempfile::tempdir().unwrap();
    let root = state.path().join("root.pem");
    fs::write(&root, directory.root()).unwrap();
    let settings = Acme {
        directory: directory.url().parse().unwrap(),
        contact: vec!["mailto:ops@example.net".to_owned()],
        challenge: AcmeChallenge::TlsAlpn01,
        root: Some(root),
        external_account: None,
        key_type: KeyType::EcdsaP256,
    };
    let challenges = Challenges::default();
    let shows = Shows::start(LOOPBACK, challenges.clone());
    let wanted = watch::Sender::new(vec![HOST.to_owned()]);
    let (ahead, answer) = (Arc::default(), Duration::from_secs(20));
    let scene = Scene { directory, state, challenges, shows, settings, wanted, ahead, answer };
    scene.resolve(HOST);
    scene
}

impl Scene {
    fn resolve(&self, host: &str) {
        let place = Place { address: LOOPBACK, tls: self.shows.tls(), http: self.shows.http() };
        self.directory.resolve(host, place);
    }

    fn keep(&self) -> Keeper {
        let ahead = Arc::clone(&self.ahead);
        let pace = Pace {
            clock: Arc::new(move || SystemTime::now() + Duration::from_secs(ahead.load(Relaxed))),
            look: Duration::from_millis(50),
            spread: Duration::ZERO,
            answer: self.answer,
            decision: Duration::from_secs(20),
        };
        let (wanted, challenges) = (self.wanted.subscribe(), self.challenges.clone());
        Keeper::start(self.settings.clone(), self.state.path(), wanted, challenges, pace).unwrap()
    }

    /// Moves the clocks of the keepers and of the directory.
    fn pass(&self, time: Duration, life: Duration) {
        let ahead = self.ahead.fetch_add(time.as_secs(), Relaxed) + time.as_secs();
        self.directory.issue(life, Duration::from_secs(ahead));
    }

    /// Moves the clock of the keepers to when a host is tried next.
    fn pass_to_next(&self, keeper: &Keeper) {
        let next = of(keeper, HOST).next_try.unwrap();
        let now = SystemTime::now() + Duration::from_secs(self.ahead.load(Relaxed));
        let wait = next.duration_since(now).unwrap_or_default();
        self.pass(wait + Duration::from_secs(1), 90 * DAY);
    }

    fn pem(&self) -> String {
        fs::read_to_string(certificates(self.state.path()).join(format!("{HOST}.pem"))).unwrap_or_default()
    }

    fn now(&self) -> SystemTime {
        SystemTime::now() + Duration::from_secs(self.ahead.load(Relaxed))
    }
}

fn of(keeper: &Keeper, host: &str) -> HostReport {
    wait::eventually("a report", || keeper.report().into_iter().find(|report| report.host == host))
}

fn await_state(keeper: &Keeper, host: &str, state: HostState) -> HostReport {
    let mut last = None;
    let found = wait::within(Duration::from_secs(50), || {
        let report = of(keeper, host);
        last = Some(report.clone());
        (report.state == state).then_some(report)
    });
    found.unwrap_or_else(|| panic!("not {state:?}: {last:?}"))
}

/// A try that failed with these words in the report.
fn await_problem(keeper: &Keeper, words: &str) -> HostReport {
    let mut last = None;
    let found = wait::within(Duration::from_secs(50), || {
        let report = of(keeper, HOST);
        last = Some(report.clone());
        let is_told = report.problem.as_ref().is_some_and(|problem| problem.contains(words));
        (is_told && report.state != HostState::Ordering).then_some(report)
    });
    found.unwrap_or_else(|| panic!("nothing of {words:?}: {last:?}"))
}

fn accounts(state: &Path) -> Vec<String> {
    let names = fs::read_dir(state.join("acme")).unwrap().map(|entry| entry.unwrap().file_name());
    let names = names.map(|name| name.into_string().unwrap());
    names.filter(|name| name.starts_with("account-")).collect()
}

#[test]
fn both_challenges_lead_to_a_certificate() {
    for challenge in [AcmeChallenge::TlsAlpn01, AcmeChallenge::Http01] {
        let mut scene = scene();
        scene.settings.challenge = challenge;
        let keeper = scene.keep();
        let mut issued = keeper.issued();
        let report = await_state(&keeper, HOST, HostState::Held);
        assert_eq!(report.problem, None);
        assert!(report.not_after.unwrap() > scene.now() + 89 * DAY);
        let renewal = report.next_try.unwrap().duration_since(scene.now()).unwrap();
        assert!((54 * DAY..61 * DAY).contains(&renewal), "{renewal:?}");
        assert_eq!(scene.pem().matches("BEGIN CERTIFICATE").count(), 2, "the chain with its authority");
        assert_eq!(*issued.borrow_and_update(), 1);
        assert!(scene.challenges.is_empty(), "nothing is shown any more");
        assert_eq!(scene.directory.contacts(), [["mailto:ops@example.net"]]);
    }
}

#[test]
fn a_certificate_is_renewed_before_it_ends() {
    let mut scene = scene();
    scene.settings.key_type = KeyType::EcdsaP384;
    let keeper = scene.keep();
    await_state(&keeper, HOST, HostState::Held);
    let first = scene.pem();
    scene.pass(53 * DAY, 90 * DAY);
    wait::pause(Duration::from_millis(300));
    assert_eq!(scene.directory.issued(), 1, "not yet");
    scene.pass(8 * DAY, 90 * DAY);
    wait::eventually("another certificate", || (scene.pem() != first).then_some(()));
    let report = await_state(&keeper, HOST, HostState::Held);
    assert!(report.not_after.unwrap() > scene.now() + 89 * DAY);
    assert_eq!((scene.directory.issued(), scene.directory.accounts()), (2, 1));
}

#[test]
fn a_directory_whose_clock_is_wrong_is_not_asked_again_and_again() {
    let scene = scene();
    // As the keeper sees it, what it gets is old already.
    scene.ahead.store(80 * DAY.as_secs(), Relaxed);
    let keeper = scene.keep();
    let report = await_state(&keeper, HOST, HostState::Held);
    assert!(report.next_try.unwrap() > scene.now() + 29 * DAY);
    wait::pause(Duration::from_millis(300));
    assert_eq!(scene.directory.issued(), 1);
}

#[test]
fn a_restart_keeps_the_account_and_the_certificate() {
    let scene = scene();
    let keeper = scene.keep();
    await_state(&keeper, HOST, HostState::Held);
    let first = scene.pem();
    drop(keeper);
    let keeper = scene.keep();
    await_state(&keeper, HOST, HostState::Held);
    assert_eq!(scene.directory.asked("order"), 1);
    scene.resolve("b.example");
    scene.wanted.send_modify(|wanted| wanted.push("B.example".to_owned()));
    await_state(&keeper, "b.example", HostState::Held);
    assert_eq!((scene.directory.issued(), scene.directory.accounts()), (2, 1));
    assert_eq!(scene.pem(), first);
    scene.wanted.send_replace(Vec::new());
    wait::eventually("nothing is wanted", || keeper.report().is_empty().then_some(()));
}

#[test]
fn another_contact_is_told_and_another_directory_has_another_account() {
    let mut scene = scene();
    let keeper = scene.keep();
    await_state(&keeper, HOST, HostState::Held);
    drop(keeper);
    scene.settings.contact = vec!["mailto:new@example.net".to_owned()];
    scene.pass(61 * DAY, 90 * DAY);
    let keeper = scene.keep();
    wait::eventually("renewal", || (scene.directory.issued() == 2).then_some(()));
    drop(keeper);
    assert_eq!(scene.directory.contacts(), [["mailto:new@example.net"]]);
    let other = Directory::start((LOOPBACK, 0).into());
    other.resolve(HOST, Place { address: LOOPBACK, tls: scene.shows.tls(), http: scene.shows.http() });
    fs::write(scene.settings.root.as_ref().unwrap(), other.root()).unwrap();
    scene.settings.directory = other.url().parse().unwrap();
    let keeper = scene.keep();
    wait::eventually("a certificate of the other", || (other.issued() == 1).then_some(()));
    await_state(&keeper, HOST, HostState::Held);
    assert_eq!(accounts(scene.state.path()).len(), 2);
}

#[test]
fn a_challenge_that_is_not_seen_is_told_and_tried_less_and_less_often() {
    let scene = scene();
    // Nobody is there.
    scene.directory.resolve(HOST, Place { address: LOOPBACK, tls: 1, http: 1 });
    let keeper = scene.keep();
    let mut waits = Vec::new();
    for tries in 1..=4 {
        wait::eventually("a try", || (scene.directory.asked("challenge/") == tries).then_some(()));
        let report = await_problem(&keeper, "does not accept tls-alpn-01: Connection refused");
        assert_eq!((report.state, report.not_after), (HostState::Absent, None));
        waits.push(report.next_try.unwrap().duration_since(scene.now()).unwrap());
        assert!(scene.challenges.is_empty());
        scene.pass_to_next(&keeper);
    }
    // By luck a wait is a quarter shorter or longer than twice the one before, and never under a minute.
    assert!(waits[0] > Duration::from_secs(55) && waits[3] > 3 * waits[0] && waits[3] < 12 * waits[0], "{waits:?}");
    scene.resolve(HOST);
    scene.pass(DAY, 90 * DAY);
    assert_eq!(await_state(&keeper, HOST, HostState::Held).problem, None);
}

#[test]
fn a_directory_believes_what_it_sees_alone() {
    for (challenge, words) in
        [(AcmeChallenge::TlsAlpn01, "does not accept tls-alpn-01"), (AcmeChallenge::Http01, "404 Not Found")]
    {
        let mut scene = scene();
        scene.settings.challenge = challenge;
        // It knows of no challenge.
        let other = Shows::start(LOOPBACK, Challenges::default());
        scene.directory.resolve(HOST, Place { address: LOOPBACK, tls: other.tls(), http: other.http() });
        let keeper = scene.keep();
        await_problem(&keeper, words);
        assert_eq!(scene.directory.issued(), 0);
    }
}

#[test]
fn a_limit_is_honoured_over_a_restart() {
    let scene = scene();
    scene.directory.fail("order", Fault::RateLimited(7200), 1);
    let keeper = scene.keep();
    let report = await_problem(&keeper, "rateLimited");
    let two_hours = Duration::from_hours(2);
    assert!(report.next_try.unwrap() >= scene.now() + two_hours - Duration::from_secs(10));
    drop(keeper);
    let keeper = scene.keep();
    await_problem(&keeper, "rateLimited");
    scene.pass(two_hours / 2, 90 * DAY);
    wait::pause(Duration::from_millis(300));
    assert_eq!(scene.directory.asked("order"), 1);
    scene.pass_to_next(&keeper);
    await_state(&keeper, HOST, HostState::Held);
}

#[test]
fn a_nonce_that_is_none_is_no_failure() {
    let scene = scene();
    for path in ["account", "order", "finalize/"] {
        scene.directory.fail(path, Fault::BadNonce, 1);
    }
    let keeper = scene.keep();
    await_state(&keeper, HOST, HostState::Held);
    assert_eq!((scene.directory.asked("order"), scene.directory.asked("finalize/")), (2, 2));
}

#[test]
fn a_directory_that_fails_is_told_in_words_and_left_alone() {
    for (path, fault, words) in [
        ("directory", Fault::Broken, "the directory refuses with status 500"),
        ("directory", Fault::Garbage, "not what RFC 8555 has there"),
        ("directory", Fault::Hang, "no answer from the directory within 2s"),
        ("account", Fault::Unavailable(3600), "status 503"),
        ("order", Fault::Hang, "no answer from the directory within 2s"),
        ("orders/", Fault::Garbage, "not what RFC 8555 has there"),
        ("finalize/", Fault::Broken, "the directory refuses with status 500"),
        ("certificate/", Fault::Garbage, "what the directory sent"),
    ] {
        let mut scene = scene();
        scene.answer = Duration::from_secs(2);
        scene.directory.fail(path, fault, usize::MAX);
        let keeper = scene.keep();
        let report = await_problem(&keeper, words);
        assert!(report.next_try.unwrap() > scene.now() + Duration::from_secs(50), "{path} {fault:?}: {report:?}");
        assert!(scene.challenges.is_empty(), "{path} {fault:?}");
        let asked = scene.directory.asked(path);
        wait::pause(Duration::from_millis(200));
        assert_eq!(scene.directory.asked(path), asked, "{path} {fault:?}: not again at once");
        scene.directory.behave();
        scene.pass_to_next(&keeper);
        await_state(&keeper, HOST, HostState::Held);
    }
}

#[test]
fn a_directory_that_fails_is_asked_once_for_all() {
    let scene = scene();
    let hosts: Vec<String> = (0..20).map(|number| format!("h{number}.example")).collect();
    scene.wanted.send_replace(hosts.iter().chain([&HOST.to_owned()]).cloned().collect());
    for host in &hosts {
        scene.resolve(host);
    }
    scene.directory.fail("directory", Fault::Broken, usize::MAX);
    let keeper = scene.keep();
    await_problem(&keeper, "status 500");
    wait::pause(Duration::from_millis(200));
    assert_eq!(scene.directory.asked("directory"), 1);
    assert!(keeper.report().iter().all(|report| report.problem.is_some()));
    scene.directory.behave();
    scene.pass_to_next(&keeper);
    for host in &hosts {
        await_state(&keeper, host, HostState::Held);
    }
    assert_eq!(scene.directory.accounts(), 1);
}

#[test]
fn an_account_that_is_forgotten_is_made_anew() {
    let scene = scene();
    let keeper = scene.keep();
    await_state(&keeper, HOST, HostState::Held);
    scene.directory.forget_accounts();
    scene.pass(61 * DAY, 90 * DAY);
    await_problem(&keeper, "accountDoesNotExist");
    assert_eq!(of(&keeper, HOST).state, HostState::Held, "the old certificate is still there");
    scene.pass_to_next(&keeper);
    wait::eventually("another certificate", || (scene.directory.issued() == 2).then_some(()));
    assert_eq!(scene.directory.accounts(), 1);
}

#[test]
fn an_external_account_is_bound() {
    let mut scene = scene();
    scene.directory.bind_accounts("us", b"the secret of both");
    let keeper = scene.keep();
    await_problem(&keeper, "externalAccountRequired");
    drop(keeper);
    let key = scene.state.path().join("eab.key");
    fs::write(&key, "dGhlIHNlY3JldCBvZiBib3Ro\n").unwrap();
    scene.settings.external_account = Some(ExternalAccount { key_id: "us".to_owned(), key });
    let keeper = scene.keep();
    scene.pass_to_next(&keeper);
    await_state(&keeper, HOST, HostState::Held);
}

#[test]
fn what_cannot_be_ordered_is_said_and_never_asked_for() {
    let scene = scene();
    scene.wanted.send_replace(vec!["*.a.example".to_owned(), "192.0.2.1".to_owned(), "../a".to_owned()]);
    let keeper = scene.keep();
    let report = await_state(&keeper, "*.a.example", HostState::Impossible);
    assert!(report.problem.unwrap().contains("wildcard"));
    assert!(keeper.report().iter().all(|report| report.state == HostState::Impossible && report.next_try.is_none()));
    wait::pause(Duration::from_millis(200));
    assert_eq!(scene.directory.asked("directory"), 0);
}

#[test]
fn a_keeper_ends_at_once_in_the_middle_of_an_order() {
    let scene = scene();
    scene.directory.fail("challenge/", Fault::Hang, usize::MAX);
    let keeper = scene.keep();
    wait::eventually("the challenge", || (scene.directory.asked("challenge/") == 1).then_some(()));
    assert!(scene.challenges.certificate(HOST).is_some());
    let begin = Instant::now();
    drop(keeper);
    assert!(begin.elapsed() < Duration::from_secs(1), "{:?}", begin.elapsed());
    assert!(scene.challenges.is_empty());
    // It counts as a try: what takes the program down must not be tried at every start.
    let keeper = scene.keep();
    wait::pause(Duration::from_millis(200));
    assert_eq!(scene.directory.asked("order"), 1);
    assert!(of(&keeper, HOST).next_try.unwrap() > scene.now() + Duration::from_secs(50));
}
