//! What userspace adds to the shield: it sees floods in the counters and switches the protected mode.
//!
//! Deliberately not here: the answer to a SYN (XDP gives it), the counters (`dataplane`), and when this looks (`daemon`).

mod flood;
mod heavy;
mod scale;
mod sysctl;

pub use flood::{Change, Floods, Kind, Totals};
pub use heavy::{HeavyHitters, Weight};
pub use scale::offered as offered_scale;
pub use sysctl::{Switch, Sysctl, SysctlError, restore};
