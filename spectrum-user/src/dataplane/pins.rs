//! Where an instance's maps and links are pinned: `/sys/fs/bpf/spectrum/INSTANCE/`.
//!
//! A map is pinned under its own name, a link as `link_steer` or `link_xdp_INTERFACE`.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use super::{bpffs, sys};
use crate::model::Instance;

/// The pin directory of one instance.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pins {
    directory: PathBuf,
}

const STEER_LINK: &str = "link_steer";
const XDP_LINK: &str = "link_xdp_";

impl Pins {
    pub fn of(instance: &Instance) -> Self {
        Self { directory: parent().join(instance.as_str()) }
    }

    pub fn directory(&self) -> &Path {
        &self.directory
    }

    pub fn exist(&self) -> bool {
        self.directory.is_dir()
    }

    pub fn map(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    pub fn steer_link(&self) -> PathBuf {
        self.directory.join(STEER_LINK)
    }

    pub fn xdp_link(&self, interface: &str) -> PathBuf {
        self.directory.join(format!("{XDP_LINK}{}", escape(interface)))
    }

    /// Interfaces that have a pinned link, with its path.
    pub fn xdp_links(&self) -> Vec<(String, PathBuf)> {
        let Ok(entries) = fs::read_dir(&self.directory) else { return Vec::new() };
        let mut links: Vec<(String, PathBuf)> = entries
            .flatten()
            .filter_map(|entry| {
                let name = entry.file_name().into_string().ok()?;
                Some((unescape(name.strip_prefix(XDP_LINK)?), entry.path()))
            })
            .collect();
        links.sort();
        links
    }

    /// Whether any program is attached through these pins.
    pub fn any_link(&self) -> bool {
        self.steer_link().exists() || !self.xdp_links().is_empty()
    }

    pub fn create(&self) -> io::Result<()> {
        fs::create_dir_all(&self.directory)
    }

    /// Removes the pins; the kernel frees what nobody else holds. Links first: nothing filters with half of its maps.
    pub fn remove(&self) -> io::Result<()> {
        let entries = match fs::read_dir(&self.directory) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(error),
        };
        let mut paths: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
        paths.sort_by_key(|path| !is_link(path));
        for path in paths {
            if is_link(&path) {
                // A link whose interface is gone is detached already, and what is no link at all only loses its name.
                let _ = sys::open(&path).and_then(sys::detach_link);
            }
            fs::remove_file(path)?;
        }
        fs::remove_dir(&self.directory)?;
        // Other instances may live beside this one.
        let _ = fs::remove_dir(parent());
        Ok(())
    }
}

fn is_link(path: &Path) -> bool {
    path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("link_"))
}

/// Every instance that has pins.
pub fn instances() -> Vec<Instance> {
    let Ok(entries) = fs::read_dir(parent()) else { return Vec::new() };
    entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect()
}

fn parent() -> PathBuf {
    Path::new(bpffs::ROOT).join("spectrum")
}

/// The BPF filesystem takes no dots in names (`bpf_lookup`, kernel/bpf/inode.c), interfaces do (`eth0.100`).
fn escape(interface: &str) -> String {
    interface.replace('%', "%25").replace('.', "%2E")
}

fn unescape(name: &str) -> String {
    name.replace("%2E", ".").replace("%25", "%")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn interface_names_survive_the_filesystem() {
        for name in ["eth0", "eth0.100", "a%2Eb", "%", "br-lan"] {
            assert_eq!(unescape(&escape(name)), name);
            assert!(!escape(name).contains('.'));
        }
    }
}
