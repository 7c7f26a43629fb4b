//! How the shield acts on this node.

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shield {
    /// `net.ipv4.tcp_timestamps` may be 2 while protected, so that connections which begin with a cookie keep window
    /// scaling and SACK.
    pub timestamps: bool,
}

impl Default for Shield {
    fn default() -> Self {
        Self { timestamps: true }
    }
}
