//! `health_check` of an application: how its origins are asked whether they live.

use std::{ops::Range, time::Duration};

use super::{diagnostic::Fault, reader::Table};
use crate::model::{Exchange, HealthCheck};

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Tcp,
    Tls,
    Udp,
}

pub(super) fn read(extensions: &mut Table<'_>) -> Option<HealthCheck> {
    let mut table = extensions.table("health_check", "health_check")?;
    let tls = table.require("type", "\"tcp\"", |table, key| {
        let found = table.choice(key, &[("tcp", Kind::Tcp), ("tls", Kind::Tls), ("udp", Kind::Udp)])?;
        if found.value == Kind::Udp {
            let advice = "write \"tcp\", with `send` and `expect` where it talks";
            table.findings().error(&found.place, Fault::later("type = \"udp\"", advice));
            return None;
        }
        Some(found.value == Kind::Tls)
    });
    let interval = table.duration("interval", LONGEST).unwrap_or(INTERVAL);
    let timeout = table.duration("timeout", LONGEST).unwrap_or(TIMEOUT.min(interval));
    let (rise, fall) = (table.whole("rise", TIMES).unwrap_or(RISE), table.whole("fall", TIMES).unwrap_or(FALL));
    let port = table.integer("port", &(1..65_536)).and_then(|found| u16::try_from(found.value).ok());
    let send = table.parsed("send", bytes);
    let expect = table.parsed("expect", bytes);
    if let Some(found) = table.value("timeout").filter(|_| timeout > interval) {
        let fault = Fault::new("a check may not last longer than the interval between two");
        table
            .findings()
            .error(&found.0, fault.help(format!("write \"{}\" or less", humantime::format_duration(interval))));
    }
    if let (Some(send), None) = (&send, &expect) {
        let fault = Fault::new("`send` without `expect` says nothing of the answer");
        table
            .findings()
            .error(&send.place, fault.help("write expect = \"…\", what the answer holds, or remove `send`"));
    }
    table.finish();
    let exchange =
        expect.map(|expect| Exchange { send: send.map(|found| found.value).unwrap_or_default(), expect: expect.value });
    Some(HealthCheck { tls: tls?, exchange, port, interval, timeout, rise, fall })
}

/// TOML's own escapes say every byte that a text protocol has.
fn bytes(value: &str) -> Result<Vec<u8>, Fault> {
    if value.is_empty() || value.len() > LONGEST_TEXT {
        return Err(
            Fault::new(format!("what is sent and expected has 1 to {LONGEST_TEXT} bytes")).help("write \"PING\\r\\n\"")
        );
    }
    Ok(value.as_bytes().to_vec())
}

const INTERVAL: Duration = Duration::from_secs(10);
const TIMEOUT: Duration = Duration::from_secs(2);
const LONGEST: Duration = Duration::from_hours(1);
const RISE: u32 = 2;
const FALL: u32 = 3;
const TIMES: Range<u32> = 1..101;
const LONGEST_TEXT: usize = 1024;
