//! The house keeps to its own map.

use oneoff_docker_runner::config::SETTINGS;
use std::path::{Path, PathBuf};

fn sources(dir: &Path, found: &mut Vec<PathBuf>) {
    for item in std::fs::read_dir(dir).unwrap() {
        let path = item.unwrap().path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

/// What each room may import of the others.
const ALLOWED: &[(&str, &[&str])] = &[
    ("archive", &[]),
    ("metrics", &[]),
    ("docker", &["cancel", "metrics"]),
    (
        "edge",
        &["cancel", "glob", "metrics", "problem", "random_id"],
    ),
    (
        "http",
        &["cancel", "edge", "process_identity", "problem", "random_id"],
    ),
    (
        "runner",
        &[
            "archive",
            "cancel",
            "docker",
            "glob",
            "metrics",
            "process_identity",
            "problem",
            "random_id",
        ],
    ),
    ("rest", &["cancel", "http", "metrics", "problem", "runner"]),
    (
        "mcp",
        &[
            "archive",
            "cancel",
            "http",
            "metrics",
            "problem",
            "random_id",
            "runner",
        ],
    ),
];

#[test]
fn imports_point_one_way() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    for (room, allowed) in ALLOWED {
        let mut files = Vec::new();
        sources(&src.join(room), &mut files);
        assert!(!files.is_empty(), "{room} is on the map");
        for file in files {
            let text = std::fs::read_to_string(&file).unwrap();
            let code = text
                .lines()
                .filter(|line| !line.trim_start().starts_with("//"));
            for named in code.flat_map(|line| line.split("crate::").skip(1)) {
                let other: String = named
                    .chars()
                    .take_while(|c| c.is_alphanumeric() || *c == '_')
                    .collect();
                let own = other == *room || other.is_empty();
                assert!(
                    own || allowed.contains(&other.as_str()),
                    "{} imports crate::{other}",
                    file.display()
                );
            }
        }
    }
}

#[test]
fn only_config_reads_the_environment() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    sources(&src, &mut files);
    for file in files.iter().filter(|file| !file.ends_with("config.rs")) {
        let text = std::fs::read_to_string(file).unwrap();
        let code = text.split("#[cfg(test)]").next().unwrap();
        for reading in ["env::var(", "env::var_os(", "env::vars("] {
            assert!(
                !code.contains(reading),
                "{} reads the environment",
                file.display()
            );
        }
    }
}

#[test]
fn the_readmes_configuration_table_is_the_programs() {
    let readme =
        std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md")).unwrap();
    let row = |setting: &oneoff_docker_runner::config::Setting| {
        let default = if setting.default.is_empty() {
            String::new()
        } else {
            format!("`{}` ", setting.default)
        };
        format!("| `{}` | {default}| {} |", setting.name, setting.meaning)
    };
    let rows: Vec<String> = SETTINGS.iter().map(row).collect();
    let written: Vec<&str> = readme
        .lines()
        .skip_while(|line| !line.starts_with("| variable |"))
        .skip(2)
        .take_while(|line| line.starts_with('|'))
        .collect();
    assert_eq!(
        written,
        rows,
        "README.md's table should read:\n{}",
        rows.join("\n")
    );
}
