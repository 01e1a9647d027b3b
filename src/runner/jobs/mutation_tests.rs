//! Mutated records of asynchronous runs, as a restart may read them from the engine, and cursors, which clients send back.
//! `FUZZ_TIMES=100` searches a hundred times as long.

use crate::cancel::Cancel;
use crate::process_identity::ProcessIdentity;
use crate::random::{Random, rounds};
use crate::runner::cleanup::active::Active;
use crate::runner::clock::Moment;
use crate::runner::error::Error;
use crate::runner::jobs::adopt_records::parse;
use crate::runner::jobs::entry::{Entry, Kept, Phase};
use crate::runner::jobs::event_log::EventLog;
use crate::runner::jobs::logs::{LogQuery, Next, RunEvents, RunLogs};
use crate::runner::jobs::record::{OutcomeRecord, RequestRecord, RunFacts};
use crate::runner::policy::Policy;
use crate::runner::request::check::ApiProfile;
use crate::runner::request::lenient::Spelling;
use crate::runner::request::spec::RunSpec;
use crate::runner::request::types::PullPolicy;
use crate::runner::run::result::{Event, RunResult, Sink};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Map, Value};
use std::sync::Arc;
use std::time::Duration;

const OUTCOMES: [&str; 3] = [
    include_str!("../../../tests/corpus/records/result.json"),
    include_str!("../../../tests/corpus/records/result-0.1.0.json"),
    include_str!("../../../tests/corpus/records/error.json"),
];
const REQUEST: &str = include_str!("../../../tests/corpus/records/request.json");

/// What records are made of, and what breaks their parts.
const WORDS: [&str; 26] = [
    "created",
    "order",
    "key",
    "result",
    "error",
    "started",
    "finished",
    "kept",
    "facts",
    "stdout",
    "volumes",
    "type",
    "timings",
    "reason",
    "null",
    "-1",
    "18446744073709551615",
    "1e999",
    "\"",
    "{",
    "[",
    ",",
    "\\u0000",
    "\u{e9}",
    "invalid",
    "pull_timeout",
];

/// A record after a mutation of its values, its text or both.
fn mutated(seed: &str, random: &mut Random) -> Vec<u8> {
    let mut value: Value = serde_json::from_str(seed).unwrap();
    if !random.one_in(4) {
        random.mutate_json(&mut value, &WORDS);
    }
    let mut bytes = value.to_string().into_bytes();
    if random.one_in(4) {
        random.mutate(&mut bytes, &WORDS);
    }
    bytes
}

/// Parses a record as adoption does. What is accepted is written and read to the same record; a refusal says where, and quotes
/// nothing.
fn load<T: DeserializeOwned + Serialize>(bytes: &[u8]) -> Option<T> {
    match parse::<T>(bytes) {
        Ok(record) => {
            let written = serde_json::to_vec(&record).unwrap();
            let again = parse::<T>(&written).unwrap();
            assert_eq!(serde_json::to_vec(&again).unwrap(), written);
            Some(record)
        }
        Err(why) => {
            assert!(
                why.starts_with("its JSON is broken") && why.len() < 100,
                "{why}"
            );
            None
        }
    }
}

/// A new run gets an order after any that was adopted, and its entry can be listed.
fn assert_listable(facts: &RunFacts, active: &Active) -> Arc<Entry> {
    let entry = Arc::new(Entry::new(
        active.hold("0123456789abcdef"),
        facts.clone(),
        1 << 20,
    ));
    let state = entry.state();
    assert_eq!(state.phase, Phase::Queued);
    assert!(
        state.created_at.ends_with('Z') && state.created_at.len() < 30,
        "{}",
        state.created_at
    );
    let _ = (facts.key(), Moment::now().since(entry.created));
    entry
}

/// Every member of a result is what the record says, or has its default where the record says nothing.
fn assert_says(result: &RunResult, record: &[u8]) {
    let written: Value = serde_json::from_slice(record).unwrap();
    let read = serde_json::to_value(result).unwrap();
    for (name, value) in read.as_object().unwrap() {
        let said = &written["result"][name];
        let is_same = match name.as_str() {
            "volumes" => value.as_object().map(Map::len) == said.as_object().map(Map::len),
            // Whole seconds may be written without a fraction, and what is unknown to a version is left out.
            "execution_time" => value.as_f64() == said.as_f64(),
            "timings" => value["queue_ms"] == said["queue_ms"],
            // Records of earlier versions have none.
            "usage" => {
                let known = value
                    .as_object()
                    .unwrap()
                    .values()
                    .any(|used| !used.is_null());
                value == said || said.is_null() && !known
            }
            _ => value == said,
        };
        assert!(is_same, "{name}: {value} is {said} in the record");
    }
}

#[test]
fn a_mutated_outcome_is_adopted_whole_or_refused() {
    let active = Active::default();
    let (mut results, mut errors, mut refused) = (0, 0, 0);
    for number in 0..rounds(12_000) {
        let mut random = Random(number);
        let seed = *random.pick(&OUTCOMES);
        // Each is read as it is, first.
        let is_whole = number < OUTCOMES.len() as u64;
        let bytes = match is_whole {
            true => OUTCOMES[number as usize].as_bytes().to_vec(),
            false => mutated(seed, &mut random),
        };
        let Some(record) = load::<OutcomeRecord>(&bytes) else {
            assert!(!is_whole, "{seed}");
            refused += 1;
            continue;
        };
        let entry = assert_listable(&record.facts, &active);
        entry.set_started(record.started.map(Moment));
        entry.set_finished(Moment(record.finished));
        entry.set_kept(Kept::since(record.kept()));
        let facts = record.facts.clone();
        let outcome = record.outcome();
        match &outcome {
            Ok(result) => {
                results += 1;
                assert_says(result, &bytes);
                // Storing it again, as after a prune, loses nothing.
                let times = crate::runner::jobs::record::RunTimes {
                    started: entry.started(),
                    finished: Moment(1),
                    kept: Moment(2),
                };
                let again = OutcomeRecord::new(facts, &times, Ok(result));
                let again = load::<OutcomeRecord>(&serde_json::to_vec(&again).unwrap()).unwrap();
                let (before, after) = (
                    serde_json::to_value(result),
                    serde_json::to_value(again.outcome().unwrap()),
                );
                assert_eq!(before.unwrap(), after.unwrap());
            }
            // The kind in the corpus.
            Err(error) if is_whole => assert!(matches!(error, Error::Invalid(_)), "{error:?}"),
            Err(Error::Invalid(faults)) => {
                errors += 1;
                assert!(!faults.is_empty() && !faults[0].loc.is_empty());
            }
            Err(error) => {
                errors += 1;
                assert!(
                    !format!("{error}").is_empty() || matches!(error, Error::Engine(_)),
                    "{error:?}"
                );
            }
        }
        entry.log.finish(Arc::new(outcome));
        let state = entry.state();
        assert_eq!(state.phase, Phase::Finished);
        let moments = [Some(state.created_at), state.started_at, state.finished_at];
        assert!(
            moments.iter().flatten().all(|text| text.ends_with('Z')),
            "{moments:?}"
        );
    }
    assert!(
        results > 500 && errors > 500 && refused > 500,
        "{results}, {errors}, {refused}"
    );
}

#[test]
fn a_mutated_request_is_read_whole_and_checked_again_or_refused() {
    const PROFILE: ApiProfile = ApiProfile {
        root: "body",
        pull_policy: PullPolicy::Missing,
        spelling: Spelling::Exact,
    };
    let (active, policy) = (Active::default(), Policy::default());
    let (mut accepted, mut invalid, mut refused) = (0, 0, 0);
    for number in 0..rounds(8000) {
        let mut random = Random(number);
        let Some(record) = load::<RequestRecord>(&mutated(REQUEST, &mut random)) else {
            refused += 1;
            continue;
        };
        assert_listable(&record.facts, &active);
        match RunSpec::from_json(record.request, PROFILE, &policy) {
            Ok(_) | Err(Error::Forbidden { .. }) => accepted += 1,
            Err(Error::Invalid(faults)) => {
                invalid += 1;
                assert!(
                    faults.iter().all(|fault| fault.loc[0] == "body"),
                    "{faults:?}"
                );
            }
            Err(other) => panic!("{other:?}"),
        }
    }
    assert!(
        accepted > 300 && invalid > 300 && refused > 300,
        "{accepted}, {invalid}, {refused}"
    );
}

#[test]
fn new_runs_follow_every_run_that_was_adopted_whatever_its_record_says() {
    let record: RequestRecord = serde_json::from_str(REQUEST).unwrap();
    let spec = || {
        let profile = ApiProfile {
            root: "body",
            pull_policy: PullPolicy::Missing,
            spelling: Spelling::Exact,
        };
        RunSpec::from_json(
            serde_json::json!({"image": "x"}),
            profile,
            &Policy::default(),
        )
        .unwrap()
    };
    for order in [0, 1 << 50, u64::MAX - 1, u64::MAX] {
        let facts = RunFacts {
            order,
            ..record.facts.clone()
        };
        facts.precede_new_runs();
        let [first, second] = [RunFacts::new(&spec(), None), RunFacts::new(&spec(), None)];
        assert!(
            order <= first.order && first.order <= second.order,
            "{order}"
        );
        assert!(
            order >= u64::MAX - 1 || order < first.order && first.order < second.order,
            "{order}"
        );
    }
}

#[test]
fn a_mutated_cursor_continues_at_its_place_or_begins_at_the_start() {
    const CURSOR_WORDS: [&str; 10] = [
        "-",
        "--",
        ".",
        "0",
        "18446744073709551615",
        "99999999999999999999",
        "+1",
        " ",
        "\0",
        "\u{e9}",
    ];
    let active = Active::default();
    let record: RequestRecord = serde_json::from_str(REQUEST).unwrap();
    let entry = assert_listable(&record.facts, &active);
    for letter in b'a'..=b'e' {
        entry.event(Event::Stdout(vec![letter]));
    }
    let mut cursors = Vec::new();
    let mut events = RunEvents::new(entry.clone(), None);
    while let Next::Event { cursor, .. } = events.next(Duration::ZERO, &[]) {
        cursors.push(cursor);
    }
    assert_eq!(cursors.len(), 5);
    let (mut continued, mut restarted, mut refused) = (0, 0, 0);
    for number in 0..rounds(10_000) {
        let mut random = Random(number);
        let seed = random.pick(&cursors).clone();
        let cursor = match random.one_in(4) {
            true => seed,
            false => random.mutated_text(&seed, &CURSOR_WORDS),
        };
        let stop = Cancel::new();
        let query = LogQuery {
            cursor: Some(&cursor),
            page_bytes: 100,
            timeout: Duration::ZERO,
            stop: &stop,
        };
        if let Err(error) = query.check() {
            refused += 1;
            assert!(matches!(error, Error::Invalid(_)));
            assert!(!cursors.contains(&cursor), "{cursor:?}");
        }
        let logs = RunLogs::read(entry.clone(), &query);
        let place = cursors.iter().position(|known| *known == cursor);
        match (place, logs.is_from_start) {
            (Some(place), is_from_start) => {
                assert!(
                    !is_from_start && logs.pieces.len() == 4 - place,
                    "{cursor:?}"
                );
                continued += 1;
            }
            (None, true) => {
                assert_eq!(logs.pieces.len(), 5, "{cursor:?}");
                restarted += 1;
            }
            // A number beyond the last event, or written in another way.
            (None, false) => assert!(logs.pieces.len() < 5, "{cursor:?}"),
        }
    }
    assert!(
        continued > 500 && restarted > 500 && refused > 500,
        "{continued}, {restarted}, {refused}"
    );
}

#[test]
fn an_event_log_gives_every_reader_each_event_once_or_its_number_as_skipped() {
    for number in 0..rounds(2000) {
        let mut random = Random(number);
        let log = EventLog::new(random.below(2000) as u64);
        let (mut pushed, mut next, mut seen) = (0_u64, 0, 0);
        for _ in 0..random.below(60) {
            if random.one_in(2) {
                log.push(Event::Stdout(vec![b'x'; random.below(200)]));
                pushed += 1;
            }
            use crate::runner::jobs::event_log::Found;
            match log.read(&mut next, Duration::ZERO, &[]) {
                Found::Event(_) => seen += 1,
                Found::Skipped(count) => seen += count,
                Found::Nothing => assert_eq!(seen, pushed),
                other => panic!("{other:?}"),
            }
            assert!(seen <= pushed && next == seen);
        }
    }
}

#[test]
fn the_owner_in_a_label_is_read_as_it_was_written_or_not_at_all() {
    const OWNER_WORDS: [&str; 9] = [
        "/",
        "//",
        "-",
        "0",
        "4294967296",
        "18446744073709551616",
        ".",
        " ",
        "\u{e9}",
    ];
    let current = ProcessIdentity::current();
    let written = current.to_string();
    assert_eq!(ProcessIdentity::parse(&written), Some(current.clone()));
    let mut parsed = 0;
    for number in 0..rounds(10_000) {
        let text = Random(number).mutated_text(&written, &OWNER_WORDS);
        let Some(owner) = ProcessIdentity::parse(&text) else {
            continue;
        };
        parsed += 1;
        assert_eq!(
            ProcessIdentity::parse(&owner.to_string()),
            Some(owner.clone()),
            "{text:?}"
        );
        // Only this very process is this process.
        assert_eq!(owner == current, owner.to_string() == written, "{text:?}");
        let mut numbers = text.split('/').skip(1).map(|part| part.parse::<u64>().ok());
        assert_eq!(numbers.next(), Some(Some(u64::from(owner.pid))), "{text:?}");
        assert_eq!(numbers.next(), Some(Some(owner.started)), "{text:?}");
        let _ = owner.tag();
    }
    assert!(parsed > 1000, "{parsed}");
}
