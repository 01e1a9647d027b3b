//! One run at a time, the three ways in turns.

use super::Outcome;
use super::figures::{Samples, Table, Target};
use super::stand::{PerWay, Stand, WAYS, Way};
use super::steps::StepSamples;

pub(crate) struct Latency {
    answers: PerWay<Samples>,
    /// Answer and removal of the floor together.
    removed: Samples,
    /// The steps of the floor and of the service.
    pub(crate) steps: (StepSamples, StepSamples),
}

pub(crate) fn measure(stand: &Stand, network: &str, samples: usize) -> Outcome<Latency> {
    let mut latency = Latency {
        answers: PerWay::default(),
        removed: Samples::default(),
        steps: Default::default(),
    };
    for round in 0..=samples {
        for turn in 0..WAYS.len() {
            // Rotates the order, so that no way always follows the same other one.
            let way = WAYS[(turn + round) % WAYS.len()];
            stand.quiet()?;
            let sample = stand.run(way, network)?;
            // The first round only warms caches and connections.
            if round == 0 {
                continue;
            }
            latency.answers.of(way).push_millis(sample.answer);
            match (way, sample.steps) {
                (Way::Floor, Some(steps)) => {
                    latency.steps.0.push(steps);
                    latency.removed.push_millis(sample.answer + sample.remove);
                }
                (Way::Service, Some(steps)) => latency.steps.1.push(steps),
                _ => {}
            }
        }
    }
    stand.quiet()?;
    Ok(latency)
}

impl Latency {
    pub(crate) fn report(&self, network: &str, table: &mut Table) {
        let PerWay {
            floor,
            service,
            cli,
        } = &self.answers;
        let cell = |samples: &Samples| format!("{:.0} ms ({:.0})", samples.median(), samples.p95());
        let to_floor = service.median() / floor.median();
        let to_cli = service.median() / cli.median();
        // A bridge is taken down after the end, which only the engine waits for.
        let (most_to_floor, most_to_cli) = match network {
            "bridge" => (0.75, 0.65),
            _ => (1.0, 0.75),
        };
        table.row([
            format!("network {network}"),
            cell(floor),
            cell(service),
            cell(cli),
            format!("{to_floor:.3} × API, {to_cli:.2} × docker run"),
            format!(
                "≤ {most_to_floor} ({}), ≤ {most_to_cli} ({})",
                Target::AtMost(most_to_floor).verdict(to_floor),
                Target::AtMost(most_to_cli).verdict(to_cli)
            ),
        ]);
        table.row([
            format!("network {network}, the API's removal included"),
            cell(&self.removed),
            "the same: it removes behind the answer".into(),
            "the same: it always waits for removal".into(),
            format!("{:.3} × API", service.median() / self.removed.median()),
            String::new(),
        ]);
    }
}
