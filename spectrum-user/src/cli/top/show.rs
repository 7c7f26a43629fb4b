//! Rates as lines for people.

use super::rates::Rates;
use crate::cli::output::{self, printable};

/// Applications whose packets are described, the busiest.
const PORTRAITS: usize = 5;

/// Everything that is to be seen, most important first: a small terminal shows the beginning.
pub(super) fn lines(rates: &Rates) -> Vec<String> {
    let mut lines = vec![mode(rates), String::new()];
    let mut table = output::table(&["APPLICATION", "PROTOCOL", "PACKETS/s", "BITS/s", "OPEN", "NEW/s", "DROPS/s"]);
    for app in &rates.applications {
        let drops: Vec<String> = app.drops.iter().map(|(reason, rate)| format!("{reason} {}", short(*rate))).collect();
        table.add_row([
            printable(if app.hostname.is_empty() { &app.id } else { &app.hostname }),
            app.protocol.clone(),
            short(app.packets_per_second),
            short(app.bits_per_second),
            app.connections_active.to_string(),
            short(app.connections_per_second),
            drops.join(", "),
        ]);
    }
    push(&mut lines, &table);
    let mut table = output::table(&["VERDICT", "ACTION", "PACKETS/s", "BITS/s"]);
    for rate in &rates.reasons {
        let cells = [&rate.reason, rate.action, &short(rate.packets_per_second), &short(rate.bits_per_second)];
        table.add_row(cells.map(str::to_owned));
    }
    push(&mut lines, &table);
    push_looks(&mut lines, rates);
    let sources = &rates.sources;
    let missed = if sources.missed > 0 { format!(", {} more were missed", sources.missed) } else { String::new() };
    lines.push(format!("sources, estimated from {} samples{missed}:", sources.samples));
    let mut table = output::table(&["SOURCE", "PACKETS/s", "BITS/s", "SHARE"]);
    for rate in &sources.top {
        table.add_row([
            rate.address.to_string(),
            short(rate.packets_per_second),
            short(rate.bits_per_second),
            format!("{:.0} %", rate.share * 100.0),
        ]);
    }
    push(&mut lines, &table);
    let mut table = output::table(&["FROM", "PACKETS/s", "SHARE"]);
    for rate in &sources.networks {
        table.add_row([rate.target.clone(), short(rate.packets_per_second), format!("{:.0} %", rate.share * 100.0)]);
    }
    if !table.is_empty() {
        push(&mut lines, &table);
    }
    lines
}

fn mode(rates: &Rates) -> String {
    let mode = match &rates.protection {
        Some(protection) if protection.floods.is_empty() => {
            "PROTECTED: an application wants cookies at all times".into()
        }
        Some(protection) => format!("PROTECTED: SYN flood on {}", protection.floods.join(", ")),
        None if rates.daemon => "no flood".to_owned(),
        None => "no daemon runs: packets are filtered, nothing is served".to_owned(),
    };
    printable(&mode)
}

/// What packets look like is in columns too, so that what is equal stands below what is equal.
fn push_looks(lines: &mut Vec<String>, rates: &Rates) {
    let busy = rates.applications.iter().filter(|app| !app.portrait.is_empty()).take(PORTRAITS);
    let mut table = output::table(&["PACKETS TO", "SHARE", "LOOK LIKE"]);
    for app in busy {
        for (index, likeness) in app.portrait.iter().enumerate() {
            let name = if index > 0 {
                String::new()
            } else {
                printable(if app.hostname.is_empty() { &app.id } else { &app.hostname })
            };
            table.add_row([name, format!("{} %", likeness.percent), likeness.looks()]);
        }
    }
    if !table.is_empty() {
        push(lines, &table);
    }
}

fn push(lines: &mut Vec<String>, table: &comfy_table::Table) {
    lines.extend(table.lines().map(|line| line.trim_end().to_owned()));
    lines.push(String::new());
}

/// Three digits and a unit.
fn short(number: f64) -> String {
    const UNITS: [(f64, &str); 4] = [(1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")];
    // What rounds to the next unit is of it.
    match UNITS.into_iter().find(|(size, _)| number >= size * 0.9995) {
        Some((size, unit)) => {
            let scaled = number / size;
            let digits = if scaled < 9.995 { 2 } else { usize::from(scaled < 99.95) };
            format!("{scaled:.digits$}{unit}")
        }
        None if number > 0.0 && number < 9.95 => format!("{number:.1}"),
        None => format!("{number:.0}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_short() {
        let cases = [
            (0.0, "0"),
            (0.5, "0.5"),
            (12.0, "12"),
            (999.4, "999"),
            (999.9, "1.00k"),
            (12_345.0, "12.3k"),
            (123_456.0, "123k"),
            (9_999_000.0, "10.0M"),
            (1.5e12, "1.50T"),
        ];
        for (number, text) in cases {
            assert_eq!(short(number), text);
        }
    }
}
