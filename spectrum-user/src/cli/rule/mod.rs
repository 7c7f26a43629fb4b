//! `spectrum rule`: access rules while the daemon runs.

mod body;

use std::process::ExitCode;

use clap::Subcommand;
use hyper::Method;
use serde_json::Value;

use self::body::{Create, Update, target, wishes};
use super::{
    Force, control,
    instance::chosen,
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
