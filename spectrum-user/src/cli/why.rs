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
    daemon::{AppStatus, DaemonStatus, RuleStatus, require},
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
            let details = control::get(instance, &format!("/rules/{id}")).await?;
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
        },
        reason: sample.reason.as_str(),
        explanation: sample.reason.explain(),
        application,
        rule,
    })
}

fn show(answer: &Answer) {
    let Answer { from, to, transport, action, reason, explanation, application, rule } = answer;
    let mut lines = format!("{transport} from {from} to {to}: {action} ({reason})\n");
    let mut stage = |name: &str, says: &str| lines.push_str(&format!("  {name:<9} {says}\n"));
    stage("parse", "readable");
    match application {
        None => stage("steering", explanation),
        Some(Object { id, details: None }) => stage("steering", &format!("application {id}")),
        Some(Object { id, details: Some(app) }) => {
            stage("steering", &format!("application {} {} ({id})", app.hostname, app.protocol));
        }
    }
    match (application, rule) {
        (None, _) => {}
        (Some(app), None) if app.details.as_ref().is_some_and(|app| !app.ip_firewall) => {
            stage("access", "the application has ip_firewall off: no rule is asked");
        }
        (Some(_), None) => stage("access", "no rule names the source"),
        (Some(_), Some(Object { id, details: None })) => stage("access", &format!("{explanation}: rule {id}")),
        (Some(_), Some(Object { id, details: Some(rule) })) => {
            let notes = if rule.notes.is_empty() { String::new() } else { format!(" \"{}\"", rule.notes) };
            stage("access", &format!("{} {} of scope {}{notes} (rule {id})", rule.mode, rule.prefix, rule.scope));
        }
    }
    output::line(&lines);
}
