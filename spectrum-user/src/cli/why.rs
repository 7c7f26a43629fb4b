//! `spectrum why`: what happens to a packet, stage by stage, and who says so.

use std::{
    collections::BTreeMap,
    fmt,
    net::{IpAddr, SocketAddr},
    process::ExitCode,
};

use serde::Serialize;
use spectrum_common::{layout::steer_flags, reason::Stage, steer};

use super::{
    Why, control,
    instance::chosen,
    output::{self, Output},
};
use crate::{
    daemon::{AppStatus, DaemonStatus, RuleAnswer, RuleStatus, require},
    dataplane::{
        events::Sample,
        explain::{Explainer, Kind},
        image::{MapImage, address},
        maps::{ConfigMaps, MapSource},
        pins::Pins,
    },
    model::{AppId, Country, Instance, RuleId, Transport},
};

/// One packet's way.
#[derive(Serialize)]
struct Answer {
    from: IpAddr,
    to: SocketAddr,
    transport: &'static str,
    /// The source's network and country, where the kernel has a table of them.
    #[serde(skip_serializing_if = "Option::is_none")]
    source: Option<Whereabouts>,
    /// `pass` or `drop`.
    action: &'static str,
    reason: &'static str,
    explanation: &'static str,
    application: Option<Object<AppStatus>>,
    rule: Option<Object<RuleStatus>>,
    /// Whether a daemon is there to accept what passes.
    served: bool,
    /// What each stage of the program says, as far as the packet gets.
    stages: Vec<StageAnswer>,
    /// Of TCP: a segment that begins no connection, and what the protected mode would do.
    #[serde(skip_serializing_if = "Option::is_none")]
    segment: Option<Segment>,
}

#[derive(Serialize)]
struct StageAnswer {
    stage: &'static str,
    /// `pass`, `drop`, `answer`, or `not reached`.
    outcome: &'static str,
    says: String,
}

/// Of a segment of no connection that this host knows; an open one's always get past the last stage.
#[derive(Serialize)]
struct Segment {
    now: Verdict,
    /// While a flood lasts.
    protected: Verdict,
    /// What becomes of SYNs in the protected mode.
    protected_syn: String,
}

#[derive(Serialize)]
struct Verdict {
    action: &'static str,
    reason: &'static str,
    explanation: &'static str,
}

impl Verdict {
    fn of(sample: &Sample) -> Self {
        let reason = sample.reason;
        Self { action: reason.action().as_str(), reason: reason.as_str(), explanation: reason.explain() }
    }
}

#[derive(Clone, Serialize)]
struct Whereabouts {
    asn: u32,
    country: String,
}

/// An object as the kernel knows it, with what the daemon adds.
#[derive(Serialize)]
struct Object<T> {
    id: String,
    #[serde(flatten)]
    details: Option<T>,
}

pub(super) async fn why(question: &Why, output: Output) -> anyhow::Result<ExitCode> {
    let instance = chosen(question.instance.instance.clone())?;
    require()?;
    let pins = Pins::of(&instance);
    anyhow::ensure!(pins.exist(), "instance `{instance}` is not loaded: nothing filters");
    let transport = if question.udp { Transport::Udp } else { Transport::Tcp };
    let maps = ConfigMaps::open(MapSource::Pins(&pins))?;
    let image = maps.dump()?;
    let source = maps.class(question.address.to_canonical()).map(|class| Whereabouts {
        asn: class.asn,
        country: Country::of(class.country).map(|country| country.to_string()).unwrap_or_default(),
    });
    let targets = match question.to {
        Some(to) => vec![to],
        None => every_application(&image, question.address, transport),
    };
    anyhow::ensure!(!targets.is_empty(), "no application takes {transport} from an address like {}", question.address);
    let mut explainer = Explainer::load(&pins)?;
    let daemon: Option<DaemonStatus> = control::get(&instance, "/status").await?;
    let mut answers = Vec::new();
    for to in targets {
        let kind = if question.udp { Kind::Datagram } else { Kind::Request };
        let sample = explainer.explain(question.address, to, kind, false)?;
        let source = source.clone();
        let mut answer = answer(&sample, transport, &image, daemon.as_ref(), &instance).await?;
        answer.source = source;
        answer.stages = stages(&answer, &sample);
        if !question.udp {
            let now = explainer.explain(question.address, to, Kind::Segment, false)?;
            let protected = explainer.explain(question.address, to, Kind::Segment, true)?;
            let protected_syn = protected_syn(&answer, &sample, &image);
            answer.segment =
                Some(Segment { now: Verdict::of(&now), protected: Verdict::of(&protected), protected_syn });
        }
        answers.push(answer);
    }
    match output {
        Output::Json => output::json(&answers)?,
        Output::Table => answers.iter().for_each(show),
    }
    Ok(ExitCode::SUCCESS)
}

/// One address and port of each application of the source's family.
fn every_application(image: &MapImage, from: IpAddr, transport: Transport) -> Vec<SocketAddr> {
    let mut first: BTreeMap<u32, SocketAddr> = BTreeMap::new();
    for (prefix, value) in &image.steer {
        let to = SocketAddr::new(address(prefix.key.address), u16::from_be_bytes(prefix.key.port));
        let fits = prefix.key.protocol == transport.number() && to.is_ipv4() == from.is_ipv4();
        if fits && value.flags & steer_flags::CLOSED == 0 && prefix.bits > steer::ADDRESS_BITS {
            first.entry(value.app).and_modify(|seen| *seen = (*seen).min(to)).or_insert(to);
        }
    }
    first.into_values().collect()
}

async fn answer(
    sample: &Sample,
    transport: Transport,
    image: &MapImage,
    daemon: Option<&DaemonStatus>,
    instance: &Instance,
) -> anyhow::Result<Answer> {
    let application = sample.app.and_then(|number| image.apps.get(&number)).map(|name| {
        let id = AppId::from_bytes(name.id).to_string();
        let details = daemon.and_then(|daemon| daemon.applications.iter().find(|app| app.id == id)).cloned();
        Object { id, details }
    });
    let rule = match sample.rule.and_then(|number| image.rules.get(&number)) {
        Some(name) => {
            let id = RuleId::from_bytes(name.id).to_string();
            let answer: Option<RuleAnswer> = control::get(instance, &format!("/rules/{id}")).await?;
            let details = answer.and_then(|answer| answer.rules.into_iter().next()).map(RuleStatus::from);
            Some(Object { id, details })
        }
        None => None,
    };
    Ok(Answer {
        from: sample.source,
        to: SocketAddr::new(sample.destination, sample.destination_port),
        transport: transport.as_str(),
        source: None,
        action: sample.reason.action().as_str(),
        reason: sample.reason.as_str(),
        explanation: sample.reason.explain(),
        application,
        rule,
        served: daemon.is_some(),
        stages: Vec::new(),
        segment: None,
    })
}

fn show(answer: &Answer) {
    let Answer { from, to, transport, action, reason, segment, .. } = answer;
    let first = if segment.is_some() { "a SYN" } else { "a datagram" };
    output::line(&format!("{transport} from {from} to {to}: {action} ({reason})\n"));
    output::line(&format!("  {first}:\n"));
    for StageAnswer { stage, outcome, says } in &answer.stages {
        output::line(&format!("    {stage:<9} {outcome:<12} {}\n", output::printable(says)));
    }
    let Some(Segment { now, protected, protected_syn }) = segment else { return };
    output::line(
        "  a segment of a connection that this host does not know (those of open ones pass where a SYN does):\n",
    );
    for (when, verdict) in [("now", now), ("protected", protected)] {
        output::line(&format!("    {when:<9} {:<12} {} ({})\n", verdict.action, verdict.explanation, verdict.reason));
    }
    output::line(&format!("  in the protected mode a SYN {protected_syn}\n"));
}

/// What each stage of the program says, and what comes of what passes. Where the program had its last word is what its
/// reason tells; the stages before it have let the packet through.
fn stages(answer: &Answer, sample: &Sample) -> Vec<StageAnswer> {
    let last = sample.reason.stage();
    let mut stages: Vec<StageAnswer> = Stage::ALL
        .into_iter()
        .map(|stage| {
            let (outcome, says) = match last {
                Some(last) if stage > last => ("not reached", String::new()),
                Some(last) if stage == last => (answer.action, says(stage, answer, true)),
                _ => ("pass", says(stage, answer, false)),
            };
            let says = match (&answer.source, stage) {
                (Some(source), Stage::Access) if !says.is_empty() => format!("{says}; the source is of {source}"),
                _ => says,
            };
            StageAnswer { stage: stage.as_str(), outcome, says }
        })
        .collect();
    if answer.action == "pass" && answer.application.is_some() {
        let details = answer.application.as_ref().and_then(|app| app.details.as_ref());
        let (outcome, says) = match details {
            Some(app) if answer.served => {
                ("pass", format!("the daemon accepts, and dials {}", app.origins.join(" or ")))
            }
            _ => ("refused", "no daemon listens: the kernel answers with a reset".to_owned()),
        };
        stages.push(StageAnswer { stage: "serve", outcome, says });
    }
    stages
}

impl fmt::Display for Whereabouts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.asn {
            0 => write!(f, "no known network, country {}", self.country),
            asn => write!(f, "AS{asn}, country {}", self.country),
        }
    }
}

/// One stage in words; `last` where it decided.
fn says(stage: Stage, answer: &Answer, last: bool) -> String {
    let Answer { explanation, application, rule, .. } = answer;
    let details = application.as_ref().and_then(|app| app.details.as_ref());
    match (stage, application) {
        (Stage::Access, Some(_)) => match rule {
            Some(Object { id, details: Some(rule) }) => {
                let notes = if rule.notes.is_empty() { String::new() } else { format!(" \"{}\"", rule.notes) };
                let tried = if rule.simulate { ", only tried" } else { "" };
                let source = rule.source.as_ref().map(|source| format!("{source} ")).unwrap_or_default();
                let (mode, target, scope) = (&rule.mode, &rule.target, &rule.scope);
                format!("{mode} {target} of scope {scope}{notes}{tried} ({source}rule {id})")
            }
            Some(Object { id, details: None }) => format!("{explanation}: rule {id}"),
            None if details.is_some_and(|app| !app.ip_firewall) => {
                "the application has ip_firewall off: no rule is asked".to_owned()
            }
            None => "no rule names the source".to_owned(),
        },
        _ if last => (*explanation).to_owned(),
        (Stage::Parse, _) => "readable".to_owned(),
        (Stage::Steering, Some(app)) => match details {
            Some(details) => format!("application {} {} ({})", details.hostname, details.protocol, app.id),
            None => format!("application {}", app.id),
        },
        (Stage::Sanity, _) => "flags, ports and addresses that a client may send, and no fragment".to_owned(),
        (Stage::Policy, _) => "no filter or rate of the application objects to one packet".to_owned(),
        (Stage::Flood, _) if answer.transport == "udp" => "nothing is asked of a datagram".to_owned(),
        (Stage::Flood, _) => "no cookie is asked for now".to_owned(),
        (Stage::Steering | Stage::Access, None) => String::new(),
    }
}

/// What becomes of a SYN in the protected mode, which is a sysctl of the whole namespace and cannot be tried.
fn protected_syn(answer: &Answer, sample: &Sample, image: &MapImage) -> String {
    let Some(app) = sample.app.filter(|_| sample.reason.stage().is_none_or(|stage| stage > Stage::Access)) else {
        return format!("gets the same: {}", answer.reason);
    };
    let never = image.steer.values().any(|value| value.app == app && value.flags & steer_flags::NO_SYN_COOKIES != 0);
    if never {
        "is left to the kernel (`syn_cookies = \"never\"`), which answers with a cookie itself".to_owned()
    } else if !answer.served {
        "is refused: no daemon listens".to_owned()
    } else {
        "is answered with a cookie (syn_cookie)".to_owned()
    }
}
