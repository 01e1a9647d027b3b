//! Platforms as Docker takes them (<https://pkg.go.dev/github.com/containerd/platforms#Parse>): `os`, `arch`, `os/arch` or
//! `os/arch/variant`, in any of the usual names.

use std::fmt;

/// Operating systems and architectures that may stand alone.
const SYSTEMS: [&str; 6] = ["linux", "windows", "darwin", "freebsd", "netbsd", "openbsd"];
const ARCHITECTURES: [&str; 13] = [
    "386", "amd64", "arm", "arm64", "loong64", "mips64", "mips64le", "ppc64", "ppc64le", "riscv64",
    "s390x", "mips", "mipsle",
];
const LONGEST: usize = 255;

/// A platform by its usual names. A part that is empty matches any.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Platform {
    os: String,
    architecture: String,
    variant: String,
}

impl Platform {
    /// Reads what a caller wrote. `None`: it is no platform.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let is_part = |part: &str| {
            let is_valid = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
            !part.is_empty() && part.chars().all(is_valid)
        };
        let parts: Vec<&str> = text.split('/').collect();
        if text.len() > LONGEST || !parts.iter().all(|part| is_part(part)) {
            return None;
        }
        match parts[..] {
            [only] => Self::of_one_word(only),
            [os, architecture] => Some(Self::new(os, architecture, "")),
            [os, architecture, variant] => Some(Self::new(os, architecture, variant)),
            _ => None,
        }
    }

    fn of_one_word(word: &str) -> Option<Self> {
        let system = Self::new(word, "", "");
        if SYSTEMS.contains(&system.os.as_str()) {
            return Some(system);
        }
        let machine = Self::new("linux", word, "");
        ARCHITECTURES
            .contains(&machine.architecture.as_str())
            .then_some(machine)
    }

    /// The platform with these parts, each in any of its names; empty where it is not known.
    pub(crate) fn new(os: &str, architecture: &str, variant: &str) -> Self {
        let os = match os.to_ascii_lowercase().as_str() {
            "macos" => "darwin".to_owned(),
            other => other.to_owned(),
        };
        let (architecture, variant) = (
            architecture.to_ascii_lowercase(),
            variant.to_ascii_lowercase(),
        );
        let (architecture, variant) = match (architecture.as_str(), variant.as_str()) {
            ("i386", _) => ("386", ""),
            ("x86_64" | "x86-64" | "amd64", "v1") => ("amd64", ""),
            ("x86_64" | "x86-64", variant) => ("amd64", variant),
            ("aarch64" | "arm64", "8" | "v8") => ("arm64", ""),
            ("aarch64", variant) => ("arm64", variant),
            ("armhf", _) => ("arm", "v7"),
            ("armel", _) => ("arm", "v6"),
            ("arm", "5") => ("arm", "v5"),
            ("arm", "6") => ("arm", "v6"),
            ("arm", "7") => ("arm", "v7"),
            ("arm", "8") => ("arm", "v8"),
            others => others,
        };
        Self {
            os,
            architecture: architecture.to_owned(),
            variant: variant.to_owned(),
        }
    }

    /// Whether something for the platform `other` is for this one. Parts that either of them does not name match any.
    pub(crate) fn matches(&self, other: &Self) -> bool {
        let is_same =
            |ours: &str, theirs: &str| ours.is_empty() || theirs.is_empty() || ours == theirs;
        is_same(&self.os, &other.os)
            && is_same(&self.architecture, &other.architecture)
            && is_same(&self.variant, &other.variant)
    }
}

/// As the engine takes it.
impl fmt::Display for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.os)?;
        for part in [&self.architecture, &self.variant] {
            if !part.is_empty() {
                write!(f, "/{part}")?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::Platform;

    #[test]
    fn every_name_of_a_platform_is_read_as_docker_reads_it() {
        for (text, expected) in [
            ("linux/amd64", Some("linux/amd64")),
            ("linux/x86_64", Some("linux/amd64")),
            ("Linux/X86-64", Some("linux/amd64")),
            ("linux/amd64/v1", Some("linux/amd64")),
            ("linux/amd64/v3", Some("linux/amd64/v3")),
            ("amd64", Some("linux/amd64")),
            ("x86_64", Some("linux/amd64")),
            ("linux", Some("linux")),
            ("arm64", Some("linux/arm64")),
            ("aarch64", Some("linux/arm64")),
            ("linux/arm64/v8", Some("linux/arm64")),
            ("linux/arm64/8", Some("linux/arm64")),
            ("linux/aarch64", Some("linux/arm64")),
            ("linux/arm", Some("linux/arm")),
            ("linux/arm/7", Some("linux/arm/v7")),
            ("armhf", Some("linux/arm/v7")),
            ("linux/armel", Some("linux/arm/v6")),
            ("i386", Some("linux/386")),
            ("linux/386", Some("linux/386")),
            ("macos/arm64", Some("darwin/arm64")),
            ("windows/amd64", Some("windows/amd64")),
            ("linux/s390x", Some("linux/s390x")),
            ("something", None),
            ("", None),
            ("linux/", None),
            ("/amd64", None),
            ("linux/amd64/v2/x", None),
            ("linux amd64", None),
            ("linux/am d64", None),
        ] {
            let found = Platform::parse(text).map(|platform| platform.to_string());
            assert_eq!(found.as_deref(), expected, "{text}");
        }
        assert_eq!(Platform::parse(&"a/".repeat(200)), None);
    }

    #[test]
    fn an_image_is_for_a_platform_whatever_each_of_them_leaves_out() {
        for (wanted, image, expected) in [
            ("linux/arm64/v8", ("linux", "arm64", ""), true),
            ("linux/arm64", ("linux", "arm64", "v8"), true),
            ("linux/x86_64", ("linux", "amd64", ""), true),
            ("linux", ("linux", "amd64", ""), true),
            ("amd64", ("linux", "amd64", "v1"), true),
            ("linux/arm/v7", ("linux", "arm", ""), true),
            ("linux/arm/v7", ("linux", "arm", "v6"), false),
            ("linux/arm64", ("linux", "amd64", ""), false),
            ("windows", ("linux", "amd64", ""), false),
            ("amd64", ("", "", ""), true),
        ] {
            let image = Platform::new(image.0, image.1, image.2);
            let wanted = Platform::parse(wanted).unwrap();
            assert_eq!(wanted.matches(&image), expected, "{wanted} {image}");
        }
    }
}
