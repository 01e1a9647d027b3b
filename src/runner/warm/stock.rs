//! How many containers of which shape are to wait, and which go first. Knows nothing of the engine: the containers are of any type.
//! Pure; callers say what time it is.

use crate::runner::warm::shape::Shape;
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// A container that ends by itself this soon after its start counts as one that could not be started.
const EARLY_DEATH: Duration = Duration::from_secs(10);
/// Longest pause after failures in a row.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);
/// How many shapes without containers are remembered.
const MOST_EMPTY: usize = 64;

/// The containers of all shapes.
pub(super) struct Stock<C> {
    /// Most containers that wait or are being started.
    limit: usize,
    /// How long a shape that is not used keeps its containers.
    idle: Duration,
    shelves: HashMap<String, Shelf<C>>,
}

/// The containers of one shape.
struct Shelf<C> {
    shape: Arc<Shape>,
    waiting: VecDeque<Kept<C>>,
    starting: usize,
    in_use: usize,
    demand: Demand,
    /// How many are to wait whether they are used or not, by the setting's name of the image.
    kept: BTreeMap<String, usize>,
    last_used: Instant,
    failures: u32,
    /// No container is started before.
    not_before: Instant,
}

struct Kept<C> {
    container: C,
    since: Instant,
}

/// The most runs of a shape at once, lately.
struct Demand {
    before: usize,
    current: usize,
    /// When `current` began.
    since: Instant,
}

/// The containers that wait for runs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WarmCensus {
    /// How many wait.
    pub waiting: usize,
    /// Shapes of which some wait, or would if there were room.
    pub shapes: usize,
    /// Since when the oldest waits.
    pub oldest: Option<Instant>,
}

impl<C> Stock<C> {
    pub(super) fn new(limit: usize, idle: Duration) -> Self {
        Self {
            limit,
            idle,
            shelves: HashMap::new(),
        }
    }

    /// To be called when a run of this shape begins, whether it has a waiting container or not.
    pub(super) fn begin(&mut self, shape: &Arc<Shape>, now: Instant) {
        let idle = self.idle;
        let shelf = self.shelf(shape, now);
        shelf.in_use += 1;
        shelf.last_used = now;
        shelf.demand.note(shelf.in_use, now, idle);
        self.forget_empty();
    }

    /// To be called when it has ended.
    pub(super) fn end(&mut self, key: &str, now: Instant) {
        if let Some(shelf) = self.shelves.get_mut(key) {
            shelf.in_use = shelf.in_use.saturating_sub(1);
            shelf.last_used = now;
        }
    }

    /// How many of this shape are to wait, whether used or not, for an image that the settings name. What was kept for that name
    /// before no longer is.
    pub(super) fn keep(&mut self, name: &str, shape: &Arc<Shape>, count: usize, now: Instant) {
        for shelf in self.shelves.values_mut() {
            if shelf.shape.key() != shape.key() && shelf.kept.remove(name).is_some() {
                // The name means another image now.
                shelf.last_used = now.checked_sub(self.idle).unwrap_or(now);
            }
        }
        let shelf = self.shelf(shape, now);
        shelf.kept.insert(name.to_owned(), count);
    }

    /// The container of this shape that waits longest.
    pub(super) fn take(&mut self, key: &str) -> Option<C> {
        let kept = self.shelves.get_mut(key)?.waiting.pop_front()?;
        Some(kept.container)
    }

    /// To be called when a run got a container of this shape to work.
    pub(super) fn proven(&mut self, key: &str) {
        if let Some(shelf) = self.shelves.get_mut(key) {
            shelf.failures = 0;
        }
    }

    /// Adds a container whose start [`Stock::next`] asked for.
    pub(super) fn put(&mut self, shape: &Arc<Shape>, container: C, now: Instant) {
        let shelf = self.shelf(shape, now);
        shelf.starting = shelf.starting.saturating_sub(1);
        let since = now;
        shelf.waiting.push_back(Kept { container, since });
    }

    /// To be called instead of [`Stock::put`] if the start failed. The next one is tried later, each time after a longer pause.
    pub(super) fn fail(&mut self, key: &str, now: Instant) {
        if let Some(shelf) = self.shelves.get_mut(key) {
            shelf.starting = shelf.starting.saturating_sub(1);
            shelf.pause(now);
        }
    }

    /// Takes out the containers for which `is_dead` is true.
    pub(super) fn take_dead(
        &mut self,
        now: Instant,
        mut is_dead: impl FnMut(&mut C) -> bool,
    ) -> Vec<C> {
        let mut dead = Vec::new();
        for shelf in self.shelves.values_mut() {
            let mut living = VecDeque::with_capacity(shelf.waiting.len());
            for mut kept in std::mem::take(&mut shelf.waiting) {
                match is_dead(&mut kept.container) {
                    false => living.push_back(kept),
                    true => {
                        if now.saturating_duration_since(kept.since) < EARLY_DEATH {
                            shelf.pause(now);
                        }
                        dead.push(kept.container);
                    }
                }
            }
            shelf.waiting = living;
        }
        dead
    }

    /// Takes out the containers that are no longer wanted: their shape was not used for too long, or not as often at once.
    pub(super) fn take_surplus(&mut self, now: Instant) -> Vec<C> {
        let mut surplus = Vec::new();
        for shelf in self.shelves.values_mut() {
            let wanted = shelf.wanted(now, self.idle);
            while shelf.waiting.len() > wanted {
                surplus.extend(shelf.waiting.pop_front().map(|kept| kept.container));
            }
        }
        self.shelves.retain(|_, shelf| {
            shelf.wanted(now, self.idle) > 0 || shelf.in_use > 0 || shelf.starting > 0
        });
        surplus
    }

    /// Takes out one container of the least recently used shape, if that was not used for `unused`.
    pub(super) fn take_idle(&mut self, now: Instant, unused: Duration) -> Option<C> {
        let shelves = self.shelves.values_mut();
        let idle = shelves
            .filter(|shelf| !shelf.waiting.is_empty() && shelf.in_use == 0)
            .min_by_key(|shelf| (!shelf.kept.is_empty(), shelf.last_used))?;
        if now.saturating_duration_since(idle.last_used) < unused {
            return None;
        }
        idle.waiting.pop_front().map(|kept| kept.container)
    }

    /// The shape of which a container is to be started next, and the containers that have to go for it. Counts it as being started.
    pub(super) fn next(&mut self, now: Instant) -> Option<(Arc<Shape>, Vec<C>)> {
        let allotted = self.allot(now);
        let is_short = |(key, most): &&(String, usize)| {
            let shelf = self.shelves.get(key);
            shelf.is_some_and(|shelf| shelf.not_before <= now && shelf.count() < *most)
        };
        let (key, _) = allotted.iter().find(is_short)?;
        let shape = Arc::clone(&self.shelves.get(key)?.shape);
        let mut evicted = Vec::new();
        for (key, most) in allotted.iter().rev() {
            while self.count() >= self.limit
                && let Some(shelf) = self.shelves.get_mut(key)
                && shelf.count() > *most
                && let Some(kept) = shelf.waiting.pop_front()
            {
                evicted.push(kept.container);
            }
        }
        if self.count() < self.limit {
            self.shelves.get_mut(shape.key())?.starting += 1;
            return Some((shape, evicted));
        }
        // What is in the way is being started; it can go afterwards.
        None
    }

    /// Takes out everything.
    pub(super) fn clear(&mut self) -> Vec<C> {
        let shelves = self.shelves.drain();
        let containers = shelves.flat_map(|(_, shelf)| shelf.waiting);
        containers.map(|kept| kept.container).collect()
    }

    pub(super) fn census(&self) -> WarmCensus {
        let waiting = || self.shelves.values().flat_map(|shelf| &shelf.waiting);
        WarmCensus {
            waiting: waiting().count(),
            shapes: self.shelves.len(),
            oldest: waiting().map(|kept| kept.since).min(),
        }
    }

    /// How many containers each shape may have, those first that come first: what the settings keep, then the last used.
    fn allot(&self, now: Instant) -> Vec<(String, usize)> {
        let mut shelves: Vec<_> = self.shelves.iter().collect();
        shelves
            .sort_by_key(|(_, shelf)| std::cmp::Reverse((!shelf.kept.is_empty(), shelf.last_used)));
        let mut left = self.limit;
        let mut allotted = Vec::new();
        for (key, shelf) in shelves {
            let most = shelf.wanted(now, self.idle).min(left);
            left -= most;
            allotted.push((key.clone(), most));
        }
        allotted
    }

    fn shelf(&mut self, shape: &Arc<Shape>, now: Instant) -> &mut Shelf<C> {
        self.shelves
            .entry(shape.key().to_owned())
            .or_insert_with(|| Shelf {
                shape: Arc::clone(shape),
                waiting: VecDeque::new(),
                starting: 0,
                in_use: 0,
                demand: Demand {
                    before: 0,
                    current: 0,
                    since: now,
                },
                kept: BTreeMap::new(),
                last_used: now,
                failures: 0,
                not_before: now,
            })
    }

    /// Callers may use a new shape with every run.
    fn forget_empty(&mut self) {
        let mut empty: Vec<_> = self
            .shelves
            .iter()
            .filter(|(_, shelf)| shelf.count() + shelf.in_use == 0 && shelf.kept.is_empty())
            .map(|(key, shelf)| (shelf.last_used, key.clone()))
            .collect();
        if empty.len() > MOST_EMPTY {
            empty.sort();
            empty.truncate(empty.len() - MOST_EMPTY);
            for (_, key) in empty {
                self.shelves.remove(&key);
            }
        }
    }

    fn count(&self) -> usize {
        self.shelves.values().map(Shelf::count).sum()
    }
}

impl<C> Shelf<C> {
    fn count(&self) -> usize {
        self.waiting.len() + self.starting
    }

    /// How many should wait if there were no limit.
    fn wanted(&self, now: Instant, idle: Duration) -> usize {
        let is_idle = self.in_use == 0 && now.saturating_duration_since(self.last_used) >= idle;
        let lately = match is_idle {
            true => 0,
            false => self.demand.lately(now, idle),
        };
        self.kept.values().sum::<usize>().max(lately)
    }

    fn pause(&mut self, now: Instant) {
        let pause = Duration::from_secs(1 << self.failures.min(6));
        self.failures += 1;
        self.not_before = now + pause.min(LONGEST_PAUSE);
    }
}

impl Demand {
    fn note(&mut self, in_use: usize, now: Instant, idle: Duration) {
        let age = now.saturating_duration_since(self.since);
        if age >= idle {
            self.before = match age < 2 * idle {
                true => self.current,
                false => 0,
            };
            self.current = 0;
            self.since = now;
        }
        self.current = self.current.max(in_use);
    }

    fn lately(&self, now: Instant, idle: Duration) -> usize {
        let age = now.saturating_duration_since(self.since);
        match age {
            age if age < idle => self.before.max(self.current),
            _ => self.current,
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::docker::{ContainerCreate, ImageInspect};
    use crate::runner::policy::Policy;
    use crate::runner::request::check::ApiProfile;
    use crate::runner::request::lenient::Spelling;
    use crate::runner::request::spec::RunSpec;
    use crate::runner::request::types::PullPolicy;

    const IDLE: Duration = Duration::from_secs(300);

    fn shape(image: &str) -> Arc<Shape> {
        let profile = ApiProfile {
            root: "body",
            pull_policy: PullPolicy::Never,
            spelling: Spelling::Exact,
        };
        let request = serde_json::json!({"image": "x"});
        let spec = RunSpec::from_json(request, profile, &Policy::default()).unwrap();
        let image = ImageInspect {
            id: image.into(),
            ..ImageInspect::default()
        };
        Arc::new(Shape::new(ContainerCreate::default(), &spec, &image, "v"))
    }

    /// A stock whose containers are the images of their shapes.
    struct Story {
        stock: Stock<String>,
        now: Instant,
    }

    impl Story {
        fn new(limit: usize) -> Self {
            Self {
                stock: Stock::new(limit, IDLE),
                now: Instant::now(),
            }
        }

        fn pass(&mut self, seconds: u64) {
            self.now += Duration::from_secs(seconds);
        }

        /// Runs of one shape, as many at once; a second passes.
        fn runs(&mut self, image: &str, at_once: usize) {
            let shape = shape(image);
            (0..at_once).for_each(|_| self.stock.begin(&shape, self.now));
            self.pass(1);
            (0..at_once).for_each(|_| self.stock.end(shape.key(), self.now));
        }

        /// Starts what is to be started. Returns what went for it.
        fn fill(&mut self) -> Vec<String> {
            let mut gone = self.stock.take_surplus(self.now);
            while let Some((shape, evicted)) = self.stock.next(self.now) {
                gone.extend(evicted);
                self.stock.put(&shape, shape.body.image.clone(), self.now);
            }
            gone
        }

        fn waiting(&self, image: &str) -> usize {
            let shelf = self.stock.shelves.get(shape(image).key());
            shelf.map_or(0, |shelf| shelf.waiting.len())
        }
    }

    #[test]
    fn as_many_wait_as_were_lately_needed_at_once() {
        let mut story = Story::new(8);
        assert!(story.stock.next(story.now).is_none(), "nobody asked");
        story.runs("a", 1);
        story.fill();
        assert_eq!(story.waiting("a"), 1);
        story.runs("a", 3);
        story.fill();
        assert_eq!(story.waiting("a"), 3);
        assert_eq!(story.stock.take(shape("a").key()), Some("a".into()));
        // One run at a time, for long: the burst is forgotten.
        for _ in 0..5 {
            story.pass(200);
            story.runs("a", 1);
            story.fill();
        }
        assert_eq!(story.waiting("a"), 1);
        story.pass(301);
        assert_eq!(story.fill().len(), 1);
        assert_eq!(story.stock.census(), WarmCensus::default());
    }

    #[test]
    fn the_least_recently_used_go_first_and_those_that_are_kept_stay() {
        let mut story = Story::new(3);
        story.stock.keep("kept", &shape("k"), 1, story.now);
        story.pass(1);
        for image in ["a", "b"] {
            story.runs(image, 1);
            assert!(story.fill().is_empty());
        }
        story.runs("c", 1);
        assert_eq!(story.fill(), ["a"]);
        story.runs("b", 5);
        assert_eq!(story.fill(), ["c"], "only what there is room for");
        let counts = ["a", "b", "c", "k"].map(|image| story.waiting(image));
        assert_eq!(counts, [0, 2, 0, 1]);
        story.pass(301);
        assert_eq!(story.fill().len(), 2);
        assert_eq!(story.waiting("k"), 1, "used or not");
        // The name means another image now.
        story.stock.keep("kept", &shape("l"), 1, story.now);
        assert_eq!(story.fill(), ["k"]);
        assert_eq!(story.waiting("l"), 1);
    }

    #[test]
    fn what_cannot_be_started_or_dies_at_once_is_tried_later_and_later() {
        let mut story = Story::new(2);
        story.runs("a", 1);
        let (shape, _) = story.stock.next(story.now).unwrap();
        assert!(story.stock.next(story.now).is_none(), "one is on its way");
        story.stock.fail(shape.key(), story.now);
        assert!(story.stock.next(story.now).is_none());
        story.pass(1);
        story.fill();
        assert_eq!(story.stock.take_dead(story.now, |_| true), ["a"]);
        story.pass(1);
        assert!(story.stock.next(story.now).is_none());
        story.pass(1);
        story.fill();
        // Much later: killed by somebody.
        story.pass(60);
        assert_eq!(story.stock.take_dead(story.now, |_| true), ["a"]);
        assert!(story.stock.next(story.now).is_some());
    }

    #[test]
    fn shapes_that_come_once_are_not_remembered_without_bound() {
        let mut story = Story::new(1);
        for number in 0..1000 {
            story.runs(&number.to_string(), 1);
        }
        assert!(story.stock.shelves.len() <= MOST_EMPTY + 2);
        assert_eq!(story.fill().len(), 0);
        assert_eq!(story.waiting("999"), 1);
    }

    #[test]
    fn when_there_is_no_room_the_unused_go_one_by_one() {
        let mut story = Story::new(2);
        story.runs("a", 1);
        story.runs("b", 1);
        story.fill();
        let unused = Duration::from_secs(5);
        assert_eq!(story.stock.take_idle(story.now, unused), None);
        story.pass(5);
        assert_eq!(story.stock.take_idle(story.now, unused), Some("a".into()));
        assert_eq!(story.stock.take_idle(story.now, unused), Some("b".into()));
        assert_eq!(story.stock.take_idle(story.now, unused), None);
    }
}
