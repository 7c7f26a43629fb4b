//! The few `bpf(2)` commands that aya does not offer: a pinned link's descriptor, what the link hangs on, a new program
//! for a steering link, and many entries of a map at once.

use std::{
    ffi::CString,
    io,
    os::{
        fd::{AsFd, AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd},
        unix::ffi::OsStrExt as _,
    },
    path::Path,
};

use bytemuck::{Pod, Zeroable};

const BPF_OBJ_GET: libc::c_int = 7;
const BPF_OBJ_GET_INFO_BY_FD: libc::c_int = 15;
const BPF_MAP_LOOKUP_BATCH: libc::c_int = 24;
const BPF_LINK_UPDATE: libc::c_int = 29;
const BPF_LINK_DETACH: libc::c_int = 34;

/// `bpf_link_type` of a link to a network namespace (`sk_lookup`).
const BPF_LINK_TYPE_NETNS: u32 = 5;
/// `bpf_link_type` of an XDP link.
const BPF_LINK_TYPE_XDP: u32 = 6;

/// What a link hangs on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum LinkTarget {
    /// Inode of the network namespace; 0: it is gone.
    Netns {
        inode: u32,
    },
    /// Index of the interface; 0: it is gone.
    Interface {
        index: u32,
    },
    Other,
}

/// `struct bpf_link_info` (include/uapi/linux/bpf.h), as far as it is read here.
#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
struct LinkInfo {
    kind: u32,
    id: u32,
    program_id: u32,
    zero: u32,
    /// The union: `netns.netns_ino` or `xdp.ifindex` come first.
    target: u32,
    rest: [u32; 11],
}

const LINK_INFO_BYTES: u32 = 64;
const _: () = assert!(size_of::<LinkInfo>() == LINK_INFO_BYTES as usize);

/// Identity of a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Link {
    pub(super) id: u32,
    pub(super) program_id: u32,
    pub(super) target: LinkTarget,
}

/// Opens what is pinned at `path`.
pub(super) fn open(path: &Path) -> io::Result<OwnedFd> {
    #[derive(Clone, Copy, Pod, Zeroable)]
    #[repr(C)]
    struct Attr {
        path: u64,
        fd: u32,
        flags: u32,
    }
    let name = CString::new(path.as_os_str().as_bytes())?;
    let mut attr = Attr { path: name.as_ptr().expose_provenance() as u64, fd: 0, flags: 0 };
    let fd = bpf(BPF_OBJ_GET, &mut attr)?;
    // SAFETY: the kernel has just made it for this process, and nobody else knows it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Asks the kernel what a link is.
pub(super) fn link(link: impl AsFd) -> io::Result<Link> {
    #[derive(Clone, Copy, Pod, Zeroable)]
    #[repr(C)]
    struct Attr {
        fd: u32,
        length: u32,
        info: u64,
    }
    let mut info = LinkInfo::zeroed();
    let mut attr =
        Attr { fd: raw(link.as_fd()), length: LINK_INFO_BYTES, info: (&raw mut info).expose_provenance() as u64 };
    bpf(BPF_OBJ_GET_INFO_BY_FD, &mut attr)?;
    let target = match info.kind {
        BPF_LINK_TYPE_NETNS => LinkTarget::Netns { inode: info.target },
        BPF_LINK_TYPE_XDP => LinkTarget::Interface { index: info.target },
        _ => LinkTarget::Other,
    };
    Ok(Link { id: info.id, program_id: info.program_id, target })
}

/// Puts another program of the same type in a link's place, atomically.
pub(super) fn update_link(link: impl AsFd, program: impl AsFd) -> io::Result<()> {
    #[derive(Clone, Copy, Pod, Zeroable)]
    #[repr(C)]
    struct Attr {
        link: u32,
        program: u32,
        flags: u32,
        old_program: u32,
    }
    let mut attr = Attr { link: raw(link.as_fd()), program: raw(program.as_fd()), flags: 0, old_program: 0 };
    bpf(BPF_LINK_UPDATE, &mut attr).map(drop)
}

/// Takes a link's program off what it hangs on, now. The link itself lives on, empty, as long as it is held.
///
/// Without this a link whose pin is removed detaches some time later: its last reference is dropped by a work queue
/// (`bpf_link_put`, kernel/bpf/syscall.c). XDP and netns links can be detached since 5.9 (73b11c2ab072).
pub(super) fn detach_link(link: impl AsFd) -> io::Result<()> {
    #[derive(Clone, Copy, Pod, Zeroable)]
    #[repr(C)]
    struct Attr {
        link: u32,
    }
    bpf(BPF_LINK_DETACH, &mut Attr { link: raw(link.as_fd()) }).map(drop)
}

/// Room for entries of a map.
pub(super) struct Batch<'a> {
    /// Whether `position` is where an earlier call stopped; else the map is read from its beginning.
    pub(super) begun: bool,
    /// One key long.
    pub(super) position: &'a mut [u8],
    /// As many keys as the call is to read.
    pub(super) keys: &'a mut [u8],
    /// As many values.
    pub(super) values: &'a mut [u8],
}

/// Reads up to `entries` entries. Says how many it has read, and whether there may be more.
pub(super) fn lookup_batch(map: BorrowedFd<'_>, batch: &mut Batch<'_>, entries: usize) -> io::Result<(usize, bool)> {
    #[derive(Clone, Copy, Pod, Zeroable)]
    #[repr(C)]
    struct Attr {
        from: u64,
        to: u64,
        keys: u64,
        values: u64,
        count: u32,
        map: u32,
        element_flags: u64,
        flags: u64,
    }
    let position = batch.position.as_mut_ptr().expose_provenance() as u64;
    let mut attr = Attr {
        from: if batch.begun { position } else { 0 },
        to: position,
        keys: batch.keys.as_mut_ptr().expose_provenance() as u64,
        values: batch.values.as_mut_ptr().expose_provenance() as u64,
        count: u32::try_from(entries).map_err(io::Error::other)?,
        map: raw(map),
        element_flags: 0,
        flags: 0,
    };
    let more = match bpf(BPF_MAP_LOOKUP_BATCH, &mut attr) {
        Ok(_) => true,
        Err(error) if error.raw_os_error() == Some(libc::ENOENT) => false,
        Err(error) => return Err(error),
    };
    Ok((attr.count as usize, more))
}

fn raw(fd: BorrowedFd<'_>) -> u32 {
    fd.as_raw_fd().cast_unsigned()
}

fn bpf<A: Pod>(command: libc::c_int, attr: &mut A) -> io::Result<libc::c_int> {
    // SAFETY: `attr` is plain data of the length that is given; pointers in it are valid for the call.
    let result = unsafe { libc::syscall(libc::SYS_bpf, command, std::ptr::from_mut(attr), size_of::<A>()) };
    // Zero or a descriptor, both of which fit.
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(libc::c_int::try_from(result).unwrap_or_default()) }
}
