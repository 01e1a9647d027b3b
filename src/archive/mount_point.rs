//! Places within a packed directory at which something else will be mounted.

/// A place at which something is mounted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MountPoint {
    /// Path below the packed directory, normalised.
    pub name: String,
    /// What has to be there.
    pub kind: MountPointKind,
}

/// What a mount point has to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MountPointKind {
    /// A file.
    File,
    /// A directory.
    Directory,
    /// One of the two, which is not known; only the directories above it are made.
    Unknown,
}
