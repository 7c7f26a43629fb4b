//! The eBPF object that this build carries.
#[derive(Debug, thiserror::Error)]
#[error("this build carries no eBPF object: build with `cargo xtask build`")]
pub struct ObjectMissing;
static OBJECT: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/spectrum.o"));
/// The object.
pub fn object() -> Result<&'static [u8], ObjectMissing> {
    if OBJECT.is_empty() { Err(ObjectMissing) } else { Ok(OBJECT) }
}
