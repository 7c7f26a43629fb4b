//! Every example of the documentation is executed, in the order in which a reader meets them.
//!
//! A comment above a fenced block says what a reader would do with it:
//!
//! | comment | meaning |
//! |---|---|
//! | `<!-- test: file NAME -->` | saves it as `/etc/spectrum/NAME`; a configuration must also pass `spectrum check` |
//! | `<!-- test: daemon -->` | types it on the edge, where it stays in the foreground; the daemon before it ends first |
//! | `<!-- test: edge -->`, `<!-- test: client -->` | types it there, and expects success |
//! | `<!-- test: output PART -->` | is what the block before it printed, as far as PART, which must have been in it |
//! | `<!-- test: none, REASON -->` | nothing |
//!
//! A `sh` or `toml` block without such a comment fails the test. Every document has a world of its own: the edge has
//! `eth0` and the pools of the other tests, and its origin has an nginx on 203.0.113.2:80 and a Redis on port 6379.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on panics: that is its report")]

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use spectrum_tests::{
    World,
    world::{
        edge::{self, Daemon},
        namespace::{DIRECTORY, Namespace},
    },
};

struct Block {
    line: usize,
    language: String,
    /// What the comment says.
    test: Option<String>,
    text: String,
}

#[test]
fn every_example_does_what_it_says() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let mut documents = vec![root.join("README.md")];
    let docs = fs::read_dir(root.join("docs")).into_iter().flatten().map(|entry| entry.unwrap().path());
    documents.extend(docs.filter(|path| path.extension().is_some_and(|extension| extension == "md")));
    for document in documents {
        let text = fs::read_to_string(&document).unwrap_or_else(|error| panic!("{}: {error}", document.display()));
        let blocks = blocks(&text);
        if blocks.iter().any(Block::is_example) {
            Reader::new(&document).follow(&blocks);
        }
    }
}

#[test]
fn the_example_configuration_checks() {
    let world = World::new();
    let example = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().join("docs/spectrum.example.toml");
    world.edge().spectrum_ok(&["check", "--config", example.to_str().unwrap()]);
}

/// Somebody who does what a document says.
struct Reader {
    document: PathBuf,
    printed: String,
}

impl Reader {
    fn new(document: &Path) -> Self {
        Self { document: document.to_owned(), printed: String::new() }
    }

    fn follow(mut self, blocks: &[Block]) {
        let world = World::new();
        let _servers = [world.origin().nginx(), world.origin().redis()];
        let mut daemon: Option<Daemon<'_>> = None;
        for block in blocks.iter().filter(|block| block.is_example()) {
            let place = format!("{}:{}", self.document.display(), block.line);
            let Some(test) = &block.test else {
                panic!(
                    "{place}: a `{}` example that nobody runs: say how above it, see tests/readme.rs",
                    block.language
                )
            };
            eprintln!("{place}: {test}");
            let text = block.text.replace("/etc/spectrum", DIRECTORY);
            match test.split_once(' ').unwrap_or((test, "")) {
                ("file", name) => {
                    let path = world.edge().namespace().write(name, text);
                    if block.language == "toml" {
                        self.printed = world.edge().spectrum_ok(&["check", "--config", path.to_str().unwrap()]);
                    }
                }
                ("daemon", _) => {
                    if let Some(mut before) = daemon.take() {
                        assert!(before.terminate().success(), "{place}: the daemon before did not end well");
                    }
                    let line = without_sudo(&text);
                    let mut started =
                        world.edge().start_command(|binary| shell(binary, &format!("exec {}", line.trim())));
                    started.await_ready();
                    daemon = Some(started);
                }
                ("edge", _) => self.type_on(world.edge().namespace(), &text, &place),
                ("client", _) => self.type_on(world.client().namespace(), &text, &place),
                ("output", part) => {
                    assert!(text.contains(part), "{place}: the example does not show {part:?} itself");
                    assert!(self.printed.contains(part), "{place}: {part:?} is not in:\n{}", self.printed);
                }
                ("none,", reason) => assert!(!reason.is_empty(), "{place}: say why it is not run"),
                _ => panic!("{place}: `{test}` means nothing"),
            }
        }
        if let Some(mut last) = daemon {
            assert!(last.terminate().success(), "{}: the last daemon did not end well", self.document.display());
        }
    }

    fn type_on(&mut self, host: &Namespace, text: &str, place: &str) {
        let output = host.output(shell(&edge::binary(), &without_sudo(text)));
        let stderr = String::from_utf8_lossy(&output.stderr);
        self.printed = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success(), "{place}: {}\n{text}\n{}\n{stderr}", output.status, self.printed);
    }
}

/// A shell that stops at the first failure and finds `spectrum` by its name.
fn shell(binary: &Path, text: &str) -> Command {
    let directory = binary.parent().unwrap().to_str().unwrap();
    let path = format!("{directory}:{}", std::env::var("PATH").unwrap());
    let mut command = Command::new("sh");
    command.args(["-euc", text]).env("PATH", path);
    command
}

/// Tests are root already, and may have no sudo.
fn without_sudo(text: &str) -> String {
    text.replace("sudo ", "")
}

impl Block {
    /// Something to do, or a claim about what comes of it; not a picture or a piece of code.
    fn is_example(&self) -> bool {
        matches!(self.language.as_str(), "sh" | "toml") || self.test.is_some()
    }
}

fn blocks(text: &str) -> Vec<Block> {
    let mut blocks = Vec::new();
    let mut open: Option<Block> = None;
    let mut above = "";
    for (index, line) in text.lines().enumerate() {
        let fence = line.trim_start().strip_prefix("```");
        match (&mut open, fence) {
            (None, Some(language)) => {
                let test = above.strip_prefix("<!-- test: ").and_then(|test| test.strip_suffix(" -->"));
                let (language, test) = (language.trim().to_owned(), test.map(str::to_owned));
                open = Some(Block { line: index + 1, language, test, text: String::new() });
            }
            (Some(_), Some(_)) => blocks.extend(open.take()),
            (Some(block), None) => {
                block.text += line;
                block.text += "\n";
            }
            (None, None) if !line.trim().is_empty() => above = line.trim(),
            (None, None) => {}
        }
        if open.is_none() && fence.is_some() {
            above = "";
        }
    }
    assert!(open.is_none(), "a block that never ends");
    blocks
}
