//! What the kernel knows of a TCP connection (`TCP_INFO`, include/uapi/linux/tcp.h).

use std::{
    io,
    mem::MaybeUninit,
    os::fd::{AsRawFd as _, BorrowedFd},
    time::Duration,
};

pub(crate) struct TcpInfo(libc::tcp_info);

const OPT_TIMESTAMPS: u8 = 1;
const OPT_SACK: u8 = 2;
const OPT_WSCALE: u8 = 4;

impl TcpInfo {
    pub(crate) fn of(socket: BorrowedFd<'_>) -> io::Result<Self> {
        let mut info = MaybeUninit::<libc::tcp_info>::zeroed();
        let mut length = libc::socklen_t::try_from(size_of::<libc::tcp_info>()).unwrap_or(0);
        // SAFETY: the kernel writes at most `length` bytes, which is the size of `info`.
        let failed = unsafe {
            libc::getsockopt(
                socket.as_raw_fd(),
                libc::IPPROTO_TCP,
                libc::TCP_INFO,
                info.as_mut_ptr().cast(),
                &raw mut length,
            )
        };
        if failed != 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: only integers, for which zeroes and whatever the kernel wrote are valid.
        Ok(Self(unsafe { info.assume_init() }))
    }

    /// The smoothed round trip time; zero where none was measured.
    pub(crate) fn round_trip(&self) -> Duration {
        Duration::from_micros(self.0.tcpi_rtt.into())
    }

    /// The window scale that this end offered, where both ends do window scaling, SACK and timestamps.
    pub(crate) fn offered_scale(&self) -> Option<u8> {
        let all = OPT_TIMESTAMPS | OPT_SACK | OPT_WSCALE;
        // Two bit fields: the sender's scale in the lower half, the receiver's in the upper one.
        (self.0.tcpi_options & all == all).then_some(self.0.tcpi_snd_rcv_wscale >> 4)
    }
}
