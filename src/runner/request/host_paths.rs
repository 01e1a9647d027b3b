//! Paths of the engine's host that a container mounts, and which of them must not be mounted at the same time. Pure.
//!
//! The engine follows symbolic links in the source of a bind mount. A container that may write to a directory can put a link
//! there, so a path below a directory that another container may write to leads wherever that container wants.

use crate::runner::request::mounts::Access;

/// A host path that a container mounts, directly or through a named volume.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct HostClaim {
    /// Absolute, without empty components and `.`.
    pub(crate) path: String,
    pub(crate) access: Access,
}

impl HostClaim {
    pub(crate) fn new(path: &str, access: Access) -> Self {
        let parts = components(path).filter(|part| *part != ".");
        let path: String = parts.flat_map(|part| ["/", part]).collect();
        Self { path, access }
    }

    /// Whether the holder of this claim can replace a component of the other's path.
    pub(crate) fn can_redirect(&self, other: &Self) -> bool {
        let below = other.path.strip_prefix(self.path.as_str());
        self.access == Access::ReadWrite && below.is_some_and(|below| below.starts_with('/'))
    }
}

fn components(path: &str) -> impl Iterator<Item = &str> {
    path.split('/').filter(|part| !part.is_empty())
}

/// The text of a label that has these claims, one a line.
pub(crate) fn to_label(claims: &[HostClaim]) -> String {
    let line = |claim: &HostClaim| {
        let access = match claim.access {
            Access::ReadWrite => "rw",
            Access::ReadOnly => "ro",
        };
        format!("{access} {}", claim.path)
    };
    claims.iter().map(line).collect::<Vec<_>>().join("\n")
}

/// The claims in the text of a label; lines that are none are left out.
pub(crate) fn from_label(text: &str) -> Vec<HostClaim> {
    let claim = |line: &str| {
        let (access, path) = line.split_once(' ')?;
        let access = match access {
            "rw" => Access::ReadWrite,
            "ro" => Access::ReadOnly,
            _ => return None,
        };
        Some(HostClaim::new(path, access))
    };
    text.lines().filter_map(claim).collect()
}

/// A host path as the engine checks it: an allowed directory, and the components below it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct PathBelow {
    /// The outermost allowed path that contains it. Nothing that a run may write is above.
    pub(crate) base: String,
    /// May be empty.
    pub(crate) components: Vec<String>,
}

/// Splits a path at the outermost allowed path that contains it. `None`: there is none.
pub(crate) fn below_outermost(allowed: &[String], path: &str) -> Option<PathBelow> {
    let path: Vec<&str> = components(path).collect();
    let bases = allowed.iter().map(|base| {
        components(base)
            .filter(|part| *part != ".")
            .collect::<Vec<_>>()
    });
    let base = bases
        .filter(|base| path.starts_with(base))
        .min_by_key(Vec::len)?;
    Some(PathBelow {
        base: format!("/{}", base.join("/")),
        components: path[base.len()..]
            .iter()
            .map(|part| (*part).to_owned())
            .collect(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_writer_of_a_directory_above_can_redirect_a_path() {
        use Access::{ReadOnly, ReadWrite};
        for (writer, access, path, expected) in [
            ("/srv", ReadWrite, "/srv/data", true),
            ("/srv/", ReadWrite, "//srv/./data/x", true),
            ("/", ReadWrite, "/srv", true),
            ("/srv", ReadOnly, "/srv/data", false),
            ("/srv/data", ReadWrite, "/srv/data", false),
            ("/srv/data", ReadWrite, "/srv/database", false),
            ("/srv/data/x", ReadWrite, "/srv/data", false),
        ] {
            let writer = HostClaim::new(writer, access);
            let other = HostClaim::new(path, ReadOnly);
            assert_eq!(
                writer.can_redirect(&other),
                expected,
                "{writer:?} {other:?}"
            );
        }
    }

    #[test]
    fn claims_are_read_from_a_label_as_they_were_written() {
        let claims = [
            HostClaim::new("/srv/a b", Access::ReadWrite),
            HostClaim::new("/etc", Access::ReadOnly),
        ];
        assert_eq!(from_label(&to_label(&claims)), claims);
        assert_eq!(from_label("what\nxx /y\n"), []);
        assert_eq!(from_label(""), []);
    }

    #[test]
    fn a_path_is_split_at_the_outermost_allowed_directory() {
        let allowed = ["/srv/data/deep/".to_owned(), "/srv/data".to_owned()];
        let split = |path| below_outermost(&allowed, path);
        let below = |components: &[&str]| {
            Some(PathBelow {
                base: "/srv/data".into(),
                components: components.iter().map(|part| (*part).to_owned()).collect(),
            })
        };
        assert_eq!(split("/srv/data"), below(&[]));
        assert_eq!(split("/srv/data/deep/x"), below(&["deep", "x"]));
        assert_eq!(split("/srv/database"), None);
        assert_eq!(split("/"), None);
    }
}
