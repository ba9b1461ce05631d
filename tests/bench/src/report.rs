//! The results as Markdown, between the markers of a page.

use std::fmt::Write;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

use crate::Run;
use crate::machine;
use crate::peers::{Peer, Place};
use crate::plot;
use crate::scenarios::{Reading, Results, Row, median};

/// The tables.
pub fn markdown(run: &Run, results: &Results, place: &Place) -> Result<String> {
    let mut out = String::new();
    heading(run, place, &mut out)?;
    writeln!(out, "\n| | {} |", COLUMNS.map(Peer::name).join(" | "))?;
    writeln!(out, "| --- |{}", " ---: |".repeat(COLUMNS.len()))?;
    for row in &results.rows {
        let cells: Vec<String> = COLUMNS.map(|peer| cell(row, peer)).into();
        writeln!(out, "| {} | {} |", row.name, cells.join(" | "))?;
    }
    direct(results, &mut out)?;
    for sweep in &results.sweeps {
        writeln!(out, "\n![{}, against {}](images/{}.svg)", sweep.title, sweep.x, sweep.name)?;
        let points: Vec<f64> = sweep.lines.values().next().into_iter().flatten().map(|(x, _)| *x).collect();
        let names: Vec<String> = points.iter().map(|x| x.to_string()).collect();
        writeln!(
            out,
            "\n| {} | {} |\n| ---: |{}",
            sweep.x,
            names.join(" | "),
            " ---: |".repeat(names.len())
        )?;
        for peer in COLUMNS.into_iter().filter(|peer| sweep.lines.contains_key(peer.name())) {
            let values: Vec<String> = sweep.lines[peer.name()].iter().map(|(_, y)| number(*y)).collect();
            writeln!(out, "| {} | {} |", peer.name(), values.join(" | "))?;
        }
    }
    harness(results, &mut out)?;
    Ok(out)
}

fn heading(run: &Run, place: &Place, out: &mut String) -> Result<()> {
    if run.quick {
        writeln!(out, "**A quick run: these figures are no good.**\n")?;
    }
    let versions: Vec<String> =
        Peer::PROXIES.iter().map(|peer| peer.version(place)).collect::<Result<_>>()?;
    writeln!(
        out,
        "Measured on {}; {}. {} repetitions; each cell: the median ± half of the spread, then the ratio to nginx within a \
         repetition (median, lowest to highest).",
        machine::description(),
        versions.join(", "),
        run.repeat
    )?;
    Ok(())
}

/// Median and spread; but for nginx, the ratio to it.
fn cell(row: &Row, peer: Peer) -> String {
    let Some(values) = row.values.get(peer.name()) else { return "–".to_owned() };
    let middle = median(&mut values.clone());
    let (low, high) = range(values);
    let spread = match middle {
        0.0 => String::new(),
        _ => format!(" ±{:.0} %", 50.0 * (high - low) / middle.abs()),
    };
    let nginx = row.values.get(Peer::Nginx.name());
    let (Some(nginx), true) = (nginx, peer != Peer::Nginx && row.reading.has_ratio()) else {
        return format!("{}{spread}", number(middle));
    };
    let mut ratios: Vec<f64> = values.iter().zip(nginx).map(|(own, nginx)| own / nginx).collect();
    let (low, high) = range(&ratios);
    format!("{}{spread}; **{:.2}** ({low:.2}–{high:.2})", number(middle), median(&mut ratios))
}

/// What there is without a proxy.
fn direct(results: &Results, out: &mut String) -> Result<()> {
    for row in &results.rows {
        if let Some(values) = row.values.get(Peer::Direct.name()) {
            let what = match row.reading {
                Reading::Added => "from the sending of an event to its arrival",
                _ => "to the first event",
            };
            writeln!(out, "\nWithout a proxy, {} µs {what}.", number(median(&mut values.clone())))?;
        }
    }
    Ok(())
}

/// What the measuring itself costs, where it was the dearest.
fn harness(results: &Results, out: &mut String) -> Result<()> {
    writeln!(
        out,
        "\n| with tidegate in the middle | units/s | client and backend, CPU µs/unit | share of their core | \
                   tidegate's share of its | cores used by others |\n| --- | ---: | ---: | ---: | ---: | ---: |"
    )?;
    for row in &results.rows {
        let Some(costs) = row.costs.get(Peer::Tidegate.name()).filter(|_| row.reading != Reading::Misaligned)
        else {
            continue;
        };
        let median_of = |pick: fn(&crate::measure::Cost) -> f64| {
            median(&mut costs.iter().map(pick).collect::<Vec<f64>>())
        };
        writeln!(
            out,
            "| {} | {:.0} | {} | {:.0} % | {:.0} % | {:.2} |",
            row.name.split(", CPU").next().unwrap_or_default(),
            median_of(|cost| cost.rate),
            number(median_of(|cost| cost.harness)),
            100.0 * median_of(|cost| cost.harness_share),
            100.0 * median_of(|cost| cost.proxy_share),
            median_of(|cost| cost.others)
        )?;
    }
    Ok(())
}

impl Reading {
    /// Whether a ratio to nginx says something.
    fn has_ratio(self) -> bool {
        !matches!(self, Reading::Misaligned | Reading::Kept)
    }
}

fn range(values: &[f64]) -> (f64, f64) {
    values.iter().fold((f64::MAX, f64::MIN), |(low, high), value| (low.min(*value), high.max(*value)))
}

/// Three digits that count.
fn number(value: f64) -> String {
    match value.abs() {
        1_000.0.. => format!("{value:.0}"),
        100.0.. => format!("{value:.0}"),
        10.0.. => format!("{value:.1}"),
        0.0 => "0".to_owned(),
        _ => format!("{value:.2}"),
    }
}

/// Puts the tables between the page's markers, and the plots into `images/` beside it.
pub fn write(results: &Results, text: &str, page: &Path) -> Result<()> {
    let old = fs::read_to_string(page).with_context(|| page.display().to_string())?;
    let (before, rest) = old.split_once(BEGIN).context("the page has no begin marker")?;
    let (_, after) = rest.split_once(END).context("the page has no end marker")?;
    fs::write(page, format!("{before}{BEGIN}\n{text}{END}{after}"))?;
    let images = page.with_file_name("images");
    fs::create_dir_all(&images)?;
    for sweep in &results.sweeps {
        fs::write(images.join(format!("{}.svg", sweep.name)), plot::svg(sweep))?;
    }
    Ok(())
}

const COLUMNS: [Peer; 4] = [Peer::Relay, Peer::Nginx, Peer::Haproxy, Peer::Tidegate];

const BEGIN: &str = "<!-- bench -->";
const END: &str = "<!-- /bench -->";
