//! The allow-list of images. A pattern has the parts of a reference, and each part is matched by itself: a tag pattern can
//! never match a port, and a pattern without a registry never matches another than Docker Hub. Pure.

use crate::docker::reference::{
    ImageReference, NamedImage, full_repository, split_registry, split_tag,
};
use crate::glob;

/// Patterns `[registry/]repository[:tag][@digest]`, where `*` matches any text within its part; `*` alone matches everything.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImagePatterns {
    texts: Vec<String>,
    patterns: Vec<Pattern>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Pattern {
    Anything,
    Named {
        registry: String,
        repository: String,
        version: Version,
    },
}

/// Which versions of a repository a pattern allows.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Version {
    Any,
    /// Matches tags. A reference with a digest has none that counts.
    Tag(String),
    Digest(String),
}

impl ImagePatterns {
    /// Parses a comma separated list. Errors: the position of the first item that is no pattern.
    pub fn parse(list: &str) -> Result<Self, String> {
        let items = list.split(',').map(str::trim);
        let texts: Vec<String> = items
            .filter(|item| !item.is_empty())
            .map(str::to_owned)
            .collect();
        let parsed = texts.iter().enumerate().map(|(index, text)| {
            Pattern::parse(text).ok_or_else(|| {
                format!(
                    "item {} is not a pattern of image references, such as alpine:*",
                    index + 1
                )
            })
        });
        Ok(Self {
            patterns: parsed.collect::<Result<_, _>>()?,
            texts,
        })
    }

    /// Patterns that match every image.
    pub fn all() -> Self {
        Self {
            texts: vec!["*".into()],
            patterns: vec![Pattern::Anything],
        }
    }

    /// Whether any pattern matches. An image id is matched by `*` only: it does not say which repository it comes from.
    pub fn allow(&self, reference: &ImageReference) -> bool {
        self.patterns.iter().any(|pattern| match reference {
            ImageReference::Named(image) => pattern.matches(image),
            ImageReference::Id(_) => *pattern == Pattern::Anything,
        })
    }

    /// Whether `*` is among the patterns.
    pub fn allow_everything(&self) -> bool {
        self.patterns.contains(&Pattern::Anything)
    }

    /// The patterns as they were written.
    pub fn patterns(&self) -> &[String] {
        &self.texts
    }

    /// The list for an error message; `none` if it is empty.
    pub fn describe(&self) -> String {
        match self.texts.as_slice() {
            [] => "none".into(),
            texts => texts.join(", "),
        }
    }
}

impl Pattern {
    fn parse(text: &str) -> Option<Self> {
        if text == "*" {
            return Some(Self::Anything);
        }
        let (named, digest) = match text.split_once('@') {
            Some((named, digest)) => (named, Some(digest)),
            None => (text, None),
        };
        let (name, tag) = split_tag(named);
        let (registry, repository) = split_registry(name);
        let is_valid = has_only(registry, |b| {
            b.is_ascii_alphanumeric() || b".-:[]*".contains(&b)
        }) && has_only(repository, |b| {
            b.is_ascii_lowercase() || b.is_ascii_digit() || b"._-/*".contains(&b)
        }) && tag
            .is_none_or(|tag| has_only(tag, |b| b.is_ascii_alphanumeric() || b"._-*".contains(&b)))
            && digest.is_none_or(|digest| {
                has_only(digest, |b| b.is_ascii_alphanumeric() || b":*".contains(&b))
            });
        // `docker.io/*` means all of Docker Hub, and not only what is below `library/`.
        let repository = match repository.starts_with('*') {
            true => repository.to_owned(),
            false => full_repository(registry, repository),
        };
        is_valid.then(|| Self::Named {
            registry: registry.to_owned(),
            repository,
            version: Version::parse(name, tag, digest),
        })
    }

    fn matches(&self, image: &NamedImage) -> bool {
        match self {
            Self::Anything => true,
            Self::Named {
                registry,
                repository,
                version,
            } => {
                glob::matches(registry, &image.registry)
                    && glob::matches(repository, &image.repository)
                    && version.matches(image)
            }
        }
    }
}

impl Version {
    /// As in a reference, a digest counts instead of a tag, and without either the tag is `latest`, unless the name ends in `*`.
    fn parse(name: &str, tag: Option<&str>, digest: Option<&str>) -> Self {
        match (tag, digest) {
            (_, Some(digest)) => Self::Digest(digest.to_owned()),
            (Some("*"), None) => Self::Any,
            (Some(tag), None) => Self::Tag(tag.to_owned()),
            (None, None) if name.ends_with('*') => Self::Any,
            (None, None) => Self::Tag("latest".into()),
        }
    }

    fn matches(&self, image: &NamedImage) -> bool {
        match (self, &image.digest, &image.tag) {
            (Self::Any, _, _) => true,
            (Self::Digest(pattern), Some(digest), _) => glob::matches(pattern, digest),
            (Self::Tag(pattern), None, Some(tag)) => glob::matches(pattern, tag),
            _ => false,
        }
    }
}

fn has_only(part: &str, is_allowed: impl Fn(u8) -> bool) -> bool {
    !part.is_empty() && part.bytes().all(is_allowed)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn each_part_of_a_pattern_matches_its_part_of_the_reference() {
        let digest = format!("sha256:{}", "a".repeat(64));
        let pinned = format!("alpine@{digest}");
        let tagged_and_pinned = format!("alpine:3@{digest}");
        for (patterns, image, allowed) in [
            ("*", "alpine:5000/evil/x", true),
            ("alpine:*", "alpine", true),
            ("alpine:*", "alpine:3", true),
            ("alpine:*", &pinned, true),
            ("alpine:*", "docker.io/library/alpine:3", true),
            ("alpine:*", "alpine:5000/evil/x", false),
            ("alpine:*", "alpine:5000/evil/x:tag", false),
            ("alpine:*", "me/alpine", false),
            ("alpine:*", "quay.io/library/alpine", false),
            ("alpine", "alpine:latest", true),
            ("alpine", "alpine:3", false),
            ("alpine", &pinned, false),
            ("alpine:3", "alpine:3", true),
            ("alpine:3", "alpine:3.1", false),
            // The engine ignores the tag beside a digest.
            ("alpine:3", &tagged_and_pinned, false),
            ("alpine:3*", "alpine:3.1", true),
            ("alpine@sha256:*", &pinned, true),
            ("alpine@sha256:*", &tagged_and_pinned, true),
            ("alpine@sha256:*", "alpine", false),
            ("alpine*", "alpine-slim:1", true),
            ("alpine*", "alpine.evil.example/x", false),
            ("ghcr.io/acme/*", "ghcr.io/acme/x:1", true),
            ("ghcr.io/acme/*", "ghcr.io/acme/x/y", true),
            ("ghcr.io/acme/*", "ghcr.io/acmes/x", false),
            ("ghcr.io/acme/*", "evil.example/ghcr.io/acme/x", false),
            ("*.example.com/x", "a.example.com/x", true),
            ("*.example.com/x", "a.example.com.evil/x", false),
            ("reg:5000/x:*", "reg:5000/x:1", true),
            ("reg:*/x", "reg:5000/x", true),
            ("reg:5000/*", "reg/x", false),
            ("docker.io/*", "me/x:1", true),
            ("docker.io/*", "quay.io/me/x", false),
            ("a, b", "b", true),
            ("", "a", false),
        ] {
            let parsed = ImagePatterns::parse(patterns).unwrap();
            let reference = ImageReference::parse(image).unwrap();
            assert_eq!(parsed.allow(&reference), allowed, "{patterns} {image}");
        }
    }

    #[test]
    fn only_a_lone_star_allows_an_image_id() {
        let id = ImageReference::parse(&"0a".repeat(32)).unwrap();
        assert!(ImagePatterns::all().allow(&id));
        for patterns in ["docker.io/*", "library/*", "alpine:*"] {
            assert!(!ImagePatterns::parse(patterns).unwrap().allow(&id));
        }
    }

    #[test]
    fn what_can_match_no_reference_is_not_a_pattern() {
        for text in ["Alpine", "a b", "alpine:", "alpine@", "a,b c", "x?"] {
            assert!(ImagePatterns::parse(text).is_err(), "{text}");
        }
    }
}
