//! The printed table of results.

/// The target of a figure.
#[derive(Clone, Copy)]
pub enum Target {
    AtLeast(f64),
    AtMost(f64),
    /// No target: printed for comparison.
    None,
}

pub fn head() {
    println!(
        "| {:<62} | {:>12} | {:>12} | {:>6} | {:>8} |      |",
        "what", "ours", "reference", "ratio", "target"
    );
    println!("|{:-<64}|{:->14}|{:->14}|{:->8}|{:->10}|------|", "", ":", ":", ":", ":");
}

/// Prints one row: the medians of both sides, the median of the ratios of the rounds, and whether
/// it meets the target.
pub fn row(label: &str, unit: &str, rounds: &[(f64, f64)], target: Target) {
    let [ours, reference] = [|round: &(f64, f64)| round.0, |round: &(f64, f64)| round.1];
    let ratio = median(rounds.iter().map(|(ours, reference)| ours / reference));
    let (ours, reference) = (median(rounds.iter().map(ours)), median(rounds.iter().map(reference)));
    let (ours, reference) = (format!("{ours:.1} {unit}"), format!("{reference:.1} {unit}"));
    let (target, verdict) = judge(ratio, target);
    println!(
        "| {label:<62} | {ours:>12} | {reference:>12} | {ratio:>6.2} | {target:>8} | {verdict:<4} |"
    );
}

/// Prints one row whose own figure must meet the target.
pub fn plain(label: &str, unit: &str, values: &[f64], target: Target) {
    let value = median(values.iter().copied());
    let (target, verdict) = judge(value, target);
    let ours = format!("{value:.1} {unit}");
    println!("| {label:<62} | {ours:>12} | {:>12} | {:>6} | {target:>8} | {verdict:<4} |", "", "");
}

fn judge(value: f64, target: Target) -> (String, &'static str) {
    let (text, met) = match target {
        Target::AtLeast(limit) => (format!(">= {limit}"), value >= limit),
        Target::AtMost(limit) => (format!("<= {limit}"), value <= limit),
        Target::None => return (String::new(), ""),
    };
    (text, if met { "ok" } else { "MISS" })
}

pub fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<_> = values.collect();
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
