//! A sweep as an SVG file.

use std::collections::BTreeMap;
use std::fmt::Write;

use crate::scenarios::Sweep;

/// Both axes logarithmic, one line a peer.
pub fn svg(sweep: &Sweep) -> String {
    let points = || sweep.lines.values().flatten().filter(|(_, y)| *y > 0.0);
    let range = |pick: fn(&(f64, f64)) -> f64| {
        points().map(pick).fold((f64::MAX, f64::MIN), |(low, high), v| (low.min(v), high.max(v)))
    };
    let ((x_low, x_high), (y_low, y_high)) = (range(|point| point.0), range(|point| point.1));
    let (y_low, y_high) = (10_f64.powf(y_low.log10().floor()), 10_f64.powf(y_high.log10().ceil()));
    let across = |x: f64| LEFT + (x / x_low).ln() / (x_high / x_low).ln() * (WIDTH - LEFT - RIGHT);
    let up = |y: f64| HEIGHT - BOTTOM - (y / y_low).ln() / (y_high / y_low).ln() * (HEIGHT - TOP - BOTTOM);
    let mut out = format!(
        "<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 {WIDTH} {HEIGHT}' font-family='sans-serif' font-size='13'>\n\
         <rect width='{WIDTH}' height='{HEIGHT}' fill='#fff'/>\n<text x='{LEFT}' y='20' font-weight='600'>{}</text>\n",
        sweep.title
    );
    let mut decade = y_low;
    while decade <= y_high * 1.001 {
        let y = up(decade);
        let _ = writeln!(
            out,
            "<line x1='{LEFT}' x2='{}' y1='{y:.1}' y2='{y:.1}' stroke='#ddd'/><text x='{}' y='{:.1}' text-anchor='end' \
             fill='#555'>{decade}</text>",
            WIDTH - RIGHT,
            LEFT - 8.0,
            y + 4.0
        );
        decade *= 10.0;
    }
    let colours: BTreeMap<&str, &str> =
        [("relay", "#777"), ("nginx", "#0a7d34"), ("haproxy", "#a35b00"), ("tidegate", "#0b57d0")].into();
    let mut ticks = true;
    for (index, (peer, line)) in sweep.lines.iter().enumerate() {
        let colour = colours.get(peer).unwrap_or(&"#333");
        let path: Vec<String> = line
            .iter()
            .filter(|(_, y)| *y > 0.0)
            .map(|(x, y)| format!("{:.1},{:.1}", across(*x), up(*y)))
            .collect();
        let _ = writeln!(
            out,
            "<polyline points='{}' fill='none' stroke='{colour}' stroke-width='2.5'/>",
            path.join(" ")
        );
        let y = 40.0 + 18.0 * index as f64;
        let _ = writeln!(
            out,
            "<text x='{}' y='{y}' fill='{colour}' font-weight='600'>{peer}</text>",
            LEFT + 12.0
        );
        for (x, _) in line.iter().filter(|_| ticks) {
            let _ = writeln!(
                out,
                "<text x='{:.1}' y='{}' text-anchor='middle' fill='#555'>{x}</text>",
                across(*x),
                HEIGHT - BOTTOM + 18.0
            );
        }
        ticks = false;
    }
    let _ = writeln!(
        out,
        "<text x='{}' y='{}' text-anchor='middle'>{}</text>",
        WIDTH / 2.0,
        HEIGHT - 8.0,
        sweep.x
    );
    out.push_str("</svg>\n");
    out
}

const WIDTH: f64 = 720.0;
const HEIGHT: f64 = 380.0;
const LEFT: f64 = 60.0;
const RIGHT: f64 = 30.0;
const TOP: f64 = 34.0;
const BOTTOM: f64 = 50.0;
