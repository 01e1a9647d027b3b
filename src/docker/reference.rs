//! Image references: parsing and normalisation by the
//! [distribution grammar](https://pkg.go.dev/github.com/distribution/reference), so that a reference means the same to
//! every engine and to the allow-list. Pure.

/// Most bytes of registry and repository together.
const MOST_NAME_BYTES: usize = 255;
const MOST_TAG_BYTES: usize = 128;
const DEFAULT_REGISTRY: &str = "docker.io";
const DEFAULT_TAG: &str = "latest";
/// Digest algorithms that registries use, and the number of hexadecimal digits of each.
const DIGESTS: [(&str, usize); 3] = [("sha256", 64), ("sha384", 96), ("sha512", 128)];

/// What a checked reference names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ImageReference {
    /// An image of a registry.
    Named(NamedImage),
    /// An image of the engine, by the 64 hexadecimal digits of its id.
    Id(String),
}

/// A normalised reference: registry and repository are complete, and there is a tag or a digest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NamedImage {
    /// `docker.io`, or a host name with an optional port.
    pub registry: String,
    /// Such as `library/alpine`.
    pub repository: String,
    /// `latest` if the reference has neither tag nor digest.
    pub tag: Option<String>,
    /// `algorithm:digits`. It decides which image is meant; a tag beside it is ignored.
    pub digest: Option<String>,
}

impl ImageReference {
    /// Parses `[registry/]repository[:tag][@digest]`, or an image id: `sha256:` and 64 digits, or the digits alone. Errors: what
    /// is wrong, without the reference.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        if let Some(id) = image_id(text)? {
            return Ok(Self::Id(id));
        }
        let (named, digest) = match text.split_once('@') {
            Some((named, digest)) => (named, Some(checked_digest(digest)?)),
            None => (text, None),
        };
        let (name, tag) = split_tag(named);
        let tag = tag.map(checked_tag).transpose()?;
        let (registry, repository) = split_registry(name);
        check_registry(registry)?;
        check_repository(repository)?;
        if registry.len() + 1 + repository.len() > MOST_NAME_BYTES {
            return Err("registry and repository are longer than 255 bytes");
        }
        let default_tag = || digest.is_none().then(|| DEFAULT_TAG.to_owned());
        Ok(Self::Named(NamedImage {
            tag: tag.or_else(default_tag),
            registry: registry.to_owned(),
            repository: full_repository(registry, repository),
            digest,
        }))
    }
}

/// The reference with `:latest` where it has neither tag nor digest: without one, an engine takes a name for the start of an
/// image id too. The text must be a checked reference.
pub fn with_explicit_tag(text: &str) -> String {
    let is_complete = text.contains('@') || split_tag(text).1.is_some();
    match ImageReference::parse(text) {
        Ok(ImageReference::Named(_)) if !is_complete => format!("{text}:{DEFAULT_TAG}"),
        _ => text.to_owned(),
    }
}

/// Splits a name without digest into registry and repository as written, and the tag. Only a colon after the last slash
/// starts a tag; any other belongs to a port.
pub fn split_tag(named: &str) -> (&str, Option<&str>) {
    match named.rsplit_once(':') {
        Some((name, tag)) if !tag.contains('/') => (name, Some(tag)),
        _ => (named, None),
    }
}

/// Splits a name into registry and repository. The part before the first slash is a registry if it has a dot or a colon, or is
/// `localhost`; otherwise the registry is Docker Hub.
pub fn split_registry(name: &str) -> (&str, &str) {
    match name.split_once('/') {
        Some(("index.docker.io", rest)) => (DEFAULT_REGISTRY, rest),
        Some((first, rest)) if first == "localhost" || first.contains(['.', ':']) => (first, rest),
        _ => (DEFAULT_REGISTRY, name),
    }
}

/// The repository with the `library/` that references to Docker Hub leave out.
pub fn full_repository(registry: &str, repository: &str) -> String {
    match registry == DEFAULT_REGISTRY && !repository.contains('/') {
        true => format!("library/{repository}"),
        false => repository.to_owned(),
    }
}

/// Registry and repository of a checked reference, complete and without tag and digest.
pub fn full_name(reference: &str) -> String {
    let named = reference.split('@').next().unwrap_or(reference);
    let (registry, repository) = split_registry(split_tag(named).0);
    format!("{registry}/{}", full_repository(registry, repository))
}

/// The digits of an image id. `None`: the text is none. Engines take `sha256:` and any number of digits for the start of an id,
/// so that fewer than 64 are an error here.
fn image_id(text: &str) -> Result<Option<String>, &'static str> {
    let is_id = |digits: &str| digits.len() == 64 && digits.bytes().all(is_lower_hex);
    match text.strip_prefix("sha256:") {
        Some(digits) if is_id(digits) => Ok(Some(digits.to_owned())),
        Some(_) => Err("an image id is sha256: and 64 lower-case hexadecimal digits"),
        None if is_id(text) => Ok(Some(text.to_owned())),
        None => Ok(None),
    }
}

fn checked_tag(tag: &str) -> Result<String, &'static str> {
    let is_word = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
    let is_valid = tag.bytes().next().is_some_and(is_word)
        && tag.bytes().all(|b| is_word(b) || b == b'.' || b == b'-')
        && tag.len() <= MOST_TAG_BYTES;
    match is_valid {
        true => Ok(tag.to_owned()),
        false => Err(
            "a tag is 1 to 128 letters, digits, '_', '.' and '-', and does not start with '.' or '-'",
        ),
    }
}

fn checked_digest(digest: &str) -> Result<String, &'static str> {
    let is_valid = digest.split_once(':').is_some_and(|(algorithm, digits)| {
        DIGESTS.contains(&(algorithm, digits.len())) && digits.bytes().all(is_lower_hex)
    });
    match is_valid {
        true => Ok(digest.to_owned()),
        false => Err(
            "a digest is sha256:, sha384: or sha512: with all its lower-case hexadecimal digits",
        ),
    }
}

/// A host name, an IPv4 address or an IPv6 address in brackets, with an optional port.
fn check_registry(registry: &str) -> Result<(), &'static str> {
    let (host, port) = match registry.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => (host, Some(port)),
        _ => (registry, None),
    };
    let is_port =
        |port: &str| (1..=5).contains(&port.len()) && port.bytes().all(|b| b.is_ascii_digit());
    let bracketed = host
        .strip_prefix('[')
        .and_then(|host| host.strip_suffix(']'));
    let is_host = match bracketed {
        Some(address) => address.parse::<std::net::Ipv6Addr>().is_ok(),
        None => host.split('.').all(is_domain_component),
    };
    match is_host && port.is_none_or(is_port) {
        true => Ok(()),
        false => Err("the registry is not a host name or address with an optional port"),
    }
}

fn is_domain_component(part: &str) -> bool {
    !part.is_empty()
        && !part.starts_with('-')
        && !part.ends_with('-')
        && part.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
}

fn check_repository(repository: &str) -> Result<(), &'static str> {
    match repository.split('/').all(is_path_component) {
        true => Ok(()),
        false => Err(
            "each part of a repository is lower-case letters and digits, separated by '.', '_', '__' or any number of '-'",
        ),
    }
}

fn is_path_component(part: &str) -> bool {
    let is_alphanumeric = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let bytes = part.as_bytes();
    let is_bounded = bytes.first().copied().is_some_and(is_alphanumeric)
        && bytes.last().copied().is_some_and(is_alphanumeric);
    is_bounded
        && part
            .split(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit())
            .all(|between| {
                matches!(between, "" | "." | "_" | "__") || between.bytes().all(|b| b == b'-')
            })
}

fn is_lower_hex(byte: u8) -> bool {
    matches!(byte, b'0'..=b'9' | b'a'..=b'f')
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic)]
mod tests {
    use super::*;

    fn parts(text: &str) -> (String, String, Option<String>, Option<String>) {
        match ImageReference::parse(text) {
            Ok(ImageReference::Named(image)) => {
                (image.registry, image.repository, image.tag, image.digest)
            }
            other => panic!("{text}: {other:?}"),
        }
    }

    #[test]
    fn references_are_normalised() {
        let digest = format!("sha256:{}", "a".repeat(64));
        let hub = "docker.io";
        for (text, registry, repository, tag) in [
            ("alpine", hub, "library/alpine", Some("latest")),
            ("alpine:3", hub, "library/alpine", Some("3")),
            ("docker.io/alpine", hub, "library/alpine", Some("latest")),
            ("index.docker.io/a/b", hub, "a/b", Some("latest")),
            ("me/a__b-c--d:T.a-g", hub, "me/a__b-c--d", Some("T.a-g")),
            ("localhost/x", "localhost", "x", Some("latest")),
            ("alpine:5000/x", "alpine:5000", "x", Some("latest")),
            ("Reg.Example:80/a/b:1", "Reg.Example:80", "a/b", Some("1")),
            ("[::1]:5000/x", "[::1]:5000", "x", Some("latest")),
        ] {
            let tag = tag.map(str::to_owned);
            let expected = (registry.to_owned(), repository.to_owned(), tag, None);
            assert_eq!(parts(text), expected, "{text}");
        }
        let (_, _, tag, found) = parts(&format!("reg:5000/x@{digest}"));
        assert_eq!((tag, found), (None, Some(digest.clone())));
        let (_, _, tag, found) = parts(&format!("x:1@{digest}"));
        assert_eq!((tag.as_deref(), found), (Some("1"), Some(digest)));
    }

    #[test]
    fn what_the_grammar_does_not_have_is_refused() {
        let long_tag = format!("alpine:{}", "t".repeat(129));
        let long_name = "a/".repeat(128) + "a";
        for text in [
            "",
            "UPPER/case",
            "Alpine",
            "alpine:",
            ":tag",
            "a//b",
            "/x",
            "x/",
            "-alpine",
            "alpine-",
            "a..b",
            "a.-b",
            "a___b",
            "a+b",
            "a b",
            "é",
            "a:b:c",
            "alpine:-x",
            "alpine:.x",
            "reg:port/x",
            "reg:123456/x",
            "-reg.example/x",
            "reg.example./x",
            "[::g]/x",
            "alpine@",
            "alpine@sha256:12",
            "alpine@md5:00",
            &format!("alpine@sha256:{}", "A".repeat(64)),
            &format!("alpine@sha256:{}@sha256:{}", "a".repeat(64), "a".repeat(64)),
            "sha256:",
            "sha256:abcd",
            &long_tag,
            &long_name,
        ] {
            assert!(ImageReference::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn ids_are_complete_and_names_get_a_tag_so_that_no_engine_takes_them_for_ids() {
        let digits = "0a".repeat(32);
        for id in [digits.clone(), format!("sha256:{digits}")] {
            let parsed = ImageReference::parse(&id);
            assert_eq!(parsed, Ok(ImageReference::Id(digits.clone())));
            assert_eq!(with_explicit_tag(&id), id);
        }
        let by_digest = format!("x@sha256:{digits}");
        for (text, complete) in [
            ("0a0a0a0a", "0a0a0a0a:latest"),
            ("reg:5000/x", "reg:5000/x:latest"),
            ("x:1", "x:1"),
            (&by_digest, &by_digest),
        ] {
            assert_eq!(with_explicit_tag(text), complete);
        }
    }
}
