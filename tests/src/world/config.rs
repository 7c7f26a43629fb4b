//! The configuration of a test: says only what the test is about, the rest is the ordinary node.

use std::{fmt::Display, net::IpAddr};

use super::{EDGE, POOL, POOL_V6};

/// The ordinary node: XDP on the client's side, both pools, nothing served yet.
pub fn config() -> Config {
    Config {
        node: vec![("interfaces".into(), "[\"eth0\"]".into()), ("workers".into(), "2".into())],
        edge: vec![("pools".into(), format!("[\"{POOL}\", \"{POOL_V6}\"]"))],
        sections: Vec::new(),
        applications: Vec::new(),
        rules: Vec::new(),
    }
}

#[derive(Clone, Debug)]
#[must_use]
pub struct Config {
    node: Vec<(String, String)>,
    edge: Vec<(String, String)>,
    sections: Vec<String>,
    applications: Vec<Application>,
    rules: Vec<String>,
}

#[derive(Clone, Debug)]
struct Application {
    protocol: String,
    ips: Vec<IpAddr>,
    origins: Vec<String>,
    ip_firewall: bool,
    lines: Vec<String>,
    extensions: Vec<String>,
}

impl Config {
    /// A key of `[node]`; `value` is TOML.
    pub fn node(mut self, key: &str, value: &str) -> Self {
        set(&mut self.node, key, value);
        self
    }

    /// A key of `[edge]`; `value` is TOML.
    pub fn edge(mut self, key: &str, value: &str) -> Self {
        set(&mut self.edge, key, value);
        self
    }

    /// Text for the end of the file, for instance a section that has no method here.
    pub fn raw(mut self, text: &str) -> Self {
        self.sections.push(text.to_owned());
        self
    }

    /// Begins an application on [`EDGE`]; what follows says more about it.
    pub fn app(mut self, protocol: &str) -> Self {
        self.applications.push(Application {
            protocol: protocol.to_owned(),
            ips: vec![EDGE],
            origins: Vec::new(),
            ip_firewall: false,
            lines: Vec::new(),
            extensions: Vec::new(),
        });
        self
    }

    /// Moves the application to these addresses.
    pub fn on(mut self, ips: &[IpAddr]) -> Self {
        self.last().ips = ips.to_vec();
        self
    }

    /// Adds an origin: an address and a port, or an address and a range as in `192.0.2.1:3000-4000`.
    pub fn origin(mut self, address: impl Display) -> Self {
        self.last().origins.push(format!("tcp://{address}"));
        self
    }

    /// Makes the application check access rules.
    pub fn ip_firewall(mut self) -> Self {
        self.last().ip_firewall = true;
        self
    }

    /// A line for the application's table.
    pub fn line(mut self, text: &str) -> Self {
        self.last().lines.push(text.to_owned());
        self
    }

    /// A key of the application's `extensions`; `value` is TOML.
    pub fn extension(mut self, key: &str, value: &str) -> Self {
        self.last().extensions.push(format!("{key} = {value}"));
        self
    }

    pub fn block(self, prefix: &str) -> Self {
        self.rule("block", prefix, None)
    }

    pub fn allow(self, prefix: &str) -> Self {
        self.rule("whitelist", prefix, None)
    }

    /// A block rule of the one zone.
    pub fn block_in_zone(self, prefix: &str) -> Self {
        self.rule("block", prefix, Some("example.com"))
    }

    /// `value`: an address, a prefix, `AS` and a number, or a country.
    fn rule(mut self, mode: &str, value: &str, zone: Option<&str>) -> Self {
        let target = match (value.contains('/'), value.contains(':')) {
            _ if value.starts_with("AS") => "asn",
            _ if value.len() == 2 && value != "::" => "country",
            (true, _) => "ip_range",
            (false, true) => "ip6",
            (false, false) => "ip",
        };
        let zone = zone.map(|name| format!("zone = \"{name}\"\n")).unwrap_or_default();
        self.rules.push(format!(
            "[[access_rules]]\nmode = \"{mode}\"\nconfiguration = {{ target = \"{target}\", value = \"{value}\" }}\n{zone}"
        ));
        self
    }

    fn last(&mut self) -> &mut Application {
        self.applications.last_mut().expect("say .app() first")
    }
}

/// The file.
impl From<Config> for String {
    fn from(config: Config) -> Self {
        let table = |name: &str, lines: &[(String, String)]| {
            let lines: String = lines.iter().map(|(key, value)| format!("{key} = {value}\n")).collect();
            format!("[{name}]\n{lines}\n")
        };
        let mut text = table("node", &config.node) + &table("edge", &config.edge);
        text += "[[zones]]\nname = \"example.com\"\n\n";
        for (number, app) in config.applications.iter().enumerate() {
            text += &app.text(number + 1);
        }
        for part in config.rules.iter().chain(&config.sections) {
            text += part;
            text += "\n";
        }
        text
    }
}

impl From<&Config> for String {
    fn from(config: &Config) -> Self {
        config.clone().into()
    }
}

impl Application {
    fn text(&self, number: usize) -> String {
        let quoted = |items: &mut dyn Iterator<Item = String>| {
            items.map(|item| format!("\"{item}\"")).collect::<Vec<_>>().join(", ")
        };
        let ips = quoted(&mut self.ips.iter().map(IpAddr::to_string));
        let origins = quoted(&mut self.origins.iter().cloned());
        // Without any, a line says it: `origin_dns`.
        let origins = if origins.is_empty() { String::new() } else { format!("origin_direct = [{origins}]\n") };
        let mut text = format!(
            "[[applications]]\nprotocol = \"{}\"\ndns = {{ type = \"ADDRESS\", name = \"app{number}.example.com\" }}\n\
             edge_ips = {{ type = \"static\", ips = [{ips}] }}\n{origins}ip_firewall = {}\n",
            self.protocol, self.ip_firewall
        );
        for line in &self.lines {
            text += line;
            text += "\n";
        }
        if !self.extensions.is_empty() {
            text += &format!("extensions = {{ {} }}\n", self.extensions.join(", "));
        }
        text + "\n"
    }
}

fn set(table: &mut Vec<(String, String)>, key: &str, value: &str) {
    table.retain(|(existing, _)| existing != key);
    table.push((key.to_owned(), value.to_owned()));
}
