//! `spectrum why`: what happens to a packet, stage by stage, and who says so.

mod answer;
mod stages;

use std::{
    collections::BTreeMap,
    net::{IpAddr, SocketAddr},
    process::ExitCode,
};

use spectrum_common::{layout::steer_flags, steer};

use self::{
    answer::{Answer, Object, Segment, Verdict, Whereabouts, show},
    stages::{protected_syn, stages},
};
use super::{
    Why, control,
    instance::chosen,
    output::{self, Output},
};
use crate::{
    daemon::{DaemonStatus, RuleAnswer, RuleStatus, require},
    dataplane::{
        events::Sample,
        explain::{Explainer, Kind},
        image::{MapImage, address},
        maps::{ConfigMaps, MapSource},
        pins::Pins,
    },
    model::{AppId, Country, Instance, RuleId, Transport},
};

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
