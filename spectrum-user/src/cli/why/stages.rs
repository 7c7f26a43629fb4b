//! What each stage of the program says of a packet, in words.

use spectrum_common::{layout::steer_flags, reason::Stage};

use super::answer::{Answer, Object, StageAnswer};
use crate::{
    daemon::AppStatus,
    dataplane::{events::Sample, image::MapImage},
};

/// What each stage of the program says, and what comes of what passes. Where the program had its last word is what its
/// reason tells; the stages before it have let the packet through.
pub(super) fn stages(answer: &Answer, sample: &Sample) -> Vec<StageAnswer> {
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
            Some(app) if answer.served => ("pass", format!("the daemon accepts, and dials {}", dialled(app))),
            _ => ("refused", "no daemon listens: the kernel answers with a reset".to_owned()),
        };
        stages.push(StageAnswer { stage: "serve", outcome, says });
    }
    stages
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
pub(super) fn protected_syn(answer: &Answer, sample: &Sample, image: &MapImage) -> String {
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

/// Where the daemon would dial now.
fn dialled(app: &AppStatus) -> String {
    let up: Vec<&str> = app.origins.iter().filter(|origin| origin.up).map(|origin| origin.address.as_str()).collect();
    let name = app.origin_dns.as_ref().map(|name| format!("{name}: ")).unwrap_or_default();
    match (up.is_empty(), app.origins.is_empty()) {
        (false, _) => format!("{name}{}", up.join(" or ")),
        (true, false) => format!("{name}no origin that lives, but tries each"),
        (true, true) => format!("{name}nobody, for it is not resolved"),
    }
}
