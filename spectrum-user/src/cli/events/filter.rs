//! Which events are asked for.

use std::net::IpAddr;

use ipnet::IpNet;
use serde_json::Value;

pub(super) struct Filter {
    app: Option<String>,
    reason: Option<String>,
    source: Option<IpNet>,
}

impl Filter {
    pub(super) const fn new(app: Option<String>, reason: Option<String>, source: Option<IpNet>) -> Self {
        Self { app, reason, source }
    }

    /// Whether everything that is asked for is so. What an event does not say is not so.
    pub(super) fn includes(&self, event: &Value) -> bool {
        let more = event.get("extensions");
        let is = |value: Option<&Value>, wanted: &str| value.and_then(Value::as_str) == Some(wanted);
        let extension = |key: &str| more.and_then(|more| more.get(key));
        let app = |wanted: &String| {
            [event.get("Application"), extension("application"), extension("hostname")]
                .into_iter()
                .any(|value| is(value, wanted))
        };
        let source = |prefix: &IpNet| {
            let address = event.get("ClientIP").and_then(Value::as_str).and_then(|text| text.parse::<IpAddr>().ok());
            address.is_some_and(|address| prefix.contains(&address))
        };
        self.app.as_ref().is_none_or(app)
            && self.reason.as_ref().is_none_or(|wanted| is(extension("reason"), wanted))
            && self.source.as_ref().is_none_or(source)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_event_must_be_all_that_is_asked_for() {
        let event = json!({
            "Application": "a1", "ClientIP": "192.0.2.66", "Event": "drop",
            "extensions": { "hostname": "one.example.com", "reason": "blocked" },
        });
        let some = |text: &str| Some(text.to_owned());
        let net = |text: &str| Some(text.parse().unwrap());
        for (filter, included) in [
            (Filter::new(None, None, None), true),
            (Filter::new(some("a1"), some("blocked"), net("192.0.2.0/24")), true),
            (Filter::new(some("one.example.com"), None, None), true),
            (Filter::new(some("two.example.com"), None, None), false),
            (Filter::new(None, some("orphan"), None), false),
            (Filter::new(None, None, net("198.51.100.0/24")), false),
            (Filter::new(None, None, net("::/0")), false),
        ] {
            assert_eq!(filter.includes(&event), included);
        }
        let node = json!({ "Event": "protectionBegan", "extensions": {} });
        assert!(Filter::new(None, None, None).includes(&node));
        assert!(!Filter::new(None, None, net("0.0.0.0/0")).includes(&node));
    }
}
