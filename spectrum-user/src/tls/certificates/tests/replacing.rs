//! Files that are replaced, removed, and broken while their certificates are in use.

use std::os::unix::fs::symlink;

use super::*;
use crate::tls::certificates::file::Stamp;

const HOST: &str = "example.com";

fn now() -> SystemTime {
    SystemTime::now()
}

#[test]
fn nothing_new_is_no_snapshot() {
    let place = Place::new();
    place.pair(HOST, &made(&[HOST], 60));
    let mut store = place.store();
    let before = Arc::clone(store.newest());
    assert!(store.refresh(now()).is_none(), "young files are read again, and are the same");
    assert!(store.refresh(later()).is_none());
    // Written again, with the same content.
    let text = fs::read(place.path("example.com.pem")).unwrap();
    place.write("example.com.pem", text);
    assert!(store.refresh(later()).is_none());
    assert!(Arc::ptr_eq(&before, store.newest()));
}

#[test]
fn a_pair_is_replaced_in_two_steps() {
    for key_first in [false, true] {
        let place = Place::new();
        let (old, new) = (made(&[HOST], 10), made(&[HOST], 60));
        place.pair(HOST, &old);
        let mut store = place.store();
        let mut steps = [("example.com.pem", &new.chain), ("example.com.key", &new.key)];
        if key_first {
            steps.reverse();
        }
        place.write(steps[0].0, steps[0].1);
        assert!(store.refresh(now()).is_none(), "half of it is no news");
        assert_eq!(served(&store, HOST), Some(old.fingerprint()));
        place.write(steps[1].0, steps[1].1);
        let refreshed = store.refresh(now()).unwrap();
        assert_eq!((refreshed.taken.len(), refreshed.removed.len(), refreshed.bad.len()), (1, 0, 0));
        assert_eq!(served(&store, HOST), Some(new.fingerprint()));
    }
}

#[test]
fn what_stays_bad_is_told_once_and_the_old_one_stays() {
    let place = Place::new();
    let (old, new) = (made(&[HOST], 10), made(&[HOST], 60));
    place.pair(HOST, &old);
    let mut store = place.store();
    place.write("example.com.pem", &new.chain);
    let bad = look_twice(&mut store).unwrap().bad;
    assert!(bad[0].problems[0].ends_with("the certificate that was read before is still used"), "{bad:?}");
    assert!(bad[0].problems[0].contains("does not fit"), "{bad:?}");
    assert_eq!(bad[0].certificate.as_ref().unwrap().fingerprint, old.fingerprint());
    for time in [now(), later(), later()] {
        assert!(store.refresh(time).is_none(), "it is told once");
    }
    assert_eq!(served(&store, HOST), Some(old.fingerprint()));
    // The old one is put back: the trouble is over, though what is served is what was served.
    place.write("example.com.pem", &old.chain);
    let taken = store.refresh(now()).unwrap().taken;
    assert_eq!(taken[0].problems, Vec::<String>::new());
    assert_eq!(served(&store, HOST), Some(old.fingerprint()));
}

#[test]
fn bad_in_another_way_each_time_is_told_in_the_end() {
    let place = Place::new();
    place.pair(HOST, &made(&[HOST], 10));
    let mut store = place.store();
    let told = (0..8).filter(|round| {
        place.write("example.com.pem", format!("garbage {round}"));
        store.refresh(now()).is_some()
    });
    assert_eq!(told.count(), 1);
}

#[test]
fn a_new_bad_file_is_told_at_the_second_look() {
    let place = Place::new();
    let mut store = place.store();
    let made = made(&[HOST], 10);
    place.write("example.com.key", &made.key);
    assert!(store.refresh(now()).is_none());
    place.write("example.com.pem", &made.chain[..100]);
    let refreshed = look_twice(&mut store).unwrap();
    assert!(refreshed.bad[0].problems[0].ends_with("write the whole file again"), "{refreshed:?}");
    place.write("example.com.pem", &made.chain);
    assert_eq!(store.refresh(now()).unwrap().taken.len(), 1);
    assert_eq!(served(&store, HOST), Some(made.fingerprint()));
}

#[test]
fn a_key_that_is_opened_to_all_is_told() {
    let place = Place::new();
    place.pair(HOST, &made(&[HOST], 10));
    let mut store = place.store();
    fs::set_permissions(place.path("example.com.key"), fs::Permissions::from_mode(0o604)).unwrap();
    assert_eq!(store.refresh(now()).unwrap().taken[0].problems.len(), 1);
    fs::set_permissions(place.path("example.com.key"), fs::Permissions::from_mode(0o640)).unwrap();
    assert_eq!(store.refresh(now()).unwrap().taken[0].problems.len(), 0);
}

#[test]
fn a_removed_certificate_goes_and_a_removed_half_does_not() {
    let place = Place::new();
    let (one, other) = (made(&[HOST], 10), made(&["example.org"], 10));
    place.pair(HOST, &one);
    place.pair("example.org", &other);
    let mut store = place.store();
    place.remove("example.com.pem");
    let bad = look_twice(&mut store).unwrap().bad;
    assert!(bad[0].problems[0].contains("there is no certificate for this key"), "{bad:?}");
    assert_eq!(served(&store, HOST), Some(one.fingerprint()));
    place.remove("example.com.key");
    let refreshed = store.refresh(now()).unwrap();
    assert_eq!(refreshed.removed[0].hostname.as_deref(), Some(HOST));
    assert_eq!(served(&store, HOST), None);
    assert_eq!(served(&store, "example.org"), Some(other.fingerprint()));
}

#[test]
fn a_bad_file_that_goes_is_no_longer_told() {
    let place = Place::new();
    place.write("example.com.pem", "garbage");
    let mut store = place.store();
    assert_eq!(store.newest().report(now()).len(), 1);
    place.remove("example.com.pem");
    let refreshed = store.refresh(now()).unwrap();
    assert_eq!((refreshed.removed.len(), refreshed.certificates.report(now()).len()), (0, 0));
}

#[test]
fn a_directory_that_goes_leaves_its_certificates() {
    let place = Place::new();
    let made = made(&[HOST], 10);
    fs::create_dir(place.path("live")).unwrap();
    place.pair("live/example.com", &made);
    let source = Source { path: place.path("live"), may_be_absent: true, yields: false };
    let (mut store, _) = Store::open(vec![source], now());
    fs::rename(place.path("live"), place.path("away")).unwrap();
    let refreshed = look_twice(&mut store).unwrap();
    assert_eq!(refreshed.bad[0].hostname, None);
    assert!(refreshed.bad[0].problems[0].ends_with("are still used"), "{:?}", refreshed.bad);
    assert_eq!(served(&store, HOST), Some(made.fingerprint()));
    assert!(store.refresh(now()).is_none());
    fs::rename(place.path("away"), place.path("live")).unwrap();
    let refreshed = store.refresh(now()).unwrap();
    assert_eq!((refreshed.taken.len(), refreshed.certificates.report(now()).len()), (1, 1));
    assert_eq!(served(&store, HOST), Some(made.fingerprint()));
}

#[test]
fn a_file_named_by_itself_that_goes_leaves_its_certificate() {
    let place = Place::new();
    let made = made(&[HOST], 10);
    place.pair(HOST, &made);
    let (mut store, _) = Store::open(vec![place.path("example.com.pem").into()], now());
    place.remove("example.com.pem");
    assert_eq!(look_twice(&mut store).unwrap().bad.len(), 1);
    assert_eq!(served(&store, HOST), Some(made.fingerprint()));
}

/// `live/HOST/*.pem` point to `archive/HOST/*N.pem`, and a renewal points them to the next.
#[test]
fn certbot_renews() {
    let place = Place::new();
    for directory in ["live", "live/example.com", "archive"] {
        fs::create_dir(place.path(directory)).unwrap();
    }
    let point = |name: &str, count: u32| {
        let temporary = place.path(&format!("live/example.com/{name}.new"));
        symlink(format!("../../archive/{name}{count}.pem"), &temporary).unwrap();
        fs::rename(temporary, place.path(&format!("live/example.com/{name}.pem"))).unwrap();
    };
    let renewals = [made(&[HOST], 10), made(&[HOST], 60)];
    for (count, made) in (1..).zip(&renewals) {
        place.write(&format!("archive/fullchain{count}.pem"), &made.chain);
        place.write(&format!("archive/privkey{count}.pem"), &made.key);
    }
    point("privkey", 1);
    point("fullchain", 1);
    // Not young, so that it is the links that show.
    let (mut store, _) = Store::open(vec![place.path("live").into()], later());
    assert_eq!(served(&store, HOST), Some(renewals[0].fingerprint()));
    point("privkey", 2);
    assert!(store.refresh(later()).is_none());
    point("fullchain", 2);
    let refreshed = store.refresh(later()).unwrap();
    assert_eq!((refreshed.taken.len(), refreshed.bad.len()), (1, 0));
    assert_eq!(served(&store, HOST), Some(renewals[1].fingerprint()));
    fs::remove_dir_all(place.path("live/example.com")).unwrap();
    assert_eq!(store.refresh(later()).unwrap().removed.len(), 1);
    assert_eq!(served(&store, HOST), None);
}

#[test]
fn a_file_is_young_for_a_while() {
    let place = Place::new();
    let stamp = Stamp::of(&place.write("example.com.pem", "")).unwrap();
    assert!(stamp.is_young(now()));
    assert!(!stamp.is_young(now() + Duration::from_secs(10)));
    assert!(stamp.is_young(now() - Duration::from_hours(1)), "of another host's clock");
}
