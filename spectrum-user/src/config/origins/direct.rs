//! `origin_direct`: origins by address.

use super::{count, fitting};
use crate::config::{
    diagnostic::Fault,
    reader::{Found, Table},
    text,
};
use crate::model::{DirectOrigin, Protocol};

/// The origins; none where there is nothing usable.
pub(super) fn read(table: &mut Table<'_>, protocol: Option<&Found<Protocol>>) -> Option<Vec<Found<DirectOrigin>>> {
    let found = table.list("origin_direct", Some(super::no_origin()), origin);
    let mut origins: Vec<Found<DirectOrigin>> = Vec::new();
    for origin in found?.value {
        if let Some(fault) = protocol.and_then(|protocol| mismatch(origin.value, &protocol.value)) {
            table.findings().error(&origin.place, fault);
        } else if origins.iter().any(|other| other.value == origin.value) {
            let fault = Fault::new(format!("the origin {} is listed twice", origin.value)).code(11002);
            table.findings().error(&origin.place, fault.help("remove one"));
        }
        origins.push(origin);
    }
    (!origins.is_empty()).then_some(origins)
}

fn origin(value: &str) -> Result<DirectOrigin, Fault> {
    let origin: DirectOrigin = value.parse().map_err(|error| {
        Fault::new(format!("{error}")).code(11002).help("write tcp://192.0.2.1:22 or tcp://[2001:db8::1]:3000-4000")
    })?;
    text::canonical(origin.address).map_err(|fault| fault.code(11002))?;
    match text::no_host(origin.address) {
        Some(why) => {
            let fault = Fault::new(format!("{} cannot be an origin: it is {why}", origin.address)).code(11002);
            Err(fault.help("write the address of the origin server"))
        }
        None => Ok(origin),
    }
}

fn mismatch(origin: DirectOrigin, protocol: &Protocol) -> Option<Fault> {
    if origin.transport != protocol.transport {
        let fault = Fault::new(format!("the origin {origin} is not {}, as `{protocol}` is", protocol.transport));
        let meant = DirectOrigin { transport: protocol.transport, ..origin };
        return Some(fault.code(11002).help(format!("write {meant}")));
    }
    let (edge, behind) = (protocol.ports.count(), origin.ports.count());
    if edge == behind {
        return None;
    }
    let fault = Fault::new(format!("`{protocol}` has {}, the origin {origin} has {}", count(edge), count(behind)));
    let help = match fitting(edge, origin.ports) {
        Some(ports) => format!("write {}", DirectOrigin { ports, ..origin }),
        None => "give both as many ports".to_owned(),
    };
    Some(fault.code(11002).help(help))
}
