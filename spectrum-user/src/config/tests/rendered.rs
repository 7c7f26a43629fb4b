//! How errors read, to people and to programs, and files that cannot be read at all.

use std::{fs, os::unix::fs::PermissionsExt as _};

use super::*;

#[test]
fn errors_read_like_those_of_a_compiler() {
    let errors =
        bad("[node]\ninterfaces = [\"eth0\"]\nxdp_mode = \"natve\"\n\n[[applications]]\nprotocl = \"tcp/22\"\n\
         dns = { type = \"CNAME\", name = \"a.example.com\" }\norigin_direct = [\"tcp://192.0.2.1:22-23\"]\n");
    assert_eq!(
        errors.to_string(),
        r#"error: `natve` is not a value of `xdp_mode`
 --> spectrum.toml:3:12
  |
3 | xdp_mode = "natve"
  |            ^^^^^^^
  = help: did you mean `native`?

error: missing key `protocol` in an application
 --> spectrum.toml:5:1
  |
5 | [[applications]]
  | ^^^^^^^^^^^^^^^^
  = help: write protocol = "tcp/22"

error: unknown key `protocl` in an application
 --> spectrum.toml:6:1
  |
6 | protocl = "tcp/22"
  | ^^^^^^^
  = help: did you mean `protocol`?

spectrum.toml: 3 errors"#
    );
}

#[test]
fn programs_get_the_same_as_values() {
    let errors = bad(&format!("{NODE}[edge]\npools = [\"198.51.100.0/24\", 5]\n"));
    assert_eq!(
        serde_json::to_value(&errors).unwrap(),
        serde_json::json!([{
            "severity": "error",
            "file": "spectrum.toml",
            "line": 4,
            "column": 29,
            "key": "edge.pools[1]",
            "code": null,
            "message": "`pools[1]` is a string, not an integer",
            "help": "put it in quotes",
        }])
    );
}

#[test]
fn what_a_file_says_does_not_reach_the_terminal_as_a_command() {
    let errors = bad("\"\\u001b[2J\" = 1\n[node]\ninterfaces = [\"eth0\"]\n").to_string();
    assert!(!errors.contains('\u{1b}'), "{errors:?}");
    assert!(errors.contains("unknown key `\u{fffd}[2J` in the file"), "{errors}");
}

#[test]
fn broken_toml_is_reported_with_its_places_and_nothing_else() {
    let errors = bad("[node]\ninterfaces = [eth0]\nworkers =\n");
    let places: Vec<_> = errors.as_slice().iter().map(|found| (found.line, found.column)).collect();
    assert_eq!(places, [(Some(2), Some(15)), (Some(3), Some(10))]);
    assert!(errors.as_slice().iter().all(|found| found.message.starts_with("not TOML: ")), "{errors}");
    let twice = bad("[node]\nworkers = 1\nworkers = 2\n");
    assert_eq!(twice.as_slice()[0].line, Some(3), "{twice}");
}

#[test]
fn files_that_cannot_be_read() {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name);
    let refused = |name: &str| load(&path(name), &[]).unwrap_err().to_string();

    let text = refused("absent.toml");
    let expected = "error: cannot read the configuration: No such file or directory (os error 2)\n  --> ";
    assert!(text.starts_with(expected), "{text}");
    assert!(text.contains("absent.toml\n  = help: write the path of an existing file"), "{text}");

    fs::create_dir(path("directory")).unwrap();
    assert!(refused("directory").contains("Is a directory"), "{}", refused("directory"));

    fs::write(path("latin1.toml"), b"[node]\ninstance = \"b\xfccher\"\n").unwrap();
    let text = refused("latin1.toml");
    assert!(text.contains("not UTF-8") && text.contains("latin1.toml:2:14"), "{text}");

    let large = fs::File::create(path("large.toml")).unwrap();
    large.set_len((64 << 20) + 1).unwrap();
    assert!(refused("large.toml").contains("larger than 64 MiB"), "{}", refused("large.toml"));

    fs::write(path("good.toml"), NODE).unwrap();
    assert!(load(&path("good.toml"), &[]).is_ok());
    // Root reads whatever the mode says.
    if !nix::unistd::geteuid().is_root() {
        fs::set_permissions(path("good.toml"), fs::Permissions::from_mode(0o000)).unwrap();
        assert!(refused("good.toml").contains("Permission denied"));
    }
}

#[test]
fn a_file_full_of_errors_is_answered_with_the_first_of_them() {
    // On one line, so that every place is far into it.
    let errors = bad(&format!("{NODE}[edge]\npools = [{}]\n", "7, ".repeat(4096)));
    assert_eq!(errors.as_slice().len(), 1000);
    assert!(errors.to_string().ends_with("spectrum.toml: 4096 errors, the first 1000 of them above"));
    let keys: Vec<_> = (0..5000).map(|number| format!("key{number} = 1")).collect();
    let errors = bad(&format!("{NODE}{}", keys.join("\n")));
    assert!(errors.to_string().ends_with("spectrum.toml: 5000 errors, the first 1000 of them above"));
    let errors = bad(&format!("{NODE}[edge]\npools = [{}]\n", "7, ".repeat(4097)));
    assert_eq!(errors.as_slice()[0].message, "`pools` has 4097 items, more than 4096");
}

#[test]
fn nesting_without_end_is_an_error() {
    for text in ["[".repeat(100_000), "{a=".repeat(100_000), "a.".repeat(100_000)] {
        assert!(parse(&format!("x = {text}"), "t").is_err());
        assert!(parse(&format!("{text}a = 1"), "t").is_err());
    }
}
