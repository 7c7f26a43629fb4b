//! Results as Markdown tables, which a terminal shows as well, and as JSON for programs.

use std::fmt::Write as _;

use comfy_table::Table;
use comfy_table::presets::ASCII_MARKDOWN;
use serde_json::{Value, json};

use crate::compare::{self, Verdict};
use crate::contestant::Contestant;
use crate::flood::{self, Floods};
use crate::machine::Machine;
use crate::measure::{Better, Figure, MACHINE_CPU};
use crate::rounds::{MeasureResults, Results};
use crate::stats::{self, Ratio};
use crate::xdp::networks::{self, Networks};
use crate::xdp::{self, Cost};

/// Everything that was measured.
pub(crate) struct Report {
    pub(crate) machine: Machine,
    pub(crate) plan: flood::Plan,
    pub(crate) results: Option<Results>,
    /// Where TLS ends at the edge.
    pub(crate) tls: Option<Results>,
    pub(crate) xdp: Option<Vec<Cost>>,
    pub(crate) networks: Option<Vec<Networks>>,
    pub(crate) floods: Option<Floods>,
}

impl Report {
    pub(crate) fn markdown(&self) -> String {
        let mut out = conditions(&self.machine, &self.plan);
        if let Some(results) = &self.results {
            out.push_str(&markdown(results));
        }
        if let Some(results) = &self.tls {
            out.push_str("\n## TLS at the edge\n");
            out.push_str(&markdown(results));
        }
        if let Some(costs) = &self.xdp {
            out.push_str(&xdp(costs));
        }
        if let Some(measured) = &self.networks {
            out.push_str(&networks::markdown(measured));
        }
        if let Some(floods) = &self.floods {
            out.push_str(&floods.markdown());
        }
        out
    }

    pub(crate) fn json(&self) -> Value {
        json!({
            "kernel": self.machine.kernel,
            "processor": self.machine.processor,
            "cores": self.machine.cores,
            "busy_before": self.machine.busy_before,
            "rounds": self.plan.rounds,
            "quick": self.plan.quick,
            "traffic": self.results.as_ref().map(json),
            "tls": self.tls.as_ref().map(json),
            "xdp": self.xdp.as_ref().map(|costs| costs.iter().map(cost_json).collect::<Vec<_>>()),
            "networks": self.networks.as_deref().map(networks::json),
            "floods": self.floods.as_ref().map(Floods::json),
        })
    }

    /// Whether everything that was to be measured was.
    pub(crate) fn is_whole(&self) -> bool {
        [&self.results, &self.tls].into_iter().flatten().all(|results| results.failures.is_empty())
            && self.floods.as_ref().is_none_or(|floods| floods.failures.is_empty())
    }
}

fn markdown(results: &Results) -> String {
    let mut out = preamble(results);
    for measure in &results.measures {
        // Writing to a String cannot fail.
        let _ = write!(out, "\n### {}\n\n{}\n", measure.title, table(results, measure));
    }
    out.push_str(&verdicts(results));
    if !results.failures.is_empty() {
        out.push_str("\n### Not measured\n\n");
        for failure in &results.failures {
            let _ = writeln!(out, "- {failure}");
        }
    }
    out
}

fn conditions(machine: &Machine, plan: &flood::Plan) -> String {
    format!(
        "Linux {}, {} cores of {}, {:.0} % busy before the start. {} rounds{}.\n",
        machine.kernel,
        machine.cores,
        machine.processor,
        machine.busy_before * 100.0,
        plan.rounds,
        if plan.quick { " (quick: not to quote)" } else { "" },
    )
}

fn preamble(results: &Results) -> String {
    let takes = || results.measures.iter().flat_map(|measure| &measure.takes);
    let mut out = format!(
        "\nTCP {}. {} samples, {} of them disturbed.\n\n",
        results.congestion_control,
        takes().count(),
        takes().filter(|take| take.disturbed).count(),
    );
    for (name, version) in &results.versions {
        let _ = writeln!(out, "- {name}: {version}");
    }
    out.push_str(
        "\nMedians ± half the distance of the quartiles; ratios of medians with their 95 % bootstrap interval.",
    );
    out.push_str(if has_direct(results) {
        " What a contestant costs the machine more than direct forwarding does stands behind its machine CPU.\n"
    } else {
        "\n"
    });
    out
}

fn has_direct(results: &Results) -> bool {
    results.contestants.iter().any(|contestant| contestant.name == Contestant::DIRECT)
}

fn table(results: &Results, measure: &MeasureResults) -> Table {
    let figures = measure.takes.first().map(|take| take.sample.figures.clone()).unwrap_or_default();
    let mut header = vec!["contestant".to_owned()];
    for (index, figure) in figures.iter().enumerate() {
        header.push(format!("{} ({})", figure.name, figure.unit));
        if index == 0 {
            header.extend(has_direct(results).then(|| "of direct".to_owned()));
            header.push("of best HAProxy".to_owned());
        }
    }
    let mut table = Table::new();
    table.load_style(ASCII_MARKDOWN).set_header(header);
    for contestant in &results.contestants {
        let mut row = vec![contestant.name.to_owned()];
        for (index, figure) in figures.iter().enumerate() {
            row.push(value(measure, contestant.name, figure));
            if index == 0 {
                let against = |peer: Option<&'static str>| {
                    peer.and_then(|peer| compare::ratio(measure, figure.name, contestant.name, peer))
                        .map_or_else(String::new, of)
                };
                row.extend(has_direct(results).then(|| against(Some(Contestant::DIRECT))));
                row.push(against(compare::best_haproxy(measure, figure)));
            }
        }
        table.add_row(row);
    }
    table
}

fn value(measure: &MeasureResults, contestant: &str, figure: &Figure) -> String {
    let values = compare::values(measure, contestant, figure.name);
    let mut text = spread(&values);
    let direct = stats::median(&compare::values(measure, Contestant::DIRECT, figure.name));
    if let (MACHINE_CPU, Some(direct), Some(median)) = (figure.name, direct, stats::median(&values)) {
        let _ = write!(text, " ({}{})", if median < direct { "" } else { "+" }, short(median - direct));
    }
    text
}

/// Every figure of ours beside the best HAProxy and nginx, whichever way it went.
fn verdicts(results: &Results) -> String {
    let mut table = Table::new();
    table.load_style(ASCII_MARKDOWN).set_header([
        "measure",
        "figure",
        "contestant",
        "of best HAProxy",
        "",
        "of nginx",
        "",
    ]);
    for measure in &results.measures {
        let figures = measure.takes.first().map(|take| take.sample.figures.as_slice()).unwrap_or_default();
        for figure in figures.iter().filter(|figure| figure.better != Better::Neither) {
            for ours in results.contestants.iter().filter(|contestant| contestant.is_ours()) {
                let mut row = vec![measure.title.clone(), figure.name.to_owned(), ours.name.to_owned()];
                for peer in [compare::best_haproxy(measure, figure), Some(Contestant::NGINX)] {
                    let ratio = peer.and_then(|peer| compare::ratio(measure, figure.name, ours.name, peer));
                    row.push(ratio.map_or_else(String::new, of));
                    row.push(ratio.map_or("", |ratio| Verdict::of(ratio, figure.better).as_str()).to_owned());
                }
                table.add_row(row);
            }
        }
    }
    if table.is_empty() { String::new() } else { format!("\n### Beside the peers\n\n{table}\n") }
}

pub(crate) fn of(ratio: Ratio) -> String {
    format!("{:.2} [{:.2}, {:.2}]", ratio.value, ratio.low, ratio.high)
}

/// Three digits that mean something.
pub(crate) fn short(value: f64) -> String {
    match value.abs() {
        0.0..1.0 => format!("{value:.3}"),
        1.0..10.0 => format!("{value:.2}"),
        10.0..100.0 => format!("{value:.1}"),
        _ => format!("{value:.0}"),
    }
}

fn json(results: &Results) -> Value {
    let measures: Vec<Value> = results.measures.iter().map(|measure| measure_json(results, measure)).collect();
    json!({
        "congestion_control": results.congestion_control,
        "versions": results.versions,
        "measures": measures,
        "failures": results.failures,
    })
}

fn measure_json(results: &Results, measure: &MeasureResults) -> Value {
    let takes: Vec<Value> = measure
        .takes
        .iter()
        .map(|take| {
            let figures: serde_json::Map<String, Value> =
                take.sample.figures.iter().map(|figure| (figure.name.to_owned(), json!(figure.value))).collect();
            json!({
                "round": take.round,
                "contestant": take.contestant,
                "figures": figures,
                "steal": take.sample.steal,
                "foreign": take.sample.foreign,
                "failed_operations": take.sample.failures,
                "disturbed": take.disturbed,
            })
        })
        .collect();
    let figures = measure.takes.first().map(|take| take.sample.figures.as_slice()).unwrap_or_default();
    let mut ratios = Vec::new();
    for figure in figures {
        for contestant in &results.contestants {
            for peer in results.contestants.iter().filter(|peer| *peer != contestant) {
                if let Some(ratio) = compare::ratio(measure, figure.name, contestant.name, peer.name) {
                    ratios.push(json!({
                        "figure": figure.name, "contestant": contestant.name, "of": peer.name,
                        "ratio": ratio.value, "low": ratio.low, "high": ratio.high,
                    }));
                }
            }
        }
    }
    json!({ "name": measure.name, "title": measure.title, "samples": takes, "ratios": ratios })
}

/// What the XDP program costs, beside an empty one.
fn xdp(costs: &[Cost]) -> String {
    let mut table = Table::new();
    table.load_style(ASCII_MARKDOWN).set_header([
        "packet",
        "hot (ns)",
        "over an empty program (ns)",
        "cold (ns)",
        "over an empty program (ns)",
    ]);
    if let Some(first) = costs.first() {
        let (hot, cold) = (spread(&first.hot_empty), spread(&first.cold_empty));
        table.add_row(["any, by an empty program".to_owned(), hot, String::new(), cold, String::new()]);
    }
    for cost in costs {
        let over = |of: &[f64], empty: &[f64]| {
            let differences: Vec<f64> = of.iter().zip(empty).map(|(of, empty)| of - empty).collect();
            spread(&differences)
        };
        table.add_row([
            cost.title.to_owned(),
            spread(&cost.hot),
            over(&cost.hot, &cost.hot_empty),
            spread(&cost.cold),
            over(&cost.cold, &cost.cold_empty),
        ]);
    }
    format!(
        "\n### XDP cost per packet, {} block rules\n\nBy test run. Hot: one frame over and over. Cold: {} sources, one \
         run each; the clock's own cost is in both programs' figures.\n\n{table}\n",
        xdp::RULES,
        xdp::SOURCES
    )
}

fn cost_json(cost: &Cost) -> Value {
    json!({
        "packet": cost.title,
        "hot_ns": cost.hot,
        "hot_empty_ns": cost.hot_empty,
        "cold_ns": cost.cold,
        "cold_empty_ns": cost.cold_empty,
    })
}

/// Median ± half the distance of the quartiles.
pub(crate) fn spread(values: &[f64]) -> String {
    match (stats::median(values), stats::iqr(values)) {
        (Some(median), Some(iqr)) => format!("{} ± {}", short(median), short(iqr / 2.0)),
        _ => "-".to_owned(),
    }
}
