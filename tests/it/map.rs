//! The layers of `src/`, and what else keeps to one place.

mod imports;

use imports::{Crate, Graph, circles, grouped};
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
    ("init", &[]),
    ("metrics", &[]),
    ("docker", &["cancel", "metrics"]),
    (
        "edge",
        &[
            "cancel",
            "glob",
            "memory",
            "metrics",
            "problem",
            "random_id",
        ],
    ),
    (
        "http",
        &[
            "cancel",
            "edge",
            "memory",
            "process_identity",
            "problem",
            "random_id",
        ],
    ),
    (
        "runner",
        &[
            "archive",
            "cancel",
            "docker",
            "glob",
            "init",
            "json",
            "memory",
            "metrics",
            "process_identity",
            "problem",
            "random_id",
        ],
    ),
    (
        "rest",
        &[
            "cancel", "http", "json", "memory", "metrics", "problem", "runner",
        ],
    ),
    (
        "mcp",
        &[
            "archive",
            "cancel",
            "http",
            "json",
            "memory",
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
                // There is such a module in tests only.
                let test_only = other == "random";
                assert!(
                    own || test_only || allowed.contains(&other.as_str()),
                    "{} imports crate::{other}",
                    file.display()
                );
            }
        }
    }
}

/// What each room or file of the runner may import of the others.
const RUNNER_ALLOWED: &[(&str, &[&str])] = &[
    ("changes", &[]),
    ("clock", &[]),
    ("reports", &["init", "warm"]),
    ("id", &[]),
    ("policy", &["image_patterns"]),
    ("image", &[]),
    ("image_patterns", &[]),
    ("semaphore", &[]),
    ("error", &[]),
    ("rounds", &[]),
    ("request", &["error", "id", "policy"]),
    ("cleanup", &["id"]),
    ("staging", &["cleanup", "clock", "error"]),
    ("takeover", &["cleanup", "rounds", "staging"]),
    (
        "volumes",
        &[
            "cleanup",
            "error",
            "policy",
            "request",
            "semaphore",
            "staging",
        ],
    ),
    ("init", &["cleanup", "error", "request", "staging"]),
    (
        "run",
        &[
            "cleanup", "clock", "error", "init", "policy", "request", "rounds", "staging",
            "volumes", "warm",
        ],
    ),
    ("warm", &["cleanup", "error", "init", "request"]),
    (
        "jobs",
        &[
            "changes",
            "cleanup",
            "clock",
            "error",
            "policy",
            "request",
            "run",
            "semaphore",
            "staging",
            "takeover",
        ],
    ),
    (
        "plain",
        &["changes", "clock", "error", "jobs", "request", "run"],
    ),
    ("dry_run", &["cleanup", "request", "run"]),
    (
        "facade",
        &[
            "changes", "cleanup", "dry_run", "error", "image", "init", "jobs", "plain", "policy",
            "reports", "request", "rounds", "run", "takeover", "volumes", "warm",
        ],
    ),
    ("mod", &[]),
];

fn import_graph() -> Graph {
    Crate::read(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src")).imports()
}

/// The folder or file right below `folder` that a file is in.
fn part_of(folder: &str, file: &str) -> Option<String> {
    let below = file.strip_prefix(folder)?.split('/').next()?;
    Some(below.trim_end_matches(".rs").to_owned())
}

#[test]
fn rooms_of_the_runner_import_only_what_they_may() {
    let rooms = grouped(&import_graph(), |file| part_of("runner/", file));
    let allowed: Graph = RUNNER_ALLOWED
        .iter()
        .map(|(room, others)| {
            let others = others.iter().map(|other| (*other).to_owned());
            ((*room).to_owned(), others.collect())
        })
        .collect();
    assert_eq!(circles(&allowed), [[""; 0]; 0], "the table has circles");
    for (room, imported) in &rooms {
        let may = allowed.get(room);
        let may = may.unwrap_or_else(|| panic!("runner/{room} is not in the table"));
        let more: Vec<&String> = imported.difference(may).collect();
        assert!(more.is_empty(), "runner/{room} imports {more:?}");
    }
}

#[test]
fn rooms_do_not_import_each_other_in_circles() {
    let rooms = grouped(&import_graph(), |file| part_of("", file));
    assert_eq!(circles(&rooms), [[""; 0]; 0]);
}

#[test]
fn files_do_not_import_each_other_in_circles() {
    let found = circles(&import_graph());
    assert_eq!(found, [[""; 0]; 0]);
}

#[test]
fn only_config_reads_the_environment() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    sources(&src, &mut files);
    // Within a container the variables are the command's.
    let others = ["src/config.rs", "src/init/life.rs"];
    for file in files
        .iter()
        .filter(|file| !others.iter().any(|other| file.ends_with(other)))
    {
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
