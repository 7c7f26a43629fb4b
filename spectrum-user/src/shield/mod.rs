//! What userspace adds to the shield: it sees floods in the counters and switches the protected mode; it sees sources
//! that do too much, and says which rules would stop them; it says what floods look like.
//!
//! Deliberately not here: the answer to a SYN (XDP gives it), the counters (`dataplane`), and when this looks (`daemon`).

mod blame;
mod counts;
mod flood;
mod frequent;
mod heavy;
mod mitigation;
mod portrait;
mod scale;
mod sysctl;
mod tcp_flags;
mod usual;

pub use counts::{Counts, Proof, Seen, Width, host, network, takes_in};
pub use flood::{Change, Floods, Kind, Totals};
pub use frequent::Frequent;
pub use heavy::{HeavyHitters, Weight};
pub use mitigation::{Bounds, Bystanders, Mitigation, Verdict};
pub use portrait::{Common, Field, Form, Likeness, Looks, Portraits, describe as describe_portrait};
pub use scale::offered as offered_scale;
pub use sysctl::{Switch, Sysctl, SysctlError, restore};
pub use tcp_flags::TcpFlags;
