//! Who an application's origins are: by address (`origin_direct`), or by a name that is resolved (`origin_dns`).

mod direct;
mod dns;

use super::{
    diagnostic::{Fault, Place},
    reader::{Found, Table},
};
use crate::model::{Origins, PortRange, Protocol};

/// What was read, and where each origin by address stands.
pub(super) struct ReadOrigins {
    pub(super) value: Origins,
    pub(super) places: Vec<Place>,
}

/// The origins; none where the file holds nothing usable.
pub(super) fn read(table: &mut Table<'_>, protocol: Option<&Found<Protocol>>) -> Option<ReadOrigins> {
    match (table.has("origin_direct"), table.has("origin_dns")) {
        (true, true) => {
            if let Some((place, _)) = table.any("origin_dns") {
                let fault = Fault::new("an application has `origin_direct` or `origin_dns`, not both").code(11000);
                table.findings().error(&place, fault.help("remove one of them"));
            }
            table.any("origin_direct");
            table.any("origin_port");
            None
        }
        (_, true) => {
            let origin = dns::read(table, protocol)?;
            Some(ReadOrigins { value: Origins::Dns(origin), places: Vec::new() })
        }
        (direct, false) => {
            if !direct {
                table.findings().error(table.place(), no_origin());
            }
            let origins = direct::read(table, protocol);
            // Clients of the product send both: it takes the pair, and so do we.
            if let Some((place, _)) = table.any("origin_port").filter(|_| direct) {
                table
                    .findings()
                    .note(&place, Fault::new("the ports stand in `origin_direct`: `origin_port` says nothing"));
            }
            let (origins, places) = origins?.into_iter().map(|found| (found.value, found.place)).unzip();
            Some(ReadOrigins { value: Origins::Direct(origins), places })
        }
    }
}

fn no_origin() -> Fault {
    Fault::new("an application needs an origin").code(11000).help("write origin_direct = [\"tcp://192.0.2.1:22\"]")
}

/// As many ports as the edge has, from the first of `behind` on, where there are that many.
fn fitting(edge: u32, behind: PortRange) -> Option<PortRange> {
    let last = u32::from(behind.first()) + edge - 1;
    PortRange::new(behind.first(), u16::try_from(last).ok()?).ok()
}

fn count(ports: u32) -> String {
    if ports == 1 { "1 port".to_owned() } else { format!("{ports} ports") }
}
