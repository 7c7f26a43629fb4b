//! What the packets for each application look like, from the lines of the event stream.

use serde_json::Value;

use crate::{
    model::AppId,
    shield::{Form, Likeness, Looks, Portraits},
};

#[derive(Default)]
pub(super) struct Seen(Portraits<AppId>);

impl Seen {
    /// A sampled packet that stands for so many.
    pub(super) fn add(&mut self, event: &Value, weight: u32) {
        let app = event.get("Application").and_then(Value::as_str).and_then(|id| id.parse().ok());
        if let Some(app) = app {
            self.0.add(app, &looks(event), weight);
        }
    }

    /// What an application's packets have in common.
    pub(super) fn of(&self, app: &str) -> Vec<Likeness> {
        app.parse().map_or_else(|_| Vec::new(), |app| self.0.of(app, |_| true))
    }

    /// Time passes.
    pub(super) fn fade(&mut self, keep: u64, of: u64) {
        self.0.fade(keep, of);
    }
}

fn looks(event: &Value) -> Looks {
    let extension = |key: &str| event.get("extensions").and_then(|more| more.get(key));
    let number = |key: &str| extension(key).and_then(Value::as_u64);
    let (short, byte) = (|key: &str| u16::try_from(number(key)?).ok(), |key: &str| u8::try_from(number(key)?).ok());
    let flags = extension("tcp_flags").and_then(Value::as_str).and_then(|flags| flags.parse().ok());
    let source_port = event.get("ClientPort").and_then(Value::as_u64).and_then(|port| u16::try_from(port).ok());
    Looks {
        form: Form { protocol: byte("protocol").unwrap_or_default(), flags },
        length: short("ip_length"),
        ttl: byte("ttl"),
        window: short("tcp_window"),
        options: byte("tcp_options"),
        source_port: source_port.unwrap_or_default(),
        destination_port: short("edge_port").unwrap_or_default(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_line_says_all_that_a_portrait_is_made_of() {
        let app = AppId::derive(&["one"]);
        let extensions = json!({
            "protocol": 6, "tcp_flags": "SYN", "ip_length": 44, "ttl": 57, "tcp_window": 512, "tcp_options": 4, "edge_port": 443,
        });
        let event = json!({ "Application": app.to_string(), "ClientPort": 53, "extensions": extensions });
        let mut seen = Seen::default();
        seen.add(&event, 7);
        seen.add(&json!({ "Application": "", "extensions": {} }), 1000);
        let told: Vec<String> = seen.of(&app.to_string()).iter().map(ToString::to_string).collect();
        assert_eq!(
            told,
            ["100 % SYN: 44 bytes, ttl 57, window 512, 4 bytes of TCP options, from port 53, to port 443"]
        );
        assert_eq!(seen.of("no id"), []);
    }
}
