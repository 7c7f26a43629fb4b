//! The program's own log, on stderr.

use std::{env, io::Write as _};

use log::Level;

/// Levels come from `SPECTRUM_LOG` (the syntax of `env_logger`), else warnings of everybody and information of ours.
///
/// Under systemd the journal adds the time and reads the level from a `<N>` in front (sd-daemon(3)).
pub fn init() {
    let mut builder = env_logger::Builder::from_env(
        env_logger::Env::new().filter_or("SPECTRUM_LOG", "warn,spectrum=info,spectrum_user=info"),
    );
    if env::var_os("JOURNAL_STREAM").is_some() {
        builder.format(|out, record| {
            writeln!(out, "<{}>{}: {}", priority(record.level()), record.target(), record.args())
        });
    }
    // A second call (tests of one process) keeps the first logger.
    let _ = builder.try_init();
}

const fn priority(level: Level) -> u8 {
    match level {
        Level::Error => 3,
        Level::Warn => 4,
        Level::Info => 6,
        Level::Debug | Level::Trace => 7,
    }
}
