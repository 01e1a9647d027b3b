//! The engines: from which suite of Debian each comes, and how it is started.

/// A suite of Debian whose packages are unpacked into one directory.
pub struct Suite {
    pub name: &'static str,
    pub packages: &'static [&'static str],
}

pub const BOOKWORM: Suite = Suite {
    name: "bookworm",
    packages: &["docker.io"],
};
pub const TRIXIE: Suite = Suite {
    name: "trixie",
    packages: &["docker.io", "runsc"],
};
pub const FORKY: Suite = Suite {
    name: "forky",
    packages: &[
        "docker.io",
        "docker-cli",
        "podman",
        "aardvark-dns",
        "busybox-static",
        "catatonit",
        "crun",
        "gzip",
        "liblzma5",
        "netavark",
        "nftables",
        "rootlesskit",
        "slirp4netns",
        "tar",
        "uidmap",
        "linux-image-cloud-amd64",
    ],
};

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// dockerd, with this configuration file.
    Docker(&'static str),
    /// dockerd, started by a user by the script that Docker has for that.
    Rootless,
    Podman,
    /// dockerd in an emulated machine with a kernel of its own.
    Machine,
}

/// One row of the table.
pub struct Engine {
    /// For the command line, and for files.
    pub name: &'static str,
    pub title: &'static str,
    pub suite: &'static Suite,
    pub kind: Kind,
}

pub const ENGINES: &[Engine] = &[
    Engine {
        name: "docker-20",
        title: "Docker Engine 20.10 (Debian bookworm)",
        suite: &BOOKWORM,
        kind: Kind::Docker("{}"),
    },
    Engine {
        name: "docker-26",
        title: "Docker Engine 26.1 (Debian trixie)",
        suite: &TRIXIE,
        kind: Kind::Docker("{}"),
    },
    // Not forky's gVisor, 2026: as Debian builds it, it panics at random in whatever sleeps.
    Engine {
        name: "runsc",
        title: "the same with the runtime `runsc` (gVisor)",
        suite: &TRIXIE,
        kind: Kind::Docker(
            r#"{"default-runtime": "runsc", "runtimes": {"runsc": {"path": "/usr/bin/runsc",
                "runtimeArgs": ["--network=none", "--ignore-cgroups", "--overlay2=none"]}}}"#,
        ),
    },
    Engine {
        name: "docker-28",
        title: "Docker Engine 28.5 (Debian forky)",
        suite: &FORKY,
        kind: Kind::Docker("{}"),
    },
    Engine {
        name: "containerd",
        title: "the same with the containerd image store, as in Engine 29",
        suite: &FORKY,
        kind: Kind::Docker(r#"{"features": {"containerd-snapshotter": true}}"#),
    },
    Engine {
        name: "rootless",
        title: "Docker Engine 28.5, rootless on control groups v1",
        suite: &FORKY,
        kind: Kind::Rootless,
    },
    Engine {
        name: "podman",
        title: "Podman 5.8 (Debian forky), through its Docker socket",
        suite: &FORKY,
        kind: Kind::Podman,
    },
    Engine {
        name: "cgroup-v2",
        title: "Docker Engine 28.5 on control groups v2, in an emulated machine",
        suite: &FORKY,
        kind: Kind::Machine,
    },
];
