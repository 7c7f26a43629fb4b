//! Why a change of rules was not done, in words that an operator can act on.

use serde::{Deserialize, Serialize};
use spectrum_common::limits;

use crate::{
    config::ConfigErrors,
    dataplane::{image::ImageError, instance::InstanceError},
    model::RuleId,
};

/// Why it was not done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusal {
    /// The HTTP status.
    #[serde(skip)]
    pub status: u16,
    /// The product's code, where it has one.
    pub code: Option<u16>,
    pub message: String,
    pub help: Option<String>,
    /// What is wrong with a file, place by place, as `check` writes it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub report: Option<String>,
}

impl Refusal {
    pub(in crate::daemon) fn new(status: u16, message: impl Into<String>) -> Self {
        Self { status, code: None, message: message.into(), help: None, report: None }
    }

    pub(super) fn help(self, help: impl Into<String>) -> Self {
        Self { help: Some(help.into()), ..self }
    }

    pub(super) fn code(self, code: u16) -> Self {
        Self { code: Some(code), ..self }
    }

    pub(super) fn unknown(id: RuleId) -> Self {
        Self::new(404, format!("there is no rule {id}")).help("`spectrum rule list` shows the rules there are")
    }

    pub(super) fn no_object() -> Self {
        Self::new(400, "the body is not a rule object")
    }
}

impl From<&ConfigErrors> for Refusal {
    fn from(errors: &ConfigErrors) -> Self {
        let first = errors.as_slice().first();
        Self {
            status: 400,
            code: first.and_then(|first| first.code),
            message: errors.brief(),
            help: first.and_then(|first| first.help.clone()),
            report: None,
        }
    }
}

impl From<InstanceError> for Refusal {
    fn from(error: InstanceError) -> Self {
        if let InstanceError::Apply(error) = &error
            && error.is_full()
        {
            let message =
                format!("the map of access rules is full: it holds {} prefixes of a family", limits::RULE_PREFIXES);
            return Self::new(409, message)
                .help("nothing was changed; remove rules, or reload, which takes away what is not ours");
        }
        let full = matches!(error, InstanceError::Image(ImageError::RulePrefixes { .. } | ImageError::Exhausted(_)));
        let refusal = Self::new(if full { 409 } else { 500 }, format!("{:#}", anyhow::Error::new(error)));
        if full { refusal.help("remove rules, or join neighbouring addresses into prefixes") } else { refusal }
    }
}
