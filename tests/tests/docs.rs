//! The tables of the documentation against the code, so that they cannot rot: every reason, map, metric, status word and
//! configuration key is there, and no metric is that the program does not have.
//!
//! Deliberately not here: the examples, which `readme.rs` runs.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on panics: that is its report")]

use std::{
    collections::BTreeSet,
    fs,
    mem::size_of,
    path::{Path, PathBuf},
};

use spectrum_common::{Reason, layout, names};
use spectrum_tests::{World, config};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}

fn read(path: impl AsRef<Path>) -> String {
    let path = root().join(path);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Words in backticks in the first column of tables.
fn first_column(text: &str) -> BTreeSet<&str> {
    let rows = text.lines().filter_map(|line| line.strip_prefix("| `"));
    rows.flat_map(|row| ticked(row.split(" |").next().unwrap_or_default())).collect()
}

/// `a`, `b` without the first tick.
fn ticked(cell: &str) -> impl Iterator<Item = &str> {
    cell.split('`').step_by(2).filter(|word| !word.is_empty())
}

#[test]
fn every_reason_stands_in_the_operators_table_with_its_action() {
    let operations = read("docs/operations.md");
    for reason in Reason::ALL {
        let row = format!("| `{}` | {} | ", reason.as_str(), reason.action().as_str());
        assert!(operations.contains(&row), "docs/operations.md has no row that begins with {row}");
    }
}

#[test]
fn every_map_stands_in_the_architecture() {
    let architecture = read("ARCHITECTURE.md");
    let described = first_column(&architecture);
    for map in names::MAPS {
        assert!(described.contains(map), "ARCHITECTURE.md does not describe the map {map}");
    }
}

#[test]
fn the_sizes_of_keys_and_values_are_true() {
    let architecture = read("ARCHITECTURE.md");
    for (name, size) in [
        ("SteerKey", size_of::<layout::SteerKey>()),
        ("SteerValue", size_of::<layout::SteerValue>()),
        ("RuleKeyV4", size_of::<layout::RuleKeyV4>()),
        ("RuleKeyV6", size_of::<layout::RuleKeyV6>()),
        ("RuleValue", size_of::<layout::RuleValue>()),
        ("ObjectId", size_of::<layout::ObjectId>()),
        ("Count", size_of::<layout::Count>()),
        ("Event", size_of::<layout::Event>()),
        ("Sampler", size_of::<layout::Sampler>()),
        ("Meta", size_of::<layout::Meta>()),
        ("Orphans", size_of::<layout::Orphans>()),
        ("Policy", size_of::<layout::Policy>()),
        ("Share", size_of::<spectrum_common::fair::Share>()),
        ("Cell", size_of::<spectrum_common::sketch::Cell>()),
    ] {
        assert!(architecture.contains(&format!("`{name}` {size} B")), "ARCHITECTURE.md: {name} has {size} bytes");
    }
    let version = format!("`layout::VERSION` is {}", layout::VERSION);
    assert!(architecture.contains(&version), "ARCHITECTURE.md: {version}");
}

#[test]
fn the_metrics_are_exactly_those_of_the_table() {
    let world = World::new();
    let origin = world.origin().echo();
    let _edge =
        world.edge().run(config().raw("[metrics]\nlisten = \"127.0.0.1:9464\"\n").app("tcp/80").origin(origin.addr()));
    let scraped = world.edge().stdout("curl", &["--silent", "--fail", "http://127.0.0.1:9464/metrics"]);
    let emitted: BTreeSet<&str> =
        scraped.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next()).collect();
    let operations = read("docs/operations.md");
    let described: BTreeSet<&str> =
        first_column(&operations).into_iter().filter(|name| name.starts_with("spectrum_")).collect();
    assert_eq!(described, emitted);
}

#[test]
fn every_word_for_an_end_is_explained() {
    let operations = read("docs/operations.md");
    let mut words = 0;
    for file in ["outcome.rs", "dial.rs"] {
        let code = read(Path::new("spectrum-user/src/proxy").join(file));
        for word in code.lines().filter_map(|line| line.split_once("=> \"")?.1.strip_suffix("\",")) {
            words += 1;
            assert!(word == "unclassified" || operations.contains(&format!("`{word}`")), "docs/operations.md: {word}");
        }
    }
    assert!(words > 10, "the words are no longer found in the code");
}

#[test]
fn every_key_of_the_file_is_described() {
    let configuration = read("docs/configuration.md");
    let keys = keys();
    assert!(keys.len() > 50, "the keys are no longer found in the code: {keys:?}");
    for key in keys {
        let forms = [format!("`{key}`"), format!(".{key}`"), format!("`{key}."), format!("[{key}]")];
        assert!(forms.iter().any(|form| configuration.contains(form)), "docs/configuration.md: {key}");
    }
}

/// Every one that is built: in use there, or as a comment.
#[test]
fn every_key_of_the_file_stands_in_the_example() {
    let example = read("docs/spectrum.example.toml");
    let words: BTreeSet<&str> = example.split(|c: char| !c.is_ascii_alphanumeric() && c != '_').collect();
    let missing: Vec<String> = keys_by(&GETTERS).into_iter().filter(|key| !words.contains(key.as_str())).collect();
    assert_eq!(missing, [""; 0], "docs/spectrum.example.toml");
}

/// By what the reader of the file asks for keys that are built.
const GETTERS: [&str; 14] = [
    "any", "whole", "duration", "parsed", "choice", "list", "integer", "boolean", "instant", "string", "table",
    "tables", "require", "only",
];

/// The keys that the reader of the file knows, those of a later time as well.
fn keys() -> BTreeSet<String> {
    let mut keys = keys_by(&GETTERS);
    keys.extend(keys_by(&["later"]));
    let extensions = read("spectrum-user/src/config/extensions.rs");
    let listed = extensions.lines().filter_map(|line| line.strip_prefix("    (\"")?.split('"').next());
    keys.extend(listed.map(str::to_owned));
    keys
}

/// The keys that the reader of the file asks for in these ways.
fn keys_by(getters: &[&str]) -> BTreeSet<String> {
    let mut keys = BTreeSet::new();
    for path in sources(&root().join("spectrum-user/src/config")) {
        let code = fs::read_to_string(&path).unwrap();
        let code = code.split("#[cfg(test)]\nmod tests").next().unwrap();
        for getter in getters {
            keys.extend(
                code.split(&format!(".{getter}(\""))
                    .skip(1)
                    .filter_map(|rest| rest.split('"').next())
                    .map(str::to_owned),
            );
        }
    }
    keys
}

fn sources(directory: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
    entries.filter(|path| path.extension().is_some_and(|extension| extension == "rs")).collect()
}

const MODULES: &str = "spectrum-user/src";

/// The folders and files of `spectrum-user/src`, but for what puts them together.
fn modules() -> BTreeSet<String> {
    let entries = fs::read_dir(root().join(MODULES)).unwrap().map(|entry| entry.unwrap());
    let names = entries.map(|entry| entry.file_name().into_string().unwrap());
    let modules = names.map(|name| name.strip_suffix(".rs").map_or(name.clone(), str::to_owned));
    modules.filter(|name| !["lib", "main"].contains(&name.as_str())).collect()
}

/// The sources of a module: those of a folder, or one.
fn module_sources(module: &str) -> Vec<PathBuf> {
    let folder = root().join(MODULES).join(module);
    if folder.is_dir() { all_sources(&folder) } else { vec![folder.with_extension("rs")] }
}

#[test]
fn a_module_knows_those_of_the_table_and_no_others() {
    let architecture = read("ARCHITECTURE.md");
    let all = modules();
    for module in &all {
        let row = format!("| `{module}` | ");
        let row = architecture.lines().find_map(|line| line.strip_prefix(&row));
        let cell = row.and_then(|row| row.split(" |").next()).unwrap_or_else(|| panic!("ARCHITECTURE.md: {module}"));
        let mut knows: BTreeSet<&str> = cell.split('`').skip(1).step_by(2).collect();
        if cell.starts_with("all") {
            knows = all.iter().map(String::as_str).filter(|other| !knows.contains(other)).collect();
        }
        for path in module_sources(module) {
            let code = fs::read_to_string(&path).unwrap();
            let imported = imports(code.split("#[cfg(test)]\nmod tests {").next().unwrap());
            let foreign = imported
                .into_iter()
                .filter(|name| *name != module.as_str() && all.contains(*name) && !knows.contains(*name));
            let foreign: Vec<_> = foreign.collect();
            assert!(foreign.is_empty(), "{} imports {foreign:?}, which ARCHITECTURE.md does not allow", path.display());
        }
    }
}

/// Every source below a folder but the tests.
fn all_sources(directory: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap());
    let folders = entries.filter(|entry| entry.file_type().unwrap().is_dir() && entry.file_name() != "tests");
    let mut found = sources(directory);
    found.extend(folders.flat_map(|folder| all_sources(&folder.path())));
    found.retain(|path| !["tests.rs", "testing.rs"].iter().any(|end| path.to_string_lossy().ends_with(end)));
    found
}

/// The modules that stand behind `crate::`, or begin what stands in the braces behind it.
fn imports(code: &str) -> Vec<&str> {
    let mut found = Vec::new();
    for rest in code.split("crate::").skip(1) {
        let Some(list) = rest.strip_prefix('{') else {
            found.push(first_word(rest));
            continue;
        };
        let (mut depth, mut begin) = (0, 0);
        for (at, c) in list.char_indices() {
            if depth == 0 && (c == ',' || c == '}') {
                found.push(first_word(list[begin..at].trim_start()));
                begin = at + 1;
            }
            depth += i32::from(c == '{') - i32::from(c == '}');
            if depth < 0 {
                break;
            }
        }
    }
    found
}

fn first_word(text: &str) -> &str {
    text.split(|c: char| !c.is_alphanumeric() && c != '_').next().unwrap()
}

#[test]
fn every_file_of_the_kernel_side_and_every_module_stands_in_the_tree() {
    let architecture = read("ARCHITECTURE.md");
    let tree = architecture.split("```").nth(1).unwrap();
    let described: BTreeSet<&str> = tree.lines().filter_map(|line| line.split_whitespace().next()).collect();
    for folder in ["spectrum-common/src", "spectrum-ebpf/src"] {
        for path in all_sources(&root().join(folder)) {
            let name = path.file_name().unwrap().to_str().unwrap();
            assert!(name == "lib.rs" || described.contains(name), "ARCHITECTURE.md has no room {folder}/{name}");
        }
    }
    for module in modules() {
        let rooms = [format!("{module}/"), format!("{module}.rs")];
        assert!(rooms.iter().any(|room| described.contains(&**room)), "ARCHITECTURE.md has no room {MODULES}/{module}");
    }
}

#[test]
fn a_failure_that_an_example_expects_is_the_last_of_its_block() {
    let docs = fs::read_dir(root().join("docs")).unwrap().map(|entry| entry.unwrap().path());
    let documents = docs.filter(|path| path.extension().is_some_and(|extension| extension == "md"));
    for path in documents.chain([root().join("README.md")]) {
        let text = fs::read_to_string(&path).unwrap();
        let lines: Vec<&str> = text.lines().collect();
        for pair in lines.windows(2) {
            let &[line, next] = pair else { continue };
            // `sh -e` goes on after a line that begins with `!`, whatever came of it (POSIX, `set -e`).
            assert!(!line.starts_with("! ") || next.starts_with("```"), "{}: {line}", path.display());
        }
    }
}
