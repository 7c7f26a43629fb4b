//! Both ends in one process.

use std::{fs::File, net::TcpListener, os::fd::OwnedFd, time::Duration};

use serde_json::json;
use tokio::time::timeout;

use super::{Channel, Estate, FromPredecessor, FromSuccessor, Notes, Shield, VERSION};

fn pair() -> (Channel, Channel) {
    let (ours, theirs) = Channel::pair().unwrap();
    (ours, Channel::new(theirs).unwrap())
}

#[tokio::test]
async fn what_is_said_is_heard_word_by_word_until_the_other_end_goes() {
    let (ours, theirs) = pair();
    let words = [
        FromSuccessor::Hello { version: VERSION, program: "1.2.3".to_owned() },
        FromSuccessor::Changing,
        FromSuccessor::Failed { why: "a \"quoted\"\nline".to_owned(), report: None },
    ];
    for word in &words {
        theirs.send(word).unwrap();
    }
    drop(theirs);
    for word in words {
        assert_eq!(ours.receive::<FromSuccessor>().await.unwrap().unwrap().word, word);
    }
    assert!(ours.receive::<FromSuccessor>().await.unwrap().is_none());
    assert!(ours.send(&FromPredecessor::Go).is_err());
}

#[tokio::test]
async fn more_sockets_than_fit_into_one_word_arrive_in_their_order() {
    let (ours, theirs) = pair();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let lock = OwnedFd::from(tempfile::tempfile().unwrap());
    // Rules that are too long for a word.
    let auto_rules = json!("x".repeat(1 << 20));
    let estate = Estate {
        lock: Some(lock),
        listeners: (0..600).map(|_| listener.try_clone().unwrap().into()).collect(),
        metrics: Some((address, listener.try_clone().unwrap().into())),
        draining: vec![(7, File::open("/dev/null").unwrap().into())],
        notes: Notes { instance: "default".to_owned(), auto_rules: auto_rules.clone(), ..Notes::default() },
    };
    estate.send(&ours).unwrap();
    drop(ours);
    let taken = Estate::receive(&theirs).await.unwrap().unwrap();
    assert_eq!((taken.listeners.len(), taken.draining[0].0), (600, 7));
    let addresses = taken.listeners.into_iter().map(|socket| TcpListener::from(socket).local_addr().unwrap());
    assert!(addresses.into_iter().all(|other| other == address));
    assert_eq!(taken.metrics.unwrap().0, address);
    assert_eq!((taken.notes.instance.as_str(), taken.notes.auto_rules), ("default", auto_rules));
    assert!(taken.lock.is_some());
}

#[tokio::test]
async fn a_predecessor_that_ends_in_the_middle_of_giving_has_given_nothing() {
    let (ours, theirs) = pair();
    ours.send(&FromPredecessor::Take { items: Vec::new(), more: true }).unwrap();
    drop(ours);
    assert!(Estate::receive(&theirs).await.unwrap().is_none());
}

#[tokio::test]
async fn nonsense_is_an_error_and_nothing_else() {
    let (ours, theirs) = pair();
    ours.send(&json!({ "Dance": 7 })).unwrap();
    assert!(theirs.receive::<FromPredecessor>().await.is_err());
    ours.send(&FromPredecessor::Go).unwrap();
    assert!(Estate::receive(&theirs).await.is_err(), "a word out of turn");
    ours.send(&FromPredecessor::Take { items: vec![super::Item::Lock], more: false }).unwrap();
    assert!(Estate::receive(&theirs).await.is_err(), "announced, and not sent");
    // Who does not read is not waited for.
    let full = (0..100_000).find(|_| ours.send(&FromPredecessor::Yours(Shield::default())).is_err());
    assert!(full.is_some());
    assert!(timeout(Duration::from_secs(5), theirs.receive::<FromPredecessor>()).await.is_ok());
}
