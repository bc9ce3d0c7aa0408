//! The picture: panels in a grid, as SVG that follows the reader's light or dark scheme.

use std::fmt::Write;

use anyhow::{Context, Result};
use keystile_e2e::prometheus::Span;
use serde_json::Value;

use crate::axis::{Axis, label};
use crate::scenario::PHASES;

const COLUMNS: usize = 3;
const WIDTH: f64 = 440.0;
const HEIGHT: f64 = 304.0;
const GAP: f64 = 12.0;
/// The edges of the plot within a panel.
const LEFT: f64 = 74.0;
const TOP: f64 = 54.0;
const RIGHT: f64 = WIDTH - 26.0;
const BOTTOM: f64 = HEIGHT - 84.0;

const STYLE: &str = "\
text { font: 13px system-ui, sans-serif; fill: #1f2328 }
.title { font-weight: 600; font-size: 15px }
.tick, .phase { fill: #59636e; font-size: 12px }
.phase { font-size: 11px }
.panel { fill: #ffffff; stroke: #d1d9e0 }
.grid { stroke: #818b98; stroke-opacity: 0.25 }
.shade { fill: #818b98; fill-opacity: 0.10 }
.outage { fill: #d1242f; fill-opacity: 0.10 }
.line { fill: none; stroke-width: 1.8; stroke-linejoin: round }
@media (prefers-color-scheme: dark) {
text { fill: #f0f6fc }
.tick, .phase { fill: #9198a1 }
.panel { fill: #151b23; stroke: #3d444d }
}
";

/// Grafana's colour names, in the order in which series without their own colour use them.
const COLOURS: [(&str, &str); 6] = [
    ("green", "#56a64b"),
    ("yellow", "#e0b400"),
    ("blue", "#3274d9"),
    ("orange", "#ff780a"),
    ("red", "#e02f44"),
    ("purple", "#a352cc"),
];

/// Times in seconds since the start, and values.
type Points = Vec<(f64, f64)>;

/// A series.
struct Line {
    name: String,
    colour: String,
    points: Points,
}

/// A panel with its data.
pub(crate) struct Panel {
    title: String,
    unit: String,
    stacked: bool,
    lines: Vec<Line>,
    seconds: f64,
}

impl Panel {
    /// Creates a panel of the dashboard with the series that its queries returned.
    ///
    /// # Errors
    /// When the panel has no unit or title.
    pub(crate) fn new(panel: &Value, lines: Vec<(String, Points)>, span: Span) -> Result<Self> {
        let defaults = &panel["fieldConfig"]["defaults"];
        let lines = lines.into_iter().enumerate();
        let lines = lines.map(|(place, (name, points))| Line {
            colour: colour(panel, &name, place),
            points: points
                .into_iter()
                .filter(|(_, value)| value.is_finite())
                .map(|(time, value)| (time - span.start, value))
                .collect(),
            name,
        });
        let mut lines: Vec<_> = lines.collect();
        // Series that stay at zero are left out of the legend, unless all of them do.
        let happens = |line: &Line| line.points.iter().any(|(_, value)| *value > 0.0);
        if lines.iter().any(happens) {
            lines.retain(happens);
        }
        Ok(Self {
            title: panel["title"].as_str().context("no title")?.to_owned(),
            unit: defaults["unit"].as_str().context("no unit")?.to_owned(),
            stacked: defaults["custom"]["stacking"]["mode"] == "normal",
            lines,
            seconds: span.end - span.start,
        })
    }

    /// Returns each line's upper and lower border. The lower one is 0 unless lines are stacked.
    fn borders(&self) -> Vec<(Points, Points)> {
        let mut below: Points = Vec::new();
        let lines = self.lines.iter().map(|line| {
            if !self.stacked {
                let ground = line.points.iter().map(|(time, _)| (*time, 0.0));
                return (line.points.clone(), ground.collect());
            }
            let height = |time: f64| {
                let found = below.iter().find(|(other, _)| (other - time).abs() < 0.5);
                found.map_or(0.0, |(_, value)| *value)
            };
            let lower: Vec<_> = line.points.iter().map(|(t, _)| (*t, height(*t))).collect();
            let upper: Vec<_> = line
                .points
                .iter()
                .map(|(t, value)| (*t, value + height(*t)))
                .collect();
            below.clone_from(&upper);
            (upper, lower)
        });
        lines.collect()
    }

    fn draw(&self, svg: &mut String) {
        let borders = self.borders();
        let values = borders.iter().flat_map(|(upper, _)| upper);
        let most = values.map(|(_, value)| *value).fold(0.0, f64::max);
        let axis = Axis::new(most);
        let x = |time: f64| LEFT + (RIGHT - LEFT) * time / self.seconds;
        let y = |value: f64| BOTTOM - (BOTTOM - TOP) * value / axis.top;
        let path = |points: &mut dyn Iterator<Item = &(f64, f64)>| {
            let points = points.map(|(time, value)| format!("{:.1} {:.1}", x(*time), y(*value)));
            points.collect::<Vec<_>>().join(" L")
        };
        put(
            svg,
            format_args!("<rect class=\"panel\" width=\"{WIDTH}\" height=\"{HEIGHT}\" rx=\"6\"/>"),
        );
        put(
            svg,
            format_args!(
                "<text class=\"title\" x=\"14\" y=\"24\">{}</text>",
                self.title
            ),
        );
        let mut begin = 0.0;
        for (place, phase) in PHASES.iter().enumerate() {
            let end = begin + f64::from(phase.seconds);
            let class = match phase.name {
                "registry down" => "outage",
                _ if place % 2 == 1 => "shade",
                _ => "none",
            };
            if class != "none" {
                put(
                    svg,
                    format_args!(
                        "<rect class=\"{class}\" x=\"{:.1}\" y=\"{TOP}\" width=\"{:.1}\" height=\"{}\"/>\n\
                     <text class=\"phase\" x=\"{:.1}\" y=\"{}\" text-anchor=\"middle\">{}</text>",
                        x(begin),
                        x(end) - x(begin),
                        BOTTOM - TOP,
                        (x(begin) + x(end)) / 2.0,
                        TOP - 6.0,
                        phase.name,
                    ),
                );
            }
            begin = end;
        }
        for tick in axis.ticks() {
            put(
                svg,
                format_args!(
                    "<line class=\"grid\" x1=\"{LEFT}\" x2=\"{RIGHT}\" y1=\"{0:.1}\" y2=\"{0:.1}\"/>\n\
                 <text class=\"tick\" x=\"{1}\" y=\"{2:.1}\" text-anchor=\"end\">{3}</text>",
                    y(tick),
                    LEFT - 8.0,
                    y(tick) + 4.0,
                    label(tick, &self.unit),
                ),
            );
        }
        let mut minute = 0.0;
        while minute * 60.0 <= self.seconds {
            put(
                svg,
                format_args!(
                    "<text class=\"tick\" x=\"{:.1}\" y=\"{}\" text-anchor=\"middle\">{minute} min</text>",
                    x(minute * 60.0),
                    BOTTOM + 18.0,
                ),
            );
            minute += 1.0;
        }
        for (line, (upper, lower)) in self.lines.iter().zip(&borders) {
            let opacity = if self.stacked { 0.55 } else { 0.12 };
            put(
                svg,
                format_args!(
                    "<path fill=\"{}\" fill-opacity=\"{opacity}\" d=\"M{} L{} Z\"/>",
                    line.colour,
                    path(&mut upper.iter()),
                    path(&mut lower.iter().rev()),
                ),
            );
            // A layer without height would cover the border of another.
            let visible = |at: usize| !self.stacked || upper[at].1 - lower[at].1 > axis.top / 500.0;
            let places: Vec<_> = (0..upper.len()).collect();
            for run in places.chunk_by(|one, other| visible(*one) == visible(*other)) {
                if run.first().is_some_and(|first| visible(*first)) {
                    put(
                        svg,
                        format_args!(
                            "<path class=\"line\" stroke=\"{}\" d=\"M{}\"/>",
                            line.colour,
                            path(&mut run.iter().map(|place| &upper[*place])),
                        ),
                    );
                }
            }
        }
        self.legend(svg);
    }

    fn legend(&self, svg: &mut String) {
        let (mut x, mut y) = (14.0, HEIGHT - 46.0);
        for line in &self.lines {
            // Roughly the width of the text.
            let width = 28.0 + 6.9 * f64::from(u16::try_from(line.name.len()).unwrap_or(u16::MAX));
            if x + width > WIDTH - 4.0 {
                (x, y) = (14.0, y + 19.0);
            }
            put(
                svg,
                format_args!(
                    "<rect x=\"{x:.1}\" y=\"{}\" width=\"12\" height=\"4\" rx=\"2\" fill=\"{}\"/>\n\
                 <text class=\"tick\" x=\"{:.1}\" y=\"{y}\">{}</text>",
                    y - 6.0,
                    line.colour,
                    x + 17.0,
                    line.name,
                ),
            );
            x += width;
        }
    }
}

/// Returns the dashboard's colour for a series, or one by its position.
fn colour(panel: &Value, name: &str, place: usize) -> String {
    let overrides = panel["fieldConfig"]["overrides"].as_array();
    let mut overrides = overrides.into_iter().flatten();
    let own = overrides.find(|one| one["matcher"]["options"] == name);
    let own = own.and_then(|one| one["properties"][0]["value"]["fixedColor"].as_str());
    let named = |name: &str| COLOURS.iter().find(|(other, _)| *other == name);
    match own {
        Some(own) => named(own).map_or(own, |(_, colour)| colour).to_owned(),
        None => COLOURS[place % COLOURS.len()].1.to_owned(),
    }
}

/// Draws all panels in a grid.
pub(crate) fn svg(panels: &[Panel]) -> String {
    let rows = panels.len().div_ceil(COLUMNS);
    let size = |count: usize, one: f64| {
        let count = f64::from(u16::try_from(count).unwrap_or(u16::MAX));
        GAP + count * (one + GAP)
    };
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {} {}\" role=\"img\" \
         aria-label=\"Keystile's dashboard: {}\">\n<style>\n{STYLE}</style>\n",
        size(COLUMNS, WIDTH),
        size(rows, HEIGHT),
        PHASES.map(|phase| phase.name).join(", "),
    );
    for (place, panel) in panels.iter().enumerate() {
        let (x, y) = (size(place % COLUMNS, WIDTH), size(place / COLUMNS, HEIGHT));
        put(
            &mut svg,
            format_args!("<g transform=\"translate({x} {y})\">"),
        );
        panel.draw(&mut svg);
        put(&mut svg, format_args!("</g>"));
    }
    svg + "</svg>\n"
}

fn put(svg: &mut String, what: std::fmt::Arguments<'_>) {
    // Writing to a string does not fail.
    let _ = writeln!(svg, "{what}");
}
