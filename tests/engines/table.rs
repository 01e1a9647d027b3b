//! The table, engine by capability, as Markdown. README has the same text.

use crate::core::{CORE, SHORT};
use crate::engine::{Engine, Kind};
use crate::exceptions;
use crate::outcome::Outcome;

/// One engine with what was seen.
pub struct Row {
    title: &'static str,
    cells: Vec<Cell>,
    /// What is not as expected.
    pub faults: Vec<String>,
    pub passed: usize,
}

enum Cell {
    NotTried,
    Holds { except: Vec<&'static str> },
    Fails,
}

impl Row {
    pub fn new(engine: &Engine, outcome: &Outcome) -> Self {
        let mut row = Self {
            title: engine.title,
            cells: Vec::new(),
            faults: Vec::new(),
            passed: 0,
        };
        if let Some(why) = &outcome.failure {
            row.faults.push(format!("{}: {why}", engine.title));
            row.cells.extend(CORE.iter().map(|_| Cell::Fails));
            return row;
        }
        for capability in CORE {
            let tests: Vec<&str> = capability
                .tests
                .iter()
                .copied()
                .filter(|test| is_run_on(engine, test))
                .collect();
            let cell = row.cell(engine, outcome, &tests);
            row.cells.push(cell);
        }
        row
    }

    fn cell(&mut self, engine: &Engine, outcome: &Outcome, tests: &[&str]) -> Cell {
        if tests.is_empty() {
            return Cell::NotTried;
        }
        let before = self.faults.len();
        let mut except = Vec::new();
        for test in tests {
            let exception = exceptions::find(engine.name, test);
            match (outcome.of(test), exception) {
                (_, Some(known)) if known.words.is_none() => except.push(known.reason),
                (Ok(()), None) => self.passed += 1,
                (Ok(()), Some(_)) => self.fault(engine, test, "the exception holds no longer"),
                (Err(said), Some(known))
                    if known.words.is_some_and(|words| said.contains(words)) =>
                {
                    except.push(known.reason);
                }
                (Err(said), _) => self.fault(engine, test, said),
            }
        }
        except.dedup();
        match self.faults.len() == before {
            true => Cell::Holds { except },
            false => Cell::Fails,
        }
    }

    fn fault(&mut self, engine: &Engine, test: &str, said: &str) {
        self.faults
            .push(format!("{} on {}: {said}", test, engine.title));
    }
}

/// The tests of an engine.
pub fn tests_of(engine: &Engine) -> Vec<&'static str> {
    CORE.iter()
        .flat_map(|capability| capability.tests)
        .copied()
        .filter(|test| is_run_on(engine, test))
        .filter(|test| {
            exceptions::find(engine.name, test).is_none_or(|known| known.words.is_some())
        })
        .collect()
}

/// The tests that failed and should not have.
pub fn unexpected(engine: &Engine, outcome: &Outcome) -> Vec<&'static str> {
    let tests = tests_of(engine).into_iter();
    tests
        .filter(|test| outcome.of(test).is_err() && exceptions::find(engine.name, test).is_none())
        .collect()
}

fn is_run_on(engine: &Engine, test: &str) -> bool {
    engine.kind != Kind::Machine || SHORT.contains(&test)
}

pub fn markdown(rows: &[Row]) -> String {
    let mut lines = vec![head(), rule()];
    let mut notes: Vec<&str> = Vec::new();
    for row in rows {
        let cells: Vec<String> = row
            .cells
            .iter()
            .map(|cell| text(cell, &mut notes))
            .collect();
        lines.push(format!("| {} | {} |", row.title, cells.join(" | ")));
    }
    if !notes.is_empty() {
        lines.push(String::new());
    }
    for (index, note) in notes.iter().enumerate() {
        lines.push(format!("{}. {note}", index + 1));
    }
    lines.join("\n")
}

fn head() -> String {
    let names: Vec<&str> = CORE.iter().map(|capability| capability.name).collect();
    format!("| engine | {} |", names.join(" | "))
}

fn rule() -> String {
    format!("|---|{}", "---|".repeat(CORE.len()))
}

fn text<'a>(cell: &Cell, notes: &mut Vec<&'a str>) -> String
where
    'static: 'a,
{
    let except = match cell {
        Cell::NotTried => return "not tried".into(),
        Cell::Fails => return "**fails**".into(),
        Cell::Holds { except } if except.is_empty() => return "yes".into(),
        Cell::Holds { except } => except,
    };
    let numbers: Vec<String> = except
        .iter()
        .map(|reason| {
            let known = notes.iter().position(|note| note == reason);
            let index = known.unwrap_or_else(|| {
                notes.push(reason);
                notes.len() - 1
            });
            format!("({})", index + 1)
        })
        .collect();
    format!("but {}", numbers.join(" "))
}

pub fn readme() -> String {
    std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/README.md")).unwrap()
}
