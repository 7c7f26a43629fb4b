//! Addresses as four words, in the order they have in memory: what the programs carry and build keys of.
//!
//! As arrays of bytes every byte of an address becomes a value of its own with a stack slot of its own, hundreds of
//! instructions and most of the 512 bytes of stack: LLVM splits loads that may be unaligned, and what was split stays
//! split.

use core::arch::asm;

/// 16 bytes of an address; an IPv4 one as `::ffff:a.b.c.d`.
pub(crate) type Address = [u32; 4];

/// The word of an IPv4-mapped address in front of the address itself.
const MAPPED: u32 = u32::from_ne_bytes([0, 0, 0xff, 0xff]);

/// An IPv4 address, as its word, in the form that both families share.
#[inline(always)]
pub(crate) const fn mapped(v4: u32) -> Address {
    [0, 0, MAPPED, v4]
}

/// Four bytes of a packet in one load.
///
/// BPF loads may be unaligned where the machine's may: the verifier asks for that
/// (`CONFIG_HAVE_EFFICIENT_UNALIGNED_ACCESS`, `check_pkt_ptr_alignment` in kernel/bpf/verifier.c), and Rust has no way
/// to say it.
#[inline(always)]
pub(crate) fn word(bytes: &[u8; 4]) -> u32 {
    let word: u64;
    // SAFETY: reads the four bytes that `bytes` borrows, and nothing else.
    unsafe {
        asm!(
            "{word} = *(u32 *)({at} + 0)",
            at = in(reg) bytes.as_ptr(),
            word = lateout(reg) word,
            options(pure, readonly, nostack, preserves_flags),
        );
    }
    word as u32
}

/// A number that the verifier sees to be no more than `MASK`.
///
/// In assembly, because LLVM leaves out a mask after a comparison that says the same, and the verifier of 6.1
/// forgets the comparison when the number has been on the stack in between.
#[inline(always)]
pub(crate) fn masked<const MASK: usize>(number: usize) -> usize {
    let mut masked = number as u64;
    // SAFETY: arithmetic on a register.
    unsafe {
        asm!(
            "{masked} &= {mask}",
            masked = inout(reg) masked,
            mask = const MASK,
            options(pure, nomem, nostack, preserves_flags),
        );
    }
    masked as usize
}

/// The same number, of which the verifier has forgotten what it knew; `unknown` is any number that it knows nothing of.
///
/// It walks on from every branch with what it has learned there, once for each: a zero here and a value there make all
/// that follows be walked twice, and after ten such branches more often than it is willing to
/// (`BPF_COMPLEXITY_LIMIT_INSNS`, kernel/bpf/verifier.c).
#[inline(always)]
pub(crate) fn forgotten(number: u64, unknown: u64) -> u64 {
    let mut forgotten = number;
    // SAFETY: arithmetic on registers.
    unsafe {
        asm!(
            "{number} ^= {unknown}",
            "{number} ^= {unknown}",
            number = inout(reg) forgotten,
            unknown = in(reg) unknown,
            options(pure, nomem, nostack, preserves_flags),
        );
    }
    forgotten
}

/// Writes four bytes of a packet in one store, as [`word`] reads them.
///
/// # Safety
///
/// `at..at + 4` lies within the packet, as the verifier has seen checked.
#[inline(always)]
pub(crate) unsafe fn put_word(at: usize, word: u32) {
    // SAFETY: the caller's promise.
    unsafe {
        asm!(
            "*(u32 *)({at} + 0) = {word}",
            at = in(reg) at,
            word = in(reg) u64::from(word),
            options(nostack, preserves_flags),
        );
    }
}

/// As [`word`], for an IPv6 address.
#[inline(always)]
pub(crate) fn words(bytes: &[u8; 16]) -> Address {
    // SAFETY: the same 16 bytes, at the same alignment.
    let [a, b, c, d] = unsafe { &*core::ptr::from_ref(bytes).cast::<[[u8; 4]; 4]>() };
    [word(a), word(b), word(c), word(d)]
}
