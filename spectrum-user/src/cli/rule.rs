//! `spectrum rule`: access rules while the daemon runs.

use std::{
    net::IpAddr,
    process::ExitCode,
    time::{Duration, SystemTime},
};

use clap::{Args, Subcommand};
use hyper::Method;
use ipnet::IpNet;
use serde_json::{Value, json};

use super::{
    Force, control,
    instance::chosen,
    operator,
    output::{self, Output},
};
use crate::{
    daemon::{RuleAnswer, RuleStatus},
    model::{Instance, RuleId},
    rules::RuleObject,
};

#[derive(Debug, Subcommand)]
pub(super) enum Verb {
    /// Every rule there is: the file's, operators', and the daemon's own.
    List,
    /// One rule.
    Get {
        /// Its id, or what it names.
        rule: String,
    },
    /// Make a rule. It is in force when this returns.
    #[command(visible_alias = "add")]
    Create(Create),
    /// Change a rule that was not written into the file.
    Update(Update),
    /// Take a rule away that was not written into the file.
    #[command(visible_alias = "remove")]
    Delete {
        /// Its id, or what it names.
        rule: String,
        #[command(flatten)]
        force: Force,
    },
}

#[derive(Debug, Args)]
pub(super) struct Create {
    /// What happens to what it names.
    mode: Mode,
    /// An address, a prefix, AS and a number, or a country's two letters.
    target: String,
    #[command(flatten)]
    details: Details,
    /// For the applications of this zone alone.
    #[arg(long, value_name = "NAME")]
    zone: Option<String>,
    #[command(flatten)]
    force: Force,
}

#[derive(Debug, Args)]
pub(super) struct Update {
    /// Its id, or what it names.
    rule: String,
    #[arg(long)]
    mode: Option<Mode>,
    #[command(flatten)]
    details: Details,
    /// Act, where it was only tried.
    #[arg(long, conflicts_with = "simulate")]
    enforce: bool,
    /// It no longer ends by itself.
    #[arg(long, conflicts_with_all = ["expires_in", "expires_on"])]
    forever: bool,
    #[command(flatten)]
    force: Force,
}

#[derive(Debug, Args)]
struct Details {
    /// What `why` and sampled drops say about it.
    #[arg(long, value_name = "TEXT")]
    notes: Option<String>,
    /// It ends by itself after this time: 30m, 12h.
    #[arg(long, value_parser = super::duration, value_name = "DURATION", conflicts_with = "expires_on")]
    expires_in: Option<Duration>,
    /// It ends by itself at this moment: 2030-01-31T12:00:00Z.
    #[arg(long, value_name = "MOMENT")]
    expires_on: Option<String>,
    /// Only count what it would drop.
    #[arg(long)]
    simulate: bool,
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum Mode {
    Block,
    #[value(alias = "whitelist")]
    Allow,
}

impl Mode {
    /// The product's word.
    const fn as_str(self) -> &'static str {
        match self {
            Self::Block => "block",
            Self::Allow => "whitelist",
        }
    }
}

pub(super) async fn rule(verb: Verb, instance: Option<Instance>, output: Output) -> anyhow::Result<ExitCode> {
    let daemon = Daemon(chosen(instance)?);
    match verb {
        Verb::List => {
            let Some(answer) = daemon.ask(Method::GET, "/rules", None).await? else { return Ok(ExitCode::FAILURE) };
            show(&answer.rules, output)?;
            Ok(ExitCode::SUCCESS)
        }
        Verb::Get { rule } => daemon.one(Method::GET, &rule, None, output).await,
        Verb::Delete { rule, force } => daemon.one(Method::DELETE, &rule, Some(&wishes(&force)), output).await,
        Verb::Create(create) => {
            let body = create.object();
            daemon.act(Method::POST, "/rules", Some(&body), output).await
        }
        Verb::Update(update) => {
            let body = update.patch();
            daemon.one(Method::PATCH, &update.rule, Some(&body), output).await
        }
    }
}

struct Daemon(Instance);

impl Daemon {
    /// None: it refused, and that was told.
    async fn ask(&self, method: Method, path: &str, body: Option<&Value>) -> anyhow::Result<Option<RuleAnswer>> {
        let answer = control::send::<RuleAnswer>(&self.0, method, path, body, control::PATIENCE).await?;
        match answer {
            None => anyhow::bail!(
                "no daemon of instance `{}` answers: rules change while one runs (`spectrum run`)",
                self.0
            ),
            Some(answer) => Ok(output::accepted(answer)),
        }
    }

    async fn act(&self, method: Method, path: &str, body: Option<&Value>, output: Output) -> anyhow::Result<ExitCode> {
        let Some(answer) = self.ask(method, path, body).await? else { return Ok(ExitCode::FAILURE) };
        for message in &answer.messages {
            eprintln!("note: {message}");
        }
        match (output, answer.rules.first()) {
            (Output::Json, Some(rule)) => output::json(rule)?,
            _ => show(&answer.rules, output)?,
        }
        Ok(ExitCode::SUCCESS)
    }

    /// As [`Self::act`], about one rule by its id or by what it names.
    async fn one(&self, method: Method, rule: &str, body: Option<&Value>, output: Output) -> anyhow::Result<ExitCode> {
        let id = if let Ok(id) = rule.parse::<RuleId>() {
            id.to_string()
        } else {
            let (_, value) = target(rule);
            // Nothing of it needs escaping but what no value has.
            let path = format!(
                "/rules?value={}",
                value.replace(|c: char| !c.is_ascii_alphanumeric() && !".:/".contains(c), "_")
            );
            let Some(answer) = self.ask(Method::GET, &path, None).await? else { return Ok(ExitCode::FAILURE) };
            only(&value, &answer.rules)?
        };
        self.act(method, &format!("/rules/{id}"), body, output).await
    }
}

/// The one rule that names this.
fn only(value: &str, rules: &[RuleObject]) -> anyhow::Result<String> {
    match rules {
        [rule] => Ok(rule.id.clone()),
        [] => anyhow::bail!("no rule names {value}: `spectrum rule list` shows the rules there are"),
        several => {
            let several = several.len();
            anyhow::bail!("{several} rules name {value}, in several scopes: say the id (`spectrum rule list`)")
        }
    }
}

impl Create {
    fn object(&self) -> Value {
        let (target, value) = target(&self.target);
        let mut object = json!({
            "mode": self.mode.as_str(),
            "configuration": { "target": target, "value": value },
            "extensions": wishes(&self.force),
        });
        self.details.write(&mut object);
        if let Some(zone) = &self.zone {
            set(&mut object, "zone", json!(zone));
        }
        object
    }
}

impl Update {
    fn patch(&self) -> Value {
        let mut patch = json!({ "extensions": wishes(&self.force) });
        self.details.write(&mut patch);
        if let Some(mode) = self.mode {
            set(&mut patch, "mode", json!(mode.as_str()));
        }
        if self.enforce {
            set(&mut patch, "simulate", json!(false));
        }
        if self.forever {
            set(&mut patch, "expires_on", Value::Null);
        }
        patch
    }
}

impl Details {
    fn write(&self, object: &mut Value) {
        if let Some(notes) = &self.notes {
            set(object, "notes", json!(notes));
        }
        // The next whole second: nobody reads the others, and none is taken away.
        let after = |left: Duration| {
            let end = SystemTime::now().checked_add(left)?.checked_add(Duration::from_millis(999))?;
            Some(humantime::format_rfc3339_seconds(end).to_string())
        };
        if let Some(end) = self.expires_in.and_then(after).or_else(|| self.expires_on.clone()) {
            set(object, "expires_on", json!(end));
        }
        if self.simulate {
            set(object, "simulate", json!(true));
        }
    }
}

fn wishes(force: &Force) -> Value {
    serde_json::to_value(operator::wishes(force.force)).unwrap_or_default()
}

fn set(object: &mut Value, key: &str, value: Value) {
    if let Some(object) = object.as_object_mut() {
        object.insert(key.to_owned(), value);
    }
}

/// What kind of target this is, as the product calls it; what is none of them, the daemon refuses with its reasons.
fn target(text: &str) -> (&'static str, String) {
    if let Ok(address) = text.parse::<IpAddr>() {
        return (if address.is_ipv4() { "ip" } else { "ip6" }, address.to_string());
    }
    if let Ok(prefix) = text.parse::<IpNet>() {
        return ("ip_range", prefix.to_string());
    }
    let capital = text.to_ascii_uppercase();
    match capital.strip_prefix("AS") {
        Some(digits) if !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit()) => ("asn", capital),
        _ if text.len() == 2 && text.bytes().all(|byte| byte.is_ascii_alphanumeric()) => ("country", capital),
        _ if text.contains('/') => ("ip_range", text.to_owned()),
        _ => ("ip", text.to_owned()),
    }
}

fn show(rules: &[RuleObject], output: Output) -> anyhow::Result<()> {
    if output == Output::Json {
        return output::json(&rules);
    }
    let mut table = output::table(&["MODE", "TARGET", "SCOPE", "SOURCE", "ENDS", "NOTES", "ID"]);
    for rule in rules.iter().cloned().map(RuleStatus::from) {
        table.add_row([
            if rule.simulate { format!("{} (tried)", rule.mode) } else { rule.mode },
            rule.target,
            rule.scope,
            rule.source.unwrap_or_default(),
            rule.expires_on.unwrap_or_else(|| "never".to_owned()),
            // One line each: notes are anybody's words.
            rule.notes.chars().map(|c| if c.is_control() { ' ' } else { c }).collect(),
            rule.id,
        ]);
    }
    output::show(&table);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_is_known_by_how_it_is_written() {
        for (text, kind, value) in [
            ("192.0.2.1", "ip", "192.0.2.1"),
            ("2001:DB8::1", "ip6", "2001:db8::1"),
            ("192.0.2.0/24", "ip_range", "192.0.2.0/24"),
            ("as64500", "asn", "AS64500"),
            ("de", "country", "DE"),
            ("T1", "country", "T1"),
            ("192.0.2.0/33", "ip_range", "192.0.2.0/33"),
            ("AS", "country", "AS"),
            ("192.0.2", "ip", "192.0.2"),
        ] {
            assert_eq!(target(text), (kind, value.to_owned()), "{text}");
        }
    }
}
