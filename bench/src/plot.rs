//! The plot: a bar for each variant, in an SVG that follows the reader's light or dark scheme.

use std::fmt::Write;

use crate::figures::Figures;
use crate::variants::Variant;

const WIDTH: f64 = 900.0;
const ROW: f64 = 28.0;
const TOP: f64 = 64.0;
/// Where the bars begin, and the length of the longest, which leaves room for its figure.
const LEFT: f64 = 356.0;
const LONGEST: f64 = 420.0;

const STYLE: &str = "\
text { font: 14px system-ui, sans-serif; fill: #1f2328 }
.title { font-weight: 600; font-size: 16px }
.note, .figure { fill: #59636e }
.other { fill: #8c959f }
.keystile { fill: #0969da }
.line { stroke: #8c959f; stroke-dasharray: 4 4 }
@media (prefers-color-scheme: dark) {
text { fill: #f0f6fc }
.note, .figure { fill: #9198a1 }
.other { fill: #656c76 }
.keystile { fill: #4493f8 }
}
";

/// Returns the plot of CPU time per request.
pub(crate) fn svg(figures: &Figures) -> String {
    let cpu = |variant| figures.get(variant).cpu;
    let most = Variant::ALL.map(cpu).into_iter().fold(0.0, f64::max);
    let height = TOP + ROW * Variant::ALL.len() as f64 + 16.0;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" role=\"img\" \
         aria-label=\"CPU time of Envoy's worker per request\">\n<style>\n{STYLE}</style>\n\
         <text class=\"title\" x=\"16\" y=\"28\">CPU time of Envoy's worker per request</text>\n\
         <text class=\"note\" x=\"16\" y=\"48\">µs, and the difference from no filter; lower is better</text>\n"
    );
    for (place, variant) in Variant::ALL.into_iter().enumerate() {
        let y = TOP + ROW * place as f64;
        let length = cpu(variant) / most * LONGEST;
        let class = if variant.is_keystile() {
            "keystile"
        } else {
            "other"
        };
        let added = match variant {
            Variant::NoFilter => String::new(),
            _ => format!(" ({:+.1})", figures.get(variant).added),
        };
        // Writing to a string does not fail.
        let _ = writeln!(
            svg,
            "<text x=\"{}\" y=\"{}\" text-anchor=\"end\">{}</text>\n\
             <rect class=\"{class}\" x=\"{LEFT}\" y=\"{}\" width=\"{length:.1}\" height=\"{}\" rx=\"2\"/>\n\
             <text class=\"figure\" x=\"{:.1}\" y=\"{}\">{:.1}{added}</text>",
            LEFT - 10.0,
            y + 18.0,
            variant.title().replace('`', ""),
            y + 4.0,
            ROW - 8.0,
            LEFT + length + 8.0,
            y + 18.0,
            cpu(variant),
        );
    }
    let baseline = LEFT + cpu(Variant::NoFilter) / most * LONGEST;
    let _ = writeln!(
        svg,
        "<line class=\"line\" x1=\"{baseline:.1}\" y1=\"{TOP}\" x2=\"{baseline:.1}\" y2=\"{}\"/>\n</svg>",
        height - 12.0
    );
    svg
}
