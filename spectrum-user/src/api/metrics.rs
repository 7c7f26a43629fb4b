//! `/metrics` for Prometheus, `/livez` and `/readyz` for whoever restarts and balances.

use std::{fmt, sync::Arc};

use axum::{
    Router,
    extract::State,
    http::{StatusCode, header},
    response::IntoResponse,
    routing::get,
};
use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric as _, text::encode},
    metrics::{MetricType, counter::ConstCounter, gauge::ConstGauge},
    registry::Registry,
};

use spectrum_common::limits;

use crate::{daemon::View, dataplane::status::ReasonCount, shield::Kind};

pub fn router(view: &Arc<View>) -> Router {
    Router::new()
        .route("/metrics", get(metrics))
        .route("/livez", get(|| async { "alive\n" }))
        .route("/readyz", get(ready))
        .with_state(view.clone())
}

async fn ready(State(view): State<Arc<View>>) -> (StatusCode, &'static str) {
    if view.ready() { (StatusCode::OK, "ready\n") } else { (StatusCode::SERVICE_UNAVAILABLE, "not ready\n") }
}

async fn metrics(State(view): State<Arc<View>>) -> impl IntoResponse {
    let mut registry = Registry::default();
    view.metrics().register(&mut registry);
    view.events().register(&mut registry);
    registry.register_collector(Box::new(KernelCollector(view)));
    let mut text = String::new();
    match encode(&mut text, &registry) {
        Ok(()) => {
            let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
            (StatusCode::OK, [(header::CONTENT_TYPE, kind)], text)
        }
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, [(header::CONTENT_TYPE, "text/plain")], error.to_string()),
    }
}

/// The XDP program's counters, read when they are asked for.
struct KernelCollector(Arc<View>);

impl fmt::Debug for KernelCollector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KernelCollector")
    }
}

type Read = fn(&ReasonCount) -> u64;
const TOTALS: [(&str, &str, Read); 2] = [
    ("spectrum_xdp_packets", "Packets that the kernel programs judged, by reason", |count| count.packets),
    ("spectrum_xdp_bytes", "Bytes that the kernel programs judged, by reason", |count| count.bytes),
];
const PER_APPLICATION: [(&str, &str, Read); 2] = [
    ("spectrum_app_xdp_packets", "Packets for an application that the kernel programs judged, by reason", |count| {
        count.packets
    }),
    ("spectrum_app_xdp_bytes", "Bytes for an application that the kernel programs judged, by reason", |count| {
        count.bytes
    }),
];

fn whole(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

impl Collector for KernelCollector {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        self.shield(&mut encoder)?;
        self.samples(&mut encoder)?;
        self.rules(&mut encoder)?;
        self.origins(&mut encoder)?;
        self.certificates(&mut encoder)?;
        self.verdicts(&mut encoder)
    }
}

impl KernelCollector {
    fn shield(&self, encoder: &mut DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let help = "1 while every SYN gets a cookie, because of a flood or because an application asks for it";
        let mut protected = encoder.encode_descriptor("spectrum_protected", help, None, MetricType::Gauge)?;
        protected.encode_gauge(&u64::from(self.0.protection().is_some()))?;
        let floods = self.0.floods();
        let help = "Applications that are under a flood, by its kind";
        let mut metric = encoder.encode_descriptor("spectrum_floods", help, None, MetricType::Gauge)?;
        for kind in [Kind::Syn, Kind::Orphans].map(Kind::as_str) {
            let count = floods.iter().filter(|flood| flood.kind == kind).count();
            metric.encode_family(&[("kind", kind)])?.encode_gauge(&(count as u64))?;
        }
        Ok(())
    }

    fn samples(&self, encoder: &mut DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let (passed, lost) = self.0.sampled();
        for (name, help, value) in [
            ("spectrum_samples", "Sampled packets that came from the kernel", passed),
            ("spectrum_samples_lost", "Samples that a reader of them was too slow for, over all readers", lost),
        ] {
            let metric = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
            ConstCounter::new(value).encode(metric)?;
        }
        Ok(())
    }

    fn rules(&self, encoder: &mut DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let counts = self.0.rule_counts();
        let help = "Access rules, by who made them";
        let mut rules = encoder.encode_descriptor("spectrum_access_rules", help, None, MetricType::Gauge)?;
        for (source, count) in [("file", counts.file), ("operator", counts.operator), ("auto", counts.auto)] {
            ConstGauge::new(whole(count)).encode(rules.encode_family(&[("source", source)])?)?;
        }
        let held = [counts.rules, counts.v4, counts.v6];
        let room = [limits::RULES, limits::RULE_PREFIXES, limits::RULE_PREFIXES];
        for (name, help, value) in [
            ("spectrum_rule_entries", "Entries of the kernel's maps of access rules", held),
            ("spectrum_rule_capacity", "Entries that these maps take", room),
        ] {
            let mut metric = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
            for (map, count) in ["rules", "prefixes_v4", "prefixes_v6"].into_iter().zip(value) {
                ConstGauge::new(whole(count)).encode(metric.encode_family(&[("map", map)])?)?;
            }
        }
        Ok(())
    }

    fn origins(&self, encoder: &mut DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let help = "Origins that are known now, by whether they live";
        let mut metric = encoder.encode_descriptor("spectrum_origins", help, None, MetricType::Gauge)?;
        for app in &self.0.desired().applications {
            let origins = self.0.origins(app.id);
            let up = origins.iter().filter(|origin| origin.is_up()).count();
            let id = app.id.to_string();
            for (state, count) in [("up", up), ("down", origins.len() - up)] {
                let labels = [("app", id.as_str()), ("hostname", app.hostname.as_str()), ("state", state)];
                ConstGauge::new(whole(count)).encode(metric.encode_family(&labels)?)?;
            }
        }
        Ok(())
    }

    fn certificates(&self, encoder: &mut DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let certificates = self.0.certificates();
        let help = "When a certificate ends, in seconds since 1970";
        let name = "spectrum_certificate_not_after_seconds";
        let mut metric = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
        for (certificate, not_after) in certificates.iter().filter_map(|one| Some((one, one.not_after?))) {
            let path = certificate.path.to_string_lossy();
            let first = certificate.names.first().map_or("", String::as_str);
            let key_type = certificate.key_type.as_deref().unwrap_or_default();
            let labels = [("path", &*path), ("name", first), ("key_type", key_type)];
            ConstGauge::new(not_after).encode(metric.encode_family(&labels)?)?;
        }
        let help = "Certificates that have a problem: `spectrum status` says which";
        let mut metric = encoder.encode_descriptor("spectrum_certificate_problems", help, None, MetricType::Gauge)?;
        let problems = certificates.iter().filter(|certificate| !certificate.problems.is_empty()).count();
        metric.encode_gauge(&(problems as u64))
    }

    fn verdicts(&self, encoder: &mut DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let totals = self.0.totals().map_err(|_| fmt::Error)?;
        for (name, help, read) in TOTALS {
            let mut metric = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
            for count in &totals {
                let labels = [("reason", count.reason.as_str())];
                ConstCounter::new(read(count)).encode(metric.encode_family(&labels)?)?;
            }
        }
        let apps = self.0.app_totals();
        for (name, help, read) in PER_APPLICATION {
            let mut metric = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
            for (app, counts) in &apps {
                let id = app.id.to_string();
                for count in counts {
                    let labels =
                        [("app", id.as_str()), ("hostname", app.hostname.as_str()), ("reason", count.reason.as_str())];
                    ConstCounter::new(read(count)).encode(metric.encode_family(&labels)?)?;
                }
            }
        }
        Ok(())
    }
}
