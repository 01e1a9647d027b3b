//! Mutated image references, beside the regular expressions of the
//! [distribution grammar](https://pkg.go.dev/github.com/distribution/reference#pkg-overview). `FUZZ_TIMES=100` searches a
//! hundred times as long.

use super::reference::{ImageReference, NamedImage, full_name, with_explicit_tag};
use crate::random::{Random, rounds};
use regex::Regex;

const REFERENCES: &str = include_str!("../../tests/corpus/image_references.txt");

/// What references are made of, and what breaks their parts.
const WORDS: [&str; 30] = [
    "/",
    "//",
    ":",
    "::",
    "@",
    "@sha256:",
    "sha256:",
    ".",
    "..",
    "_",
    "__",
    "___",
    "-",
    "--",
    "A",
    "z",
    "0",
    "5000",
    ":5000/",
    "localhost/",
    "docker.io/",
    "index.docker.io/",
    "library/",
    "[::1]",
    "[",
    "]",
    "+",
    " ",
    "\u{e9}",
    "\n",
];

/// The grammar as `github.com/distribution/reference` has it in `regexp.go`.
struct Grammar {
    reference: Regex,
    domain: Regex,
}

impl Grammar {
    fn new() -> Self {
        let component = "(?:[a-zA-Z0-9]|[a-zA-Z0-9][a-zA-Z0-9-]*[a-zA-Z0-9])";
        let host = format!("(?:{component}(?:\\.{component})*|\\[[a-fA-F0-9:]+\\])");
        let domain = format!("{host}(?::[0-9]+)?");
        let part = "[a-z0-9]+(?:(?:[._]|__|[-]+)[a-z0-9]+)*";
        let path = format!("{part}(?:/{part})*");
        let tag = "[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}";
        let digest = "[A-Za-z][A-Za-z0-9]*(?:[-_+.][A-Za-z][A-Za-z0-9]*)*:[0-9a-fA-F]{32,}";
        let reference = format!("^((?:{domain}/)?{path})(?::({tag}))?(?:@({digest}))?$");
        Self {
            reference: Regex::new(&reference).unwrap(),
            domain: Regex::new(&format!("^{domain}$")).unwrap(),
        }
    }

    /// `ParseNormalizedNamed`: a name without registry is one of Docker Hub. `None`: the grammar does not have it.
    fn parse(&self, text: &str) -> Option<NamedImage> {
        let found = self.reference.captures(text)?;
        let name = &found[1];
        let (registry, rest) = match name.split_once('/') {
            Some((first, rest)) if first.contains(['.', ':']) || first == "localhost" => {
                (first, rest)
            }
            _ => ("docker.io", name),
        };
        let (registry, rest) = match registry {
            "index.docker.io" => ("docker.io", rest),
            other => (other, rest),
        };
        // The path must not have upper case, which the expression allows for what could be a host.
        if rest.bytes().any(|byte| byte.is_ascii_uppercase())
            || registry.len() + 1 + rest.len() > 255
        {
            return None;
        }
        let is_short = registry == "docker.io" && !rest.contains('/');
        let digest = found.get(3).map(|digest| digest.as_str().to_owned());
        let tag = found.get(2).map(|tag| tag.as_str().to_owned());
        Some(NamedImage {
            registry: registry.to_owned(),
            repository: if is_short {
                format!("library/{rest}")
            } else {
                rest.to_owned()
            },
            tag: tag.or_else(|| digest.is_none().then(|| "latest".to_owned())),
            digest,
        })
    }
}

/// Whether this is refused here though the grammar has it: an unusual digest, a registry that is no host with a port, or what
/// engines could take for an image id.
fn is_refused_beyond_the_grammar(grammar: &Grammar, text: &str, image: &NamedImage) -> bool {
    let digits = |digest: &str| {
        digest
            .split_once(':')
            .map(|(kind, digits)| (kind.to_owned(), digits.to_owned()))
    };
    let is_unusual = image
        .digest
        .as_deref()
        .and_then(digits)
        .is_some_and(|(kind, digits)| {
            let lengths = [("sha256", 64), ("sha384", 96), ("sha512", 128)];
            !lengths.contains(&(kind.as_str(), digits.len()))
                || digits.bytes().any(|byte| byte.is_ascii_uppercase())
        });
    let port = image.registry.rsplit_once(':').map_or("", |(_, port)| port);
    let address = image
        .registry
        .strip_prefix('[')
        .and_then(|rest| rest.split_once(']'));
    let is_no_address =
        address.is_some_and(|(address, _)| address.parse::<std::net::Ipv6Addr>().is_err());
    let is_like_an_id = text.starts_with("sha256:");
    let is_host = grammar.domain.is_match(&image.registry);
    is_unusual || !is_host || port.len() > 5 || is_no_address || is_like_an_id
}

fn written(image: &NamedImage) -> String {
    let tag = image
        .tag
        .as_ref()
        .map_or(String::new(), |tag| format!(":{tag}"));
    let digest = image
        .digest
        .as_ref()
        .map_or(String::new(), |digest| format!("@{digest}"));
    format!("{}/{}{tag}{digest}", image.registry, image.repository)
}

#[test]
fn a_mutated_reference_means_what_the_distribution_grammar_says_or_is_refused() {
    let grammar = Grammar::new();
    let seeds: Vec<&str> = REFERENCES.lines().collect();
    let (mut accepted, mut refused) = (0, 0);
    for number in 0..rounds(40_000) {
        let mut random = Random(number);
        let seed = *random.pick(&seeds);
        let text = random.mutated_text(seed, &WORDS);
        match (ImageReference::parse(&text), grammar.parse(&text)) {
            (Ok(ImageReference::Named(ours)), theirs) => {
                assert_eq!(Some(&ours), theirs.as_ref(), "{text:?}");
                accepted += 1;
                // Written out, it means the same.
                let again = ImageReference::parse(&written(&ours));
                assert_eq!(again, Ok(ImageReference::Named(ours.clone())), "{text:?}");
                let explicit = ImageReference::parse(&with_explicit_tag(&text));
                assert_eq!(
                    explicit,
                    Ok(ImageReference::Named(ours.clone())),
                    "{text:?}"
                );
                assert_eq!(
                    full_name(&text),
                    format!("{}/{}", ours.registry, ours.repository)
                );
            }
            (Ok(ImageReference::Id(digits)), _) => {
                assert_eq!(text.strip_prefix("sha256:").unwrap_or(&text), digits);
                assert!(
                    digits.len() == 64
                        && digits
                            .bytes()
                            .all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
                );
            }
            (Err(_), None) => refused += 1,
            (Err(why), Some(theirs)) => {
                assert!(
                    is_refused_beyond_the_grammar(&grammar, &text, &theirs),
                    "{text:?}: {why}"
                );
                refused += 1;
            }
        }
    }
    assert!(
        accepted > 4000 && refused > 4000,
        "{accepted} accepted, {refused} refused"
    );
}
