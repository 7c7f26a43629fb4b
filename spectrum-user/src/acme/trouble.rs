//! Why there is no certificate, in words, and when it may be tried again.
//!
//! A directory's own words are part of them: they come from the network, so they are shortened and hold no control
//! characters.

use std::{error::Error, fmt, time::Duration};

use instant_acme::Problem;

/// Bytes of a directory's words that are told on.
const LONGEST: usize = 400;

/// Why an attempt came to nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Trouble {
    pub(super) words: String,
    /// It says nothing of this hostname: with others it would be the same.
    pub(super) is_general: bool,
    /// The directory wants to be left alone for so long.
    pub(super) leave_alone: Option<Duration>,
    /// It does not know the account any more (RFC 8555, section 6.7: `accountDoesNotExist`).
    pub(super) is_forgotten: bool,
}

/// A status above 399, as [`super::client`] sees it.
#[derive(Debug)]
pub(super) struct Refused {
    pub(super) status: u16,
    pub(super) problem: Option<Problem>,
    pub(super) retry_after: Option<Duration>,
}

impl Trouble {
    pub(super) fn new(words: impl Into<String>) -> Self {
        Self { words: words.into(), is_general: false, leave_alone: None, is_forgotten: false }
    }

    /// What failed while this was attempted.
    pub(super) fn during(attempt: &str, error: &instant_acme::Error) -> Self {
        let mut trouble = Self::new(format!("{attempt}: {}", words(error)));
        if let instant_acme::Error::Other(other) = error
            && let Some(refused) = other.downcast_ref::<Refused>()
        {
            trouble.leave_alone = refused.retry_after;
            let kind = refused.problem.as_ref().and_then(|problem| problem.r#type.as_deref());
            trouble.is_forgotten = kind.is_some_and(|kind| kind.ends_with(":accountDoesNotExist"));
        }
        trouble
    }

    pub(super) fn general(self) -> Self {
        Self { is_general: true, ..self }
    }
}

fn words(error: &instant_acme::Error) -> String {
    match error {
        instant_acme::Error::Api(problem) => told(problem),
        instant_acme::Error::Timeout(_) => "the directory did not come to a decision in time".to_owned(),
        instant_acme::Error::Json(_) => "the directory's answer is not what RFC 8555 has there".to_owned(),
        other => {
            let mut words = other.to_string();
            let mut cause = other.source();
            while let Some(error) = cause {
                let more = error.to_string();
                // Some errors repeat what is below them.
                if !words.contains(&more) {
                    words = format!("{words}: {more}");
                }
                cause = error.source();
            }
            plain(&words)
        }
    }
}

/// A problem document (RFC 7807), as a directory wrote it.
pub(super) fn told(problem: &Problem) -> String {
    let kind = problem.r#type.as_deref().map(|kind| kind.strip_prefix("urn:ietf:params:acme:error:").unwrap_or(kind));
    let mut words = match (kind, &problem.detail) {
        (Some(kind), Some(detail)) => format!("{detail} ({kind})"),
        (Some(only), None) => only.to_owned(),
        (None, Some(only)) => only.clone(),
        (None, None) => "no reason given".to_owned(),
    };
    if let Some(part) = problem.subproblems.iter().find_map(|part| part.detail.as_ref()) {
        words = format!("{words}: {part}");
    }
    plain(&words)
}

fn plain(words: &str) -> String {
    let mut plain = String::new();
    for letter in words.chars() {
        if plain.len() >= LONGEST {
            plain.push('…');
            break;
        }
        plain.push(if letter.is_control() { ' ' } else { letter });
    }
    plain
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the directory refuses with status {}", self.status)?;
        self.problem.as_ref().map_or(Ok(()), |problem| write!(f, ": {}", told(problem)))
    }
}

impl Error for Refused {}

#[cfg(test)]
mod tests {
    use super::*;

    fn problem(kind: &str, detail: &str) -> Problem {
        let (r#type, detail) = (Some(format!("urn:ietf:params:acme:error:{kind}")), Some(detail.to_owned()));
        Problem { r#type, detail, status: None, subproblems: Vec::new() }
    }

    #[test]
    fn a_refusal_says_what_the_directory_said_and_when_to_come_back() {
        let problem = problem("rateLimited", "too many\r\ncertificates");
        let retry_after = Some(Duration::from_secs(7));
        let error = instant_acme::Error::Other(Box::new(Refused { status: 429, problem: Some(problem), retry_after }));
        let trouble = Trouble::during("an order", &error);
        let words = "an order: the directory refuses with status 429: too many  certificates (rateLimited)";
        assert_eq!(trouble, Trouble { leave_alone: retry_after, ..Trouble::new(words) });
    }

    #[test]
    fn a_forgotten_account_is_told_apart() {
        let problem = Some(problem("accountDoesNotExist", "who?"));
        let refused = Refused { status: 400, problem, retry_after: None };
        assert!(Trouble::during("an order", &instant_acme::Error::Other(Box::new(refused))).is_forgotten);
    }

    #[test]
    fn words_of_the_network_are_short() {
        assert!(told(&problem("malformed", &"ä".repeat(10_000))).len() < LONGEST + 10);
    }
}
