//! Counters and histograms with fixed label names, and their text format 0.0.4
//! (<https://prometheus.io/docs/instrumenting/exposition_formats/>).

use std::collections::BTreeMap;
use std::fmt::{self, Write};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// The value of a label. Cannot be made from a caller's text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Label {
    /// A constant of the program, without quotes, backslashes or line breaks, which would need escaping.
    Word(&'static str),
    /// A status code.
    Number(u16),
}

impl fmt::Display for Label {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Word(word) => f.write_str(word),
            Self::Number(number) => write!(f, "{number}"),
        }
    }
}

/// A counter without labels.
pub struct Counter {
    name: &'static str,
    help: &'static str,
    value: AtomicU64,
}

impl Counter {
    pub(super) const fn new(name: &'static str, help: &'static str) -> Self {
        let value = AtomicU64::new(0);
        Self { name, help, value }
    }

    /// Increases the counter by `count`.
    pub fn add(&self, count: usize) {
        self.value.fetch_add(count as u64, Ordering::Relaxed);
    }

    pub(super) fn render(&self, text: &mut String) {
        let value = self.value.load(Ordering::Relaxed);
        let sample = Sample {
            metric_type: "counter",
            name: self.name,
            help: self.help,
            value: value as f64,
        };
        sample.render(text);
    }
}

/// Counters of one metric, one per combination of label values.
pub struct CounterVec<const N: usize> {
    name: &'static str,
    help: &'static str,
    labels: [&'static str; N],
    initial: &'static [[Label; N]],
    series: Mutex<BTreeMap<[Label; N], u64>>,
}

impl<const N: usize> CounterVec<N> {
    pub(super) const fn new(
        name: &'static str,
        help: &'static str,
        labels: [&'static str; N],
    ) -> Self {
        Self {
            name,
            help,
            labels,
            initial: &[],
            series: Mutex::new(BTreeMap::new()),
        }
    }

    /// Reports these label values as 0 from the start, so that `rate()` sees their first increase.
    pub(super) const fn with_initial(mut self, initial: &'static [[Label; N]]) -> Self {
        self.initial = initial;
        self
    }

    /// Increases the counter with these label values by one.
    pub fn add(&self, labels: [Label; N]) {
        let mut series = self.series.lock().unwrap_or_else(PoisonError::into_inner);
        *series.entry(labels).or_default() += 1;
    }

    pub(super) fn render(&self, text: &mut String) {
        let mut series = self
            .series
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        for labels in self.initial {
            series.entry(*labels).or_default();
        }
        metadata(text, "counter", self.name, self.help);
        for (values, count) in series {
            let pairs = label_pairs(&self.labels, &values);
            line(text, format_args!("{}{{{pairs}}} {count}", self.name));
        }
    }
}

/// Histograms of durations in seconds, one per combination of label values.
pub struct HistogramVec<const N: usize> {
    name: &'static str,
    help: &'static str,
    labels: [&'static str; N],
    /// Upper bounds of the buckets in seconds, ascending, without `+Inf`.
    bounds: &'static [f64],
    initial: &'static [[Label; N]],
    series: Mutex<BTreeMap<[Label; N], Histogram>>,
}

#[derive(Clone, Default)]
struct Histogram {
    /// Number of observations per bucket, not cumulative; the last is for `+Inf`.
    buckets: Vec<u64>,
    sum_secs: f64,
}

impl<const N: usize> HistogramVec<N> {
    pub(super) const fn new(
        name: &'static str,
        help: &'static str,
        labels: [&'static str; N],
        bounds: &'static [f64],
    ) -> Self {
        Self {
            name,
            help,
            labels,
            bounds,
            initial: &[],
            series: Mutex::new(BTreeMap::new()),
        }
    }

    /// Reports these label values as empty histograms from the start.
    pub(super) const fn with_initial(mut self, initial: &'static [[Label; N]]) -> Self {
        self.initial = initial;
        self
    }

    /// Adds one duration.
    pub fn observe(&self, labels: [Label; N], duration: Duration) {
        let secs = duration.as_secs_f64();
        let bucket = self.bounds.partition_point(|bound| *bound < secs);
        let mut series = self.series.lock().unwrap_or_else(PoisonError::into_inner);
        let histogram = series.entry(labels).or_default();
        histogram.buckets.resize(self.bounds.len() + 1, 0);
        histogram.buckets[bucket] += 1;
        histogram.sum_secs += secs;
    }

    pub(super) fn render(&self, text: &mut String) {
        let mut series = self
            .series
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        for labels in self.initial {
            series.entry(*labels).or_default();
        }
        metadata(text, "histogram", self.name, self.help);
        for (values, mut histogram) in series {
            histogram.buckets.resize(self.bounds.len() + 1, 0);
            self.render_one(text, &label_pairs(&self.labels, &values), &histogram);
        }
    }

    fn render_one(&self, text: &mut String, pairs: &str, histogram: &Histogram) {
        let name = self.name;
        let mut count = 0;
        let bounds = self.bounds.iter().map(f64::to_string);
        let bounds = bounds.chain(["+Inf".to_owned()]);
        for (bound, bucket) in bounds.zip(&histogram.buckets) {
            count += bucket;
            line(
                text,
                format_args!("{name}_bucket{{{pairs},le=\"{bound}\"}} {count}"),
            );
        }
        line(
            text,
            format_args!("{name}_sum{{{pairs}}} {}", histogram.sum_secs),
        );
        line(text, format_args!("{name}_count{{{pairs}}} {count}"));
    }
}

/// A metric without labels, with its value at this moment.
pub struct Sample {
    /// `counter` or `gauge`.
    pub metric_type: &'static str,
    /// Metric name.
    pub name: &'static str,
    /// Help text.
    pub help: &'static str,
    /// Current value.
    pub value: f64,
}

impl Sample {
    /// A gauge.
    pub fn gauge(name: &'static str, help: &'static str, value: f64) -> Self {
        Self {
            metric_type: "gauge",
            name,
            help,
            value,
        }
    }

    /// Appends the metric to `text`.
    pub fn render(&self, text: &mut String) {
        metadata(text, self.metric_type, self.name, self.help);
        line(text, format_args!("{} {}", self.name, self.value));
    }
}

/// Appends the HELP and TYPE lines.
fn metadata(text: &mut String, metric_type: &str, name: &str, help: &str) {
    line(text, format_args!("# HELP {name} {help}"));
    line(text, format_args!("# TYPE {name} {metric_type}"));
}

/// `name="value"` pairs, separated by commas.
fn label_pairs<const N: usize>(names: &[&str; N], values: &[Label; N]) -> String {
    let pairs = names.iter().zip(values);
    let pairs: Vec<String> = pairs
        .map(|(name, value)| format!("{name}=\"{value}\""))
        .collect();
    pairs.join(",")
}

fn line(text: &mut String, line: fmt::Arguments<'_>) {
    // Writing to a String cannot fail.
    let _ = writeln!(text, "{line}");
}

#[cfg(test)]
mod tests {
    use super::Label::{Number, Word};
    use super::*;

    #[test]
    fn counters_are_written_in_order_and_initial_ones_as_zero() {
        let counters = CounterVec::new("c_total", "Help.", ["call", "status"])
            .with_initial(&[[Word("b"), Number(200)]]);
        counters.add([Word("a"), Number(404)]);
        counters.add([Word("a"), Number(404)]);
        let mut text = String::new();
        counters.render(&mut text);
        let expected = "# HELP c_total Help.\n# TYPE c_total counter\n\
            c_total{call=\"a\",status=\"404\"} 2\nc_total{call=\"b\",status=\"200\"} 0\n";
        assert_eq!(text, expected);
    }

    #[test]
    fn bucket_bounds_are_inclusive() {
        let histograms = HistogramVec::new("h_seconds", "Help.", ["phase"], &[0.5, 1.0]);
        for millis in [500, 501, 2000] {
            histograms.observe([Word("run")], Duration::from_millis(millis));
        }
        let mut text = String::new();
        histograms.render(&mut text);
        for expected in [
            "h_seconds_bucket{phase=\"run\",le=\"0.5\"} 1\n",
            "h_seconds_bucket{phase=\"run\",le=\"1\"} 2\n",
            "h_seconds_bucket{phase=\"run\",le=\"+Inf\"} 3\n",
            "h_seconds_sum{phase=\"run\"} 3.001\n",
            "h_seconds_count{phase=\"run\"} 3\n",
        ] {
            assert!(text.contains(expected), "{expected} in {text}");
        }
    }
}
