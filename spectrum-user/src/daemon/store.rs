//! What systemd keeps while one process ends and the next starts: the listening sockets, with everybody who waits in
//! them. And whether it is about to start a next one.
//!
//! `FileDescriptorStoreMax=` of the unit lets it keep them. A service manager that is not systemd keeps nothing.

use std::{
    env, fs,
    os::fd::{AsFd as _, BorrowedFd, FromRawFd as _, OwnedFd},
    process::{Command, Stdio},
    time::Duration,
};

use sd_notify::NotifyState;
use tokio::{sync::oneshot, time::timeout};

/// What the sockets are called there (`LISTEN_FDNAMES`).
const NAME: &str = "spectrum-listener";
/// Descriptors in one message; the kernel takes a few more (`SCM_MAX_FD`, include/net/scm.h).
const AT_ONCE: usize = 200;
/// How long systemd may take to say what it is doing.
const PATIENCE: Duration = Duration::from_secs(5);

/// The sockets that a process before left there.
pub(super) fn take() -> Vec<OwnedFd> {
    let kept = match sd_notify::listen_fds_with_names() {
        Ok(kept) => kept,
        Err(error) => {
            log::warn!("what the service manager has kept is not taken: {error}");
            return Vec::new();
        }
    };
    // SAFETY: the service manager gave each to this process alone (sd_listen_fds(3)), and this is asked once.
    let owned = |number| unsafe { OwnedFd::from_raw_fd(number) };
    kept.filter(|(_, name)| name == NAME).map(|(number, _)| owned(number)).collect()
}

/// Leaves the sockets there, too. Those that are there already stay once.
pub(super) fn keep(sockets: &[OwnedFd]) {
    // Another service manager would let them lie in its queue, and clients would wait for nobody.
    if !is_systemd() {
        return;
    }
    for part in sockets.chunks(AT_ONCE) {
        let descriptors: Vec<BorrowedFd<'_>> = part.iter().map(|socket| socket.as_fd()).collect();
        let words = [NotifyState::FdStore, NotifyState::FdName(NAME)];
        if let Err(error) = sd_notify::notify_with_fds(&words, &descriptors) {
            log::warn!("the service manager keeps no sockets: {error}");
        }
    }
}

/// Takes them away from there: else clients would wait for a process that does not come.
pub(super) fn forget() {
    if !is_systemd() {
        return;
    }
    crate::service::notify(&[NotifyState::FdStoreRemove, NotifyState::FdName(NAME)]);
}

/// Whether another process follows: because systemd restarts the unit, or because this one has `failed` and the unit is one
/// that is started again then. Where that cannot be found out, it is stopped.
pub(super) async fn is_followed(failed: bool) -> bool {
    if !is_systemd() {
        return false;
    }
    let Some(unit) = fs::read_to_string("/proc/self/cgroup").ok().and_then(|groups| unit(&groups)) else {
        return false;
    };
    let (answer, answered) = oneshot::channel();
    // A thread of its own: nothing else waits if there is no answer.
    let asking = std::thread::Builder::new().spawn(move || answer.send(follows(&unit, failed)).is_ok());
    let asked = async { asking.is_ok() && answered.await.unwrap_or(false) };
    timeout(PATIENCE, asked).await.unwrap_or(false)
}

fn is_systemd() -> bool {
    env::var_os("NOTIFY_SOCKET").is_some() && sd_notify::booted().unwrap_or(false)
}

/// Asks for the unit's job: of a restart it is that, until the next process is started. Who failed has none.
fn follows(unit: &str, failed: bool) -> bool {
    let Some(jobs) = ask(&["list-jobs", "--full", "--plain", "--no-legend", "--no-pager", unit]) else { return false };
    match job(&jobs, unit) {
        Some(job) => job == "restart",
        None => failed && ask(&["show", "--property=Restart", "--value", unit]).is_some_and(|when| restarts(&when)),
    }
}

fn ask(arguments: &[&str]) -> Option<String> {
    let mut command = Command::new("systemctl");
    command.args(arguments).stdin(Stdio::null()).stderr(Stdio::null());
    match command.output() {
        Ok(output) => Some(String::from_utf8_lossy(&output.stdout).into_owned()),
        Err(error) => {
            log::warn!("systemd cannot be asked whether this is a restart: {error}");
            None
        }
    }
}

/// `JOB UNIT TYPE STATE` (systemctl(1)): the type.
fn job<'jobs>(jobs: &'jobs str, unit: &str) -> Option<&'jobs str> {
    jobs.lines().find_map(|job| {
        let mut words = job.split_whitespace().skip(1);
        words.next().filter(|named| *named == unit).and_then(|_| words.next())
    })
}

/// Whether a unit with this `Restart=` is started again after an exit with an error (systemd.service(5)).
fn restarts(when: &str) -> bool {
    ["always", "on-failure"].contains(&when.trim())
}

/// The service that this process belongs to (cgroups(7)).
fn unit(groups: &str) -> Option<String> {
    let mut names = groups.lines().flat_map(|group| group.rsplit('/'));
    names.find(|name| name.ends_with(".service")).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_restart_is_told_from_a_stop() {
        let unit = "spectrum.service";
        assert_eq!(job("  7 spectrum.service restart running\n", unit), Some("restart"));
        assert_eq!(job("  7 spectrum.service stop running\n", unit), Some("stop"));
        let two = "  7 other.service restart running\n 8 spectrum.service stop running";
        assert_eq!(job(two, unit), Some("stop"));
        for nonsense in ["", "No jobs running.", "restart", "spectrum.service restart"] {
            assert_eq!(job(nonsense, unit), None, "{nonsense}");
        }
        assert!(restarts("on-failure\n") && restarts("always\n"));
        assert!(!restarts("no\n") && !restarts("on-abort\n") && !restarts(""));
    }

    #[test]
    fn the_unit_is_the_innermost_service() {
        let of = |groups| unit(groups);
        assert_eq!(of("0::/system.slice/spectrum.service\n").as_deref(), Some("spectrum.service"));
        assert_eq!(of("1:name=systemd:/system.slice/a@b.service/sub\n0::/\n").as_deref(), Some("a@b.service"));
        assert_eq!(of("0::/user.slice/session-3.scope\n"), None);
        assert_eq!(of(""), None);
    }
}
