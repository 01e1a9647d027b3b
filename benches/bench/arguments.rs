//! The arguments of the program, `BENCH_ARGS` of `make bench`.

use super::Outcome;

const USAGE: &str = "\
arguments: [-n RUNS] [--blocks BLOCKS] [--only PART[,PART]...] [--network NAME] [--steps] [--backlog RUNS]
  -n RUNS          runs per way and network, in sequence and in each parallel block (default 40)
  --blocks BLOCKS  parallel blocks per way and network (default 5)
  --only PART,...  latency, throughput, warm, bulk, first-line, backlog, process, pages (default: all)
  --network NAME   bridge or none (default: both)
  --steps          also where the time goes, step by step
  --backlog RUNS   asynchronous runs at once, at most 1000 (default 1000)";

/// The most runs that a server lists in one answer.
const MOST_LISTED: usize = 1000;

/// A part of the benchmark that can be run alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    Latency,
    Throughput,
    Warm,
    Bulk,
    FirstLine,
    Backlog,
    Process,
    Pages,
}

pub(crate) struct Arguments {
    pub(crate) samples: usize,
    pub(crate) blocks: usize,
    pub(crate) networks: Vec<String>,
    pub(crate) steps: bool,
    pub(crate) backlog: usize,
    parts: Vec<Part>,
}

impl Arguments {
    pub(crate) fn from_command_line() -> Outcome<Self> {
        let mut arguments = Self {
            samples: 40,
            blocks: 5,
            networks: ["bridge", "none"].map(String::from).into(),
            steps: false,
            backlog: MOST_LISTED,
            parts: Vec::new(),
        };
        let mut words = std::env::args().skip(1);
        while let Some(word) = words.next() {
            match word.as_str() {
                "-n" => arguments.samples = number(words.next())?,
                "--blocks" => arguments.blocks = number(words.next())?,
                "--only" => arguments.parts = parts(&words.next().unwrap_or_default())?,
                "--network" => arguments.networks = vec![network(words.next())?],
                "--steps" => arguments.steps = true,
                "--backlog" => arguments.backlog = listed(words.next())?,
                // Cargo passes this to every benchmark.
                "--bench" => {}
                _ => return Err(format!("unknown argument {word}\n{USAGE}").into()),
            }
        }
        Ok(arguments)
    }

    pub(crate) fn includes(&self, part: Part) -> bool {
        self.parts.is_empty() || self.parts.contains(&part)
    }
}

fn number(word: Option<String>) -> Outcome<usize> {
    match word.as_deref().map(str::parse) {
        Some(Ok(number)) if number > 0 => Ok(number),
        _ => Err(format!("a number greater than 0 is needed\n{USAGE}").into()),
    }
}

fn listed(word: Option<String>) -> Outcome<usize> {
    match number(word)? {
        runs @ ..=MOST_LISTED => Ok(runs),
        runs => Err(format!("{runs} runs are too many\n{USAGE}").into()),
    }
}

fn network(word: Option<String>) -> Outcome<String> {
    word.filter(|word| ["bridge", "none"].contains(&word.as_str()))
        .ok_or_else(|| format!("the network is bridge or none\n{USAGE}").into())
}

fn parts(words: &str) -> Outcome<Vec<Part>> {
    let part = |word: &str| match word {
        "latency" => Ok(Part::Latency),
        "throughput" => Ok(Part::Throughput),
        "warm" => Ok(Part::Warm),
        "bulk" => Ok(Part::Bulk),
        "first-line" => Ok(Part::FirstLine),
        "backlog" => Ok(Part::Backlog),
        "process" => Ok(Part::Process),
        "pages" => Ok(Part::Pages),
        _ => Err(format!("unknown part {word:?}\n{USAGE}").into()),
    };
    words.split(',').map(part).collect()
}
