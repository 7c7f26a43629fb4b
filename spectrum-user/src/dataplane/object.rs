//! The eBPF object that this binary carries.
//!
//! Deliberately not here: what is in it. The loader knows that, and tests parse it.

/// This binary was built without the kernel programs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("this build carries no eBPF object: build with `cargo xtask build`")]
pub struct ObjectMissing;

/// The object, aligned as its parser wants it.
pub fn object() -> Result<&'static [u8], ObjectMissing> {
    present(OBJECT)
}

fn present(object: &[u8]) -> Result<&[u8], ObjectMissing> {
    if object.is_empty() { Err(ObjectMissing) } else { Ok(object) }
}

/// Written by `build.rs`: empty unless `cargo xtask build` made one.
static OBJECT: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/spectrum.o"));

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_object_is_refused_with_what_to_do() {
        assert_eq!(
            present(&[]).unwrap_err().to_string(),
            "this build carries no eBPF object: build with `cargo xtask build`"
        );
    }

    #[test]
    fn the_object_is_aligned_for_its_parser() {
        assert_eq!(OBJECT.as_ptr().align_offset(8), 0);
    }

    #[test]
    fn what_is_embedded_is_an_elf_file_or_missing() {
        if let Ok(object) = object() {
            assert_eq!(object.get(..4), Some(&b"\x7fELF"[..]));
        }
    }
}
