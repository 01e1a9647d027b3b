//! The `Accept` request field (RFC 9110 §12.5.1): parsing, and two questions that handlers ask of it.

/// A parsed `Accept` field.
pub struct Accept {
    ranges: Vec<MediaRange>,
}

/// One media range with its weight.
struct MediaRange {
    /// Lower-case, without parameters: `text/event-stream`, `text/*` or `*/*`.
    name: String,
    /// The `q` parameter in thousandths; 0 when it is not a number.
    quality: u32,
}

/// How well a media type matches an `Accept` field. Greater is better: quality first, then specificity.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Preference {
    /// `q` of the most specific range that matches, in thousandths; 0 when none matches.
    pub quality: u32,
    /// 3 for an exact range, 2 for `type/*`, 1 for `*/*`, 0 when none matches.
    pub specificity: u32,
}

impl Accept {
    /// Parses a field value. Never fails: a malformed range matches nothing, a malformed `q` counts as 0.
    pub fn parse(field: &str) -> Self {
        Self {
            ranges: field.split(',').map(MediaRange::parse).collect(),
        }
    }

    /// How well a media type matches, by the most specific range that matches it.
    pub fn preference(&self, media_type: &str) -> Preference {
        let matches = self.ranges.iter().filter_map(|range| {
            let specificity = range.specificity(media_type)?;
            Some((specificity, range.quality))
        });
        match matches.max() {
            Some((specificity, quality)) => Preference {
                quality,
                specificity,
            },
            None => Preference::default(),
        }
    }

    /// Whether the field contains one of these lower-case ranges literally. Ignores `q`.
    pub fn contains(&self, names: &[&str]) -> bool {
        self.ranges
            .iter()
            .any(|range| names.contains(&range.name.as_str()))
    }
}

impl MediaRange {
    fn parse(range: &str) -> Self {
        let mut parts = range.split(';').map(str::trim);
        let name = parts.next().unwrap_or_default().to_ascii_lowercase();
        let quality = parts
            .find_map(|part| part.strip_prefix("q=").or(part.strip_prefix("Q=")))
            .map_or(Some(1.0), |q| q.trim().parse::<f64>().ok());
        let quality = quality.unwrap_or(0.0).clamp(0.0, 1.0);
        Self {
            name,
            quality: (quality * 1000.0) as u32,
        }
    }

    fn specificity(&self, media_type: &str) -> Option<u32> {
        let (kind, _) = media_type.split_once('/').unwrap_or_default();
        match self.name.as_str() {
            "*/*" => Some(1),
            name if name == media_type => Some(3),
            name if name.strip_suffix("/*") == Some(kind) => Some(2),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_most_specific_range_gives_the_quality() {
        for (field, quality, specificity) in [
            ("", 0, 0),
            ("*/*", 1000, 1),
            ("text/*;q=0.5, */*", 500, 2),
            ("TEXT/Event-Stream; charset=utf-8", 1000, 3),
            ("text/event-stream; Q=0.25, text/*", 250, 3),
            ("text/event-stream;q=nonsense", 0, 3),
            ("text/event-stream;q=7", 1000, 3),
            ("application/*", 0, 0),
        ] {
            let expected = Preference {
                quality,
                specificity,
            };
            let found = Accept::parse(field).preference("text/event-stream");
            assert_eq!(found, expected, "{field}");
        }
    }

    #[test]
    fn a_range_is_contained_whatever_its_quality() {
        let accept = Accept::parse("Text/*;q=0, application/json");
        assert!(accept.contains(&["text/*"]));
        assert!(accept.contains(&["image/png", "application/json"]));
        assert!(!accept.contains(&["text/plain"]));
    }
}
