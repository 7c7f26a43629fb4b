//! What the packets for an application look like, as far as many of them look alike: what a flood is known by.
//!
//! Whoever floods makes packets with a tool, and a tool makes them alike: the same flags, length, hop limit, window, ports.
//! None of that says who it is, so no rule follows from it. It is what an operator tells the provider, and looks for in
//! a capture. Memory is fixed, whatever is sent.

use std::{collections::HashMap, fmt, hash::Hash};

use serde::{Deserialize, Serialize};

use super::{Frequent, TcpFlags};

/// Likenesses that are told of one application.
const TOLD: usize = 3;
/// The least that one must have of the packets looked at, in percent.
const LEAST: u64 = 10;
/// The least that a value must have of the packets of its likeness, in percent.
const COMMON: u64 = 25;
/// Values that are told of one field.
const VALUES: usize = 2;
/// From here on a value is that of all, in percent.
const ALL: u32 = 90;
/// What a packet weighs: fractions of one are kept while it fades.
const SCALE: u64 = 256;

/// One packet, as far as it shows what made it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Looks {
    pub form: Form,
    /// Of the IP packet, in bytes.
    pub length: Option<u16>,
    /// IPv4's time to live, IPv6's hop limit.
    pub ttl: Option<u8>,
    pub window: Option<u16>,
    /// Bytes of TCP options.
    pub options: Option<u8>,
    pub source_port: u16,
    pub destination_port: u16,
}

/// What kind of packet it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Form {
    /// IP protocol number.
    pub protocol: u8,
    /// Of a TCP segment.
    pub flags: Option<TcpFlags>,
}

/// A field whose value packets may have in common.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Field {
    IpLength,
    Ttl,
    TcpWindow,
    TcpOptions,
    SourcePort,
    DestinationPort,
}

/// What many packets for an application have in common.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Likeness {
    /// Of all packets for the application, as samples tell.
    pub percent: u32,
    pub protocol: u8,
    /// `SYN|ACK`; none: it is no TCP.
    pub tcp_flags: Option<String>,
    pub common: Vec<Common>,
}

/// A value that many of them have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Common {
    pub field: Field,
    pub value: u16,
    /// Of the packets of this likeness.
    pub percent: u32,
}

/// What packets look like, by application.
#[derive(Debug)]
pub struct Portraits<A> {
    /// Of all packets, by application: as many as there are of those.
    totals: HashMap<A, u64>,
    forms: Frequent<(A, Form)>,
    values: [Frequent<(A, Form, u16)>; Field::ALL.len()],
}

impl Field {
    const ALL: [Self; 6] =
        [Self::IpLength, Self::Ttl, Self::TcpWindow, Self::TcpOptions, Self::SourcePort, Self::DestinationPort];

    fn of(self, looks: &Looks) -> Option<u16> {
        match self {
            Self::IpLength => looks.length,
            Self::Ttl => looks.ttl.map(u16::from),
            Self::TcpWindow => looks.window,
            Self::TcpOptions => looks.options.map(u16::from),
            Self::SourcePort => Some(looks.source_port),
            Self::DestinationPort => Some(looks.destination_port),
        }
    }
}

impl<A> Default for Portraits<A> {
    fn default() -> Self {
        Self { totals: HashMap::new(), forms: Frequent::default(), values: Default::default() }
    }
}

impl<A: Copy + Eq + Hash + Ord> Portraits<A> {
    /// A packet that stands for so many.
    pub fn add(&mut self, app: A, looks: &Looks, weight: u32) {
        let weight = u64::from(weight) * SCALE;
        let total = self.totals.entry(app).or_default();
        *total = total.saturating_add(weight);
        self.forms.add((app, looks.form), weight);
        for (field, values) in Field::ALL.into_iter().zip(&mut self.values) {
            if let Some(value) = field.of(looks) {
                values.add((app, looks.form, value), weight);
            }
        }
    }

    /// Everything weighs this much less from now on.
    pub fn fade(&mut self, keep: u64, of: u64) {
        self.totals.retain(|_, total| {
            *total = total.saturating_mul(keep) / of;
            *total > 0
        });
        self.forms.fade(keep, of);
        self.values.iter_mut().for_each(|values| values.fade(keep, of));
    }

    /// How many packets of these forms are remembered.
    pub fn weight(&self, app: A, meant: impl Fn(Form) -> bool) -> u64 {
        self.forms(app, meant).map(|(_, count)| count).sum::<u64>() / SCALE
    }

    /// What an application's packets of these forms look like, the most alike first. Nothing is told that few have.
    pub fn of(&self, app: A, meant: impl Fn(Form) -> bool) -> Vec<Likeness> {
        let total = self.totals.get(&app).copied().unwrap_or_default();
        let mut forms: Vec<(Form, u64)> = self.forms(app, meant).collect();
        let looked_at: u64 = forms.iter().map(|(_, count)| count).sum();
        forms.retain(|(_, count)| percent(*count, looked_at).is_some_and(|share| u64::from(share) >= LEAST));
        forms.sort_by(|a, b| b.1.cmp(&a.1).then(a.0.cmp(&b.0)));
        let told = forms.into_iter().take(TOLD).map(|(form, count)| Likeness {
            percent: percent(count, total).unwrap_or_default(),
            protocol: form.protocol,
            tcp_flags: form.flags.map(|flags| flags.to_string()),
            common: self.common(app, form, count),
        });
        told.collect()
    }

    fn forms(&self, app: A, meant: impl Fn(Form) -> bool) -> impl Iterator<Item = (Form, u64)> {
        let of_app = self.forms.iter().filter(move |((owner, form), _)| *owner == app && meant(*form));
        of_app.map(|((_, form), count)| (form, count))
    }

    fn common(&self, app: A, form: Form, of: u64) -> Vec<Common> {
        let values = |(field, values): (Field, &Frequent<(A, Form, u16)>)| {
            let of_form = values.iter().filter(|((owner, other, _), _)| (*owner, *other) == (app, form));
            let mut common: Vec<Common> = of_form
                .filter_map(|((.., value), count)| Some(Common { field, value, percent: percent(count, of)? }))
                .filter(|common| u64::from(common.percent) >= COMMON)
                .collect();
            common.sort_by(|a, b| b.percent.cmp(&a.percent).then(a.value.cmp(&b.value)));
            common.truncate(VALUES);
            common
        };
        Field::ALL.into_iter().zip(&self.values).flat_map(values).collect()
    }
}

/// None: of nothing.
fn percent(count: u64, of: u64) -> Option<u32> {
    let percent = u128::from(count) * 100 + u128::from(of) / 2;
    u32::try_from(percent.checked_div(u128::from(of))?.min(100)).ok()
}

impl Likeness {
    /// `SYN: 60 bytes, ttl 64, window 512, from port 53 (40 %)`.
    pub fn looks(&self) -> String {
        let form = match (&self.tcp_flags, self.protocol) {
            (Some(flags), _) if *flags == TcpFlags(0).to_string() => "TCP without flags".to_owned(),
            (Some(flags), _) => flags.clone(),
            (None, 6) => "TCP cut short".to_owned(),
            (None, 17) => "UDP".to_owned(),
            (None, number) => format!("protocol {number}"),
        };
        let common: Vec<String> = self.common.iter().map(ToString::to_string).collect();
        if common.is_empty() { form } else { format!("{form}: {}", common.join(", ")) }
    }
}

/// With its share: `62 % SYN: 60 bytes, ttl 64`.
impl fmt::Display for Likeness {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} % {}", self.percent, self.looks())
    }
}

impl fmt::Display for Common {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let value = self.value;
        match self.field {
            Field::IpLength => write!(f, "{value} bytes")?,
            Field::Ttl => write!(f, "ttl {value}")?,
            Field::TcpWindow => write!(f, "window {value}")?,
            Field::TcpOptions if value == 0 => f.write_str("no TCP options")?,
            Field::TcpOptions => write!(f, "{value} bytes of TCP options")?,
            Field::SourcePort => write!(f, "from port {value}")?,
            Field::DestinationPort => write!(f, "to port {value}")?,
        }
        if self.percent < ALL { write!(f, " ({} %)", self.percent) } else { Ok(()) }
    }
}

/// Several in one line.
pub fn describe(portrait: &[Likeness]) -> String {
    portrait.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}

#[cfg(test)]
mod tests {
    use super::*;

    const SYN: Form = Form { protocol: 6, flags: Some(TcpFlags(2)) };
    const UDP: Form = Form { protocol: 17, flags: None };

    fn syn(source_port: u16) -> Looks {
        Looks {
            form: SYN,
            length: Some(60),
            ttl: Some(64),
            window: Some(512),
            options: Some(20),
            source_port,
            destination_port: 443,
        }
    }

    fn told(portraits: &Portraits<u32>) -> Vec<String> {
        portraits.of(1, |_| true).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn what_packets_have_in_common_is_told_with_its_share() {
        let mut portraits = Portraits::default();
        for packet in 0..60_u16 {
            portraits.add(1, &syn(if packet % 2 == 0 { 53 } else { 1024 + packet }), 100);
        }
        for packet in 0..40_u16 {
            let looks = Looks {
                form: UDP,
                length: Some(1000 + packet),
                source_port: 123,
                destination_port: 443,
                ..Looks::default()
            };
            portraits.add(1, &looks, 100);
        }
        portraits.add(2, &Looks::default(), 1_000_000);
        assert_eq!(
            told(&portraits),
            [
                "60 % SYN: 60 bytes, ttl 64, window 512, 20 bytes of TCP options, from port 53 (50 %), to port 443",
                "40 % UDP: from port 123, to port 443",
            ]
        );
        let syns = portraits.of(1, |form| form.flags.is_some_and(TcpFlags::asks));
        assert_eq!((syns.len(), syns[0].percent, portraits.weight(1, |form| form == SYN)), (1, 60, 6000));
        assert_eq!(portraits.of(3, |_| true), []);
        let json = serde_json::to_value(&syns[0]).unwrap();
        assert_eq!(json["common"][0], serde_json::json!({ "field": "ip_length", "value": 60, "percent": 100 }));
    }

    #[test]
    fn all_ports_and_lengths_take_no_memory_and_hide_nothing() {
        let mut portraits = Portraits::default();
        // Each of them, and several hundred times as many as there is room for.
        for packet in 0..100_000_u32 {
            let random = packet.wrapping_mul(2_654_435_761);
            let port = u16::try_from(random >> 16).unwrap();
            let flags = TcpFlags(u8::try_from(random & 255).unwrap());
            let noise = Looks {
                form: Form { protocol: 6, flags: Some(flags) },
                length: Some(port),
                window: Some(port),
                source_port: port,
                destination_port: port,
                ..Looks::default()
            };
            portraits.add(1, &noise, 1);
            portraits.add(1, &syn(port), 1);
        }
        assert_eq!(told(&portraits), ["50 % SYN: 60 bytes, ttl 64, window 512, 20 bytes of TCP options, to port 443"]);
    }

    #[test]
    fn what_is_over_fades_and_is_forgotten() {
        let mut portraits = Portraits::default();
        for _ in 0..1000 {
            portraits.add(1, &syn(1), 500);
        }
        (0..8).for_each(|_| portraits.fade(1, 2));
        for _ in 0..100 {
            portraits.add(1, &Looks { form: UDP, ..Looks::default() }, 500);
        }
        assert!(told(&portraits)[0].starts_with("96 % UDP"), "{:?}", told(&portraits));
        (0..64).for_each(|_| portraits.fade(1, 2));
        assert_eq!((told(&portraits).len(), portraits.totals.len()), (0, 0));
    }
}
