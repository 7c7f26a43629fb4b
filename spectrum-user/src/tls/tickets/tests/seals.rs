use std::{
    fs,
    os::unix::fs::{PermissionsExt as _, symlink},
};

use crate::tls::tickets::{Seal, SealError};

#[test]
fn a_key_is_bytes_or_digits() {
    let digits = "0123456789abcdefABCDEF0123456789".repeat(2);
    for good in [&[0xff; 32][..], digits.as_bytes(), format!("{digits}\n").as_bytes()] {
        assert!(read(good).is_ok(), "{good:x?}");
    }
    let wrong = digits.replace('a', "g");
    for bad in [b"", &[7; 33][..], &digits.as_bytes()[1..], wrong.as_bytes(), format!("{digits}\n\n").as_bytes()] {
        assert!(matches!(read(bad), Err(SealError::Shape(_))), "{bad:x?}");
    }
}

#[test]
fn digits_are_those_bytes() {
    let digits: String = (0..32).fold(String::new(), |digits, byte| format!("{digits}{byte:02X}"));
    let bytes: Vec<u8> = (0..32).collect();
    let closed = read(digits.as_bytes()).unwrap().close(b"test", b"head", b"plain").unwrap();
    let seal = read(&bytes).unwrap();
    assert_eq!(seal.open(b"test", b"head", &closed[4..]).unwrap().as_slice(), b"plain");
    assert!(seal.open(b"other", b"head", &closed[4..]).is_none());
    assert!(seal.open(b"test", b"tail", &closed[4..]).is_none());
}

#[test]
fn an_operators_may_be_behind_a_link_and_must_be_a_file() {
    let dir = tempfile::tempdir().unwrap();
    let key = dir.path().join("key");
    fs::write(&key, [7; 32]).unwrap();
    fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).unwrap();
    let link = dir.path().join("link");
    symlink(&key, &link).unwrap();
    assert!(Seal::from_file(&link).is_ok());
    let fifo = dir.path().join("fifo");
    nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRUSR).unwrap();
    assert!(matches!(Seal::from_file(&fifo), Err(SealError::NotAFile(_))));
    assert!(matches!(Seal::from_file(dir.path()), Err(SealError::NotAFile(_))));
    assert!(matches!(Seal::from_file(&dir.path().join("none")), Err(SealError::Absent(_))));
}

fn read(contents: &[u8]) -> Result<Seal, SealError> {
    let file = tempfile::NamedTempFile::new().unwrap();
    fs::write(file.path(), contents).unwrap();
    Seal::from_file(file.path())
}
