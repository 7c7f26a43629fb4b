//! Certificates near their end.

use super::*;
use crate::tls::certificates::Stage;

fn stages(store: &mut Store, now: SystemTime) -> Vec<Stage> {
    store.notices(now).into_iter().map(|notice| notice.stage).collect()
}

#[test]
fn each_stage_is_told_once() {
    let place = Place::new();
    place.pair("example.com", &made(&["example.com"], 60));
    // The same one in a second place is the same certificate.
    place.pair(
        "second",
        &Made {
            chain: fs::read_to_string(place.path("example.com.pem")).unwrap(),
            key: fs::read_to_string(place.path("example.com.key")).unwrap(),
        },
    );
    let mut store = place.store();
    let now = SystemTime::now();
    for (day, expected) in [
        (0, None),
        (29, None),
        (30, Some(Stage::Month)),
        (31, None),
        (10, None),
        (40, None),
        (53, Some(Stage::Week)),
        (59, Some(Stage::Day)),
        (60, Some(Stage::Expired)),
        (61, None),
    ] {
        assert_eq!(stages(&mut store, now + DAY * day), Vec::from_iter(expected), "day {day}");
    }
    // A renewal begins anew, and a stage that was slept through is not told after the fact.
    place.pair("example.com", &made(&["example.com"], 90));
    place.remove("second.pem");
    place.remove("second.key");
    store.refresh(now).unwrap();
    assert_eq!(stages(&mut store, now + DAY * 40), []);
    let notices = store.notices(now + DAY * 85);
    assert_eq!((notices.len(), notices[0].stage), (1, Stage::Week));
    assert_eq!(
        (notices[0].hostname.as_deref(), &notices[0].path),
        (Some("example.com"), &place.path("example.com.pem"))
    );
    assert_eq!(notices[0].certificate.names, ["example.com"]);
}

#[test]
fn short_lives_have_no_long_stages() {
    let place = Place::new();
    let now = SystemTime::now();
    for (life, begin, expected) in [(6, 0, None), (6, 5, Some(Stage::Day)), (89, 60, None), (89, 83, Some(Stage::Week))]
    {
        let mut params = params(&["example.com"], life);
        params.not_before = OffsetDateTime::now_utc();
        place.pair("example.com", &made_by(&rcgen::PKCS_ED25519, &params));
        let mut store = place.store();
        assert_eq!(stages(&mut store, now + DAY * begin), Vec::from_iter(expected), "day {begin} of {life}");
    }
}

#[test]
fn what_expires_soon_can_be_listed() {
    let place = Place::new();
    for (host, days) in [("a.example.com", -1), ("b.example.com", 5), ("c.example.com", 60)] {
        place.pair(host, &made(&[host], days));
    }
    place.write("d.example.com.pem", "garbage");
    let store = place.store();
    let expiring = |within| {
        let reports = store.newest().expiring(SystemTime::now(), within);
        reports.into_iter().filter_map(|report| report.hostname).collect::<Vec<_>>()
    };
    assert_eq!(expiring(Duration::ZERO), ["a.example.com"]);
    assert_eq!(expiring(DAY * 7), ["a.example.com", "b.example.com"]);
    assert_eq!(expiring(Duration::MAX).len(), 3);
}
