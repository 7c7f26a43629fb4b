//! Whose the ports of an address are: one application's, or several that clients choose among by name.

use std::{sync::Arc, time::Duration};

use super::App;

#[derive(Clone, Debug)]
pub enum Owner {
    One(Arc<App>),
    /// The client's ClientHello says which.
    ByName(Arc<Sharers>),
}

/// Applications that share an address and its ports. At least one has names.
#[derive(Debug)]
pub struct Sharers {
    /// Stands for all before a client has chosen, and in the kernel's maps.
    leader: Arc<App>,
    /// Whoever asks for none of the names of the others. None: nobody does.
    fallback: Option<Arc<App>>,
    named: Vec<Arc<App>>,
}

impl Owner {
    /// Of all whose these ports are; none of nobody.
    pub(super) fn of(apps: Vec<Arc<App>>) -> Option<Self> {
        let (mut named, mut others): (Vec<_>, Vec<_>) = apps.into_iter().partition(|app| !app.config.sni.is_empty());
        // As `model::Leaders` has it.
        named.sort_by_key(|app| app.config.id);
        let fallback = others.pop();
        if named.is_empty() {
            return fallback.map(Self::One);
        }
        let leader = Arc::clone(fallback.as_ref().or_else(|| named.first())?);
        Some(Self::ByName(Arc::new(Sharers { leader, fallback, named })))
    }

    /// The application whose rules are those of all, and which stands for them before a client has chosen.
    pub fn leader(&self) -> &Arc<App> {
        match self {
            Self::One(app) => app,
            Self::ByName(sharers) => &sharers.leader,
        }
    }

    /// The application of a client that asks for nothing that another one has, and of one that speaks no TLS.
    pub fn fallback(&self) -> Option<&Arc<App>> {
        match self {
            Self::One(app) => Some(app),
            Self::ByName(sharers) => sharers.fallback(),
        }
    }

    /// All of them.
    pub fn apps(&self) -> impl Iterator<Item = &Arc<App>> {
        let (one, named) = match self {
            Self::One(app) => (Some(app), &[][..]),
            Self::ByName(sharers) => (sharers.fallback.as_ref(), &sharers.named[..]),
        };
        one.into_iter().chain(named)
    }

    /// The application that a client gets who asks for this name, in lower case.
    pub fn named(&self, name: &str) -> Option<&Arc<App>> {
        match self {
            Self::One(app) => Some(app),
            Self::ByName(sharers) => sharers.named(name),
        }
    }
}

impl Sharers {
    pub(super) const fn leader(&self) -> &Arc<App> {
        &self.leader
    }

    pub(super) const fn fallback(&self) -> Option<&Arc<App>> {
        self.fallback.as_ref()
    }

    /// The application that has this name closest; or the one for all others.
    pub(super) fn named(&self, name: &str) -> Option<&Arc<App>> {
        let close = self.named.iter().filter_map(|app| Some((app.config.sni.closeness(name)?, app)));
        close.max_by_key(|(closeness, _)| *closeness).map(|(_, app)| app).or(self.fallback.as_ref())
    }

    /// How long a client may take to say what it wants: as long as the most patient of them would wait for its handshake.
    pub(super) fn patience(&self) -> Duration {
        let all = self.named.iter().chain(&self.fallback);
        all.map(|app| app.config.timeouts.handshake).max().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        model::{AppId, ServerNames},
        proxy::testing::application,
        telemetry::Metrics,
        tls::Shared,
    };

    fn app(name: &str, sni: &[&str]) -> Arc<App> {
        let mut config = application(443, 443);
        config.id = AppId::derive(&[name]);
        config.hostname = name.to_owned();
        config.sni = ServerNames::new(sni.iter().map(|name| (*name).to_owned()).collect());
        let metrics = Metrics::new(1).app(&config);
        Arc::new(App::new(config, metrics, &Shared::default(), None))
    }

    fn chosen<'o>(owner: &'o Owner, name: &str) -> Option<&'o str> {
        owner.named(name).map(|app| app.config.hostname.as_str())
    }

    #[test]
    fn the_closest_name_chooses() {
        let owner = Owner::of(vec![app("wild", &["*.example.com"]), app("a", &["a.example.com"])]).unwrap();
        assert_eq!(chosen(&owner, "a.example.com"), Some("a"));
        assert_eq!(chosen(&owner, "b.example.com"), Some("wild"));
        assert_eq!(chosen(&owner, "example.com"), None);
        let Owner::ByName(sharers) = owner else { panic!("clients choose") };
        assert!(sharers.fallback().is_none());
    }

    #[test]
    fn who_asks_for_another_name_gets_the_one_without_names() {
        let owner = Owner::of(vec![app("a", &["a.example.com"]), app("rest", &[])]).unwrap();
        assert_eq!(chosen(&owner, "a.example.com"), Some("a"));
        assert_eq!(chosen(&owner, "c.example.com"), Some("rest"));
        assert_eq!(owner.leader().config.hostname, "rest");
    }

    #[test]
    fn alone_and_without_names_nobody_chooses() {
        assert!(matches!(Owner::of(vec![app("one", &[])]), Some(Owner::One(_))));
        assert!(Owner::of(Vec::new()).is_none());
    }
}
