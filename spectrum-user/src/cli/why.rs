//! `spectrum why`: what happens to a packet, stage by stage, and who says so.

use std::{
    collections::BTreeMap,
    net::{IpAddr, SocketAddr},
    process::ExitCode,
};

use serde::Serialize;
use spectrum_common::{layout::steer_flags, reason::Action, steer};

use super::{
    Why, control,
    instance::chosen,
    output::{self, Output},
};
use crate::{
    daemon::{AppStatus, DaemonStatus, RuleAnswer, RuleStatus, require},
    dataplane::{
        events::Sample,
        explain::Explainer,
        image::{MapImage, address},
        maps::{ConfigMaps, MapSource},
        pins::Pins,
    },
    model::{AppId, Instance, RuleId, Transport},
};

/// One packet's way.
#[derive(Serialize)]
struct Answer {
    from: IpAddr,
    to: SocketAddr,
    transport: &'static str,
    /// `pass` or `drop`.
    action: &'static str,
    reason: &'static str,
    explanation: &'static str,
    application: Option<Object<AppStatus>>,
    rule: Option<Object<RuleStatus>>,
    /// Whether a daemon is there to accept what passes.
    served: bool,
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
    let image = ConfigMaps::open(MapSource::Pins(&pins))?.dump()?;
    let targets = match question.to {
        Some(to) => vec![to],
        None => every_application(&image, question.address, transport),
    };
    anyhow::ensure!(!targets.is_empty(), "no application takes {transport} from an address like {}", question.address);
    let mut explainer = Explainer::load(&pins)?;
    let daemon: Option<DaemonStatus> = control::get(&instance, "/status").await?;
    let mut answers = Vec::new();
    for to in targets {
        let sample = explainer.explain(question.address, to, transport)?;
        answers.push(answer(&sample, transport, &image, daemon.as_ref(), &instance).await?);
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
        action: match sample.reason.action() {
            Action::Pass => "pass",
            Action::Drop => "drop",
            Action::Answer => "answer",
        },
        reason: sample.reason.as_str(),
        explanation: sample.reason.explain(),
        application,
        rule,
        served: daemon.is_some(),
    })
}

fn show(answer: &Answer) {
    let Answer { from, to, transport, action, reason, .. } = answer;
    output::line(&format!("{transport} from {from} to {to}: {action} ({reason})\n"));
    for (name, says) in stages(answer) {
        output::line(&format!("  {name:<9} {says}\n"));
    }
}

/// What each stage says, as far as the packet gets.
fn stages(answer: &Answer) -> Vec<(&'static str, String)> {
    let Answer { action, explanation, application, rule, served, .. } = answer;
    let mut stages = vec![("parse", "readable".to_owned())];
    let Some(application) = application else {
        stages.push(("steering", (*explanation).to_owned()));
        return stages;
    };
    let details = application.details.as_ref();
    stages.push(match details {
        Some(app) => ("steering", format!("application {} {} ({})", app.hostname, app.protocol, application.id)),
        None => ("steering", format!("application {}", application.id)),
    });
    stages.push(match rule {
        Some(Object { id, details: Some(rule) }) => {
            let notes = if rule.notes.is_empty() { String::new() } else { format!(" \"{}\"", rule.notes) };
            let tried = if rule.simulate { ", only tried" } else { "" };
            let source = rule.source.as_ref().map(|source| format!("{source} ")).unwrap_or_default();
            let (mode, target, scope) = (&rule.mode, &rule.target, &rule.scope);
            ("access", format!("{mode} {target} of scope {scope}{notes}{tried} ({source}rule {id})"))
        }
        Some(Object { id, details: None }) => ("access", format!("{explanation}: rule {id}")),
        None if details.is_some_and(|app| !app.ip_firewall) => {
            ("access", "the application has ip_firewall off: no rule is asked".to_owned())
        }
        None => ("access", "no rule names the source".to_owned()),
    });
    if *action == "pass" {
        stages.push(match details {
            Some(app) if *served => ("serve", format!("the daemon accepts, and dials {}", app.origins.join(" or "))),
            _ => ("serve", "no daemon listens: the kernel answers with a reset".to_owned()),
        });
    }
    stages
}
