//! Everything that the data plane and the proxy should do, as one immutable value.

use super::{AccessRule, Application, Edge, Responder, ZoneId};

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DesiredState {
    pub edge: Edge,
    pub zones: Vec<Zone>,
    /// No two of them share an (edge address, transport, port).
    pub applications: Vec<Application>,
    pub rules: Vec<AccessRule>,
    /// None of them at an (edge address, port) of an application.
    pub responders: Vec<Responder>,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Zone {
    pub id: ZoneId,
    pub name: String,
}
