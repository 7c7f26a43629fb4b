//! The proxy's metrics in Prometheus' words.

use std::fmt;

use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeLabelSet, MetricEncoder},
    metrics::MetricType,
};

use super::{AppMetrics, AppShard, Counter, DIAL_ERRORS, HANDSHAKES, Metrics, TLS_ERRORS, histogram::BOUNDS};

/// Sums the shards when it is asked.
#[derive(Debug)]
pub(super) struct ProxyCollector(pub(super) Metrics);

type Read = fn(&AppShard) -> &Counter;

const APP_COUNTERS: [(&str, &str, Read); 7] = [
    ("spectrum_connections_opened", "Connections accepted and given to an application", |s| &s.opened),
    ("spectrum_connections_closed", "Of those, connections that ended, however they did", |s| &s.closed),
    ("spectrum_connections_denied", "Of those, connections that an access rule closed", |s| &s.denied),
    ("spectrum_connections_limited", "Of those, connections over max_connections or max_connections_per_ip", |s| {
        &s.limited
    }),
    (
        "spectrum_challenges_answered",
        "Of those, connections of directories that have seen the answer to their challenge",
        |s| &s.challenges,
    ),
    (
        "spectrum_challenges_none",
        "Of those, connections by HTTP for something else where challenges alone are answered",
        |s| &s.no_challenges,
    ),
    ("spectrum_spliced_bytes", "Bytes of either direction that never were in this process's memory", |s| {
        &s.spliced_bytes
    }),
];

impl Collector for ProxyCollector {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let apps = self.0.apps();
        for (name, help, read) in APP_COUNTERS {
            let mut metric = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
            for app in &apps {
                counter(&mut metric, &labels(app), app.sum(read))?;
            }
        }
        active(&mut encoder, &apps)?;
        bytes(&mut encoder, &apps)?;
        dial_errors(&mut encoder, &apps)?;
        dial_latency(&mut encoder, &apps)?;
        handshakes(&mut encoder, &apps)?;
        tls_errors(&mut encoder, &apps)?;
        self.node(&mut encoder)
    }
}

impl ProxyCollector {
    fn node(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let mut shed = encoder.encode_descriptor(
            "spectrum_connections_shed",
            "Clients turned away at accept: every place taken, or no descriptor or memory left",
            None,
            MetricType::Counter,
        )?;
        counter(&mut shed, &[("reason", "full")], self.0.node(|s| &s.shed_full))?;
        counter(&mut shed, &[("reason", "exhausted")], self.0.node(|s| &s.shed_exhausted))?;
        plain(
            encoder,
            "spectrum_connections_unclassified",
            "Connections to an address and port of no application, reset",
            self.0.node(|s| &s.unclassified),
        )?;
        plain(
            encoder,
            "spectrum_connection_panics",
            "Connections that ended in a bug of this program",
            self.0.node(|s| &s.panics),
        )
    }
}

fn active(encoder: &mut DescriptorEncoder<'_>, apps: &[std::sync::Arc<AppMetrics>]) -> fmt::Result {
    let mut metric =
        encoder.encode_descriptor("spectrum_connections_active", "Connections open now", None, MetricType::Gauge)?;
    for app in apps {
        metric.encode_family(&labels(app))?.encode_gauge(&app.active())?;
    }
    Ok(())
}

fn bytes(encoder: &mut DescriptorEncoder<'_>, apps: &[std::sync::Arc<AppMetrics>]) -> fmt::Result {
    let mut metric = encoder.encode_descriptor(
        "spectrum_bytes",
        "Payload bytes read, by who sent them",
        None,
        MetricType::Counter,
    )?;
    for app in apps {
        for (from, read) in [("client", (|s| &s.client_bytes) as Read), ("origin", |s| &s.origin_bytes)] {
            let labels = [("app", &*app.id), ("hostname", &*app.hostname), ("from", from)];
            counter(&mut metric, &labels, app.sum(read))?;
        }
    }
    Ok(())
}

fn dial_errors(encoder: &mut DescriptorEncoder<'_>, apps: &[std::sync::Arc<AppMetrics>]) -> fmt::Result {
    let mut metric = encoder.encode_descriptor(
        "spectrum_dial_errors",
        "Connections that no origin accepted, by status (521 refused, 522 timed out, 523 unreachable, 524 local, \
         530 to 532 not resolved, 520 other) and reason",
        None,
        MetricType::Counter,
    )?;
    for app in apps {
        for (i, (status, reason)) in DIAL_ERRORS.iter().enumerate() {
            let errors = app.shards.iter().filter_map(|s| s.dial_errors.get(i)).map(Counter::value).sum();
            let status = status.to_string();
            let labels = [("app", &*app.id), ("hostname", &*app.hostname), ("status", &*status), ("reason", reason)];
            counter(&mut metric, &labels, errors)?;
        }
    }
    Ok(())
}

fn dial_latency(encoder: &mut DescriptorEncoder<'_>, apps: &[std::sync::Arc<AppMetrics>]) -> fmt::Result {
    let mut metric = encoder.encode_descriptor(
        "spectrum_dial_seconds",
        "From accept to an origin's answer",
        None,
        MetricType::Histogram,
    )?;
    for app in apps {
        let bounds = BOUNDS.into_iter().chain([f64::INFINITY]);
        let buckets: Vec<(f64, u64)> = bounds
            .enumerate()
            .map(|(i, bound)| {
                (bound, app.shards.iter().filter_map(|s| s.dial_latency.buckets.get(i)).map(Counter::value).sum())
            })
            .collect();
        let nanoseconds: u64 = app.shards.iter().map(|s| s.dial_latency.nanoseconds.value()).sum();
        let count = buckets.iter().map(|(_, count)| count).sum();
        let sum = std::time::Duration::from_nanos(nanoseconds).as_secs_f64();
        metric.encode_family(&labels(app))?.encode_histogram::<[(&str, &str); 0]>(sum, count, &buckets, None)?;
    }
    Ok(())
}

fn handshakes(encoder: &mut DescriptorEncoder<'_>, apps: &[std::sync::Arc<AppMetrics>]) -> fmt::Result {
    let mut metric = encoder.encode_descriptor(
        "spectrum_tls_handshakes",
        "Handshakes with clients, by version and by whether an earlier session went on",
        None,
        MetricType::Counter,
    )?;
    for app in apps.iter().filter(|app| app.terminates) {
        for (i, (version, resumed)) in HANDSHAKES.iter().enumerate() {
            let count = app.shards.iter().filter_map(|s| s.handshakes.get(i)).map(Counter::value).sum();
            let resumed = if *resumed { "yes" } else { "no" };
            let labels = [("app", &*app.id), ("hostname", &*app.hostname), ("version", version), ("resumed", resumed)];
            counter(&mut metric, &labels, count)?;
        }
    }
    Ok(())
}

fn tls_errors(encoder: &mut DescriptorEncoder<'_>, apps: &[std::sync::Arc<AppMetrics>]) -> fmt::Result {
    let mut metric = encoder.encode_descriptor(
        "spectrum_tls_errors",
        "Clients that were not served for their TLS, by status (400 another name, 443 no handshake, 490 broken later, \
         540 the edge is to blame) and reason",
        None,
        MetricType::Counter,
    )?;
    for app in apps.iter().filter(|app| app.terminates) {
        for (i, (status, reason)) in TLS_ERRORS.iter().enumerate() {
            let errors = app.shards.iter().filter_map(|s| s.tls_errors.get(i)).map(Counter::value).sum();
            let status = status.to_string();
            let labels = [("app", &*app.id), ("hostname", &*app.hostname), ("status", &*status), ("reason", reason)];
            counter(&mut metric, &labels, errors)?;
        }
    }
    Ok(())
}

fn labels(app: &AppMetrics) -> [(&'static str, &str); 2] {
    [("app", &app.id), ("hostname", &app.hostname)]
}

fn counter(metric: &mut MetricEncoder<'_>, labels: &impl EncodeLabelSet, value: u64) -> fmt::Result {
    metric.encode_family(labels)?.encode_counter::<[(&str, &str); 0], u64, u64>(&value, None)
}

/// A counter without labels.
pub(super) fn plain(encoder: &mut DescriptorEncoder<'_>, name: &str, help: &str, value: u64) -> fmt::Result {
    let mut metric = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
    metric.encode_counter::<[(&str, &str); 0], u64, u64>(&value, None)
}

#[cfg(test)]
mod tests {
    use prometheus_client::{encoding::text::encode, registry::Registry};

    use super::*;
    use crate::proxy::testing::application;

    #[test]
    fn shards_are_summed_and_labelled() {
        let metrics = Metrics::new(2);
        let app = metrics.app(&application(22, 22));
        for worker in 0..2 {
            let shard = app.worker(worker).unwrap();
            shard.opened.add(3);
            shard.closed.add(1);
            shard.client_bytes.add(100);
            shard.dial_errors[1].add(1);
            shard.dial_latency.record(std::time::Duration::from_millis(2));
            metrics.worker(worker).unwrap().shed_full.add(1);
        }
        let mut registry = Registry::default();
        metrics.register(&mut registry);
        let mut text = String::new();
        encode(&mut text, &registry).unwrap();
        let labels = format!("app=\"{}\",hostname=\"app.example.com\"", app.id);
        for line in [
            format!("spectrum_connections_opened_total{{{labels}}} 6"),
            format!("spectrum_connections_active{{{labels}}} 4"),
            format!("spectrum_bytes_total{{{labels},from=\"client\"}} 200"),
            format!("spectrum_dial_errors_total{{{labels},status=\"521\",reason=\"origin_refused\"}} 2"),
            format!("spectrum_dial_seconds_bucket{{le=\"0.0025\",{labels}}} 2"),
            format!("spectrum_dial_seconds_bucket{{le=\"+Inf\",{labels}}} 2"),
            "spectrum_connections_shed_total{reason=\"full\"} 2".to_owned(),
            "spectrum_connections_unclassified_total 0".to_owned(),
        ] {
            assert!(text.lines().any(|l| l == line), "{line} is missing in\n{text}");
        }
    }

    #[test]
    fn an_application_is_forgotten_when_nothing_of_it_is_left() {
        let metrics = Metrics::new(1);
        let connection = metrics.app(&application(22, 22));
        metrics.prune();
        assert_eq!(metrics.apps().len(), 1, "a connection is still open");
        drop(connection);
        metrics.prune();
        assert!(metrics.apps().is_empty());
    }
}
