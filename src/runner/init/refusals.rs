//! Images in whose containers the init could not be started. Pure; callers say what time it is.

use std::time::{Duration, Instant};

/// How long an image counts as one of them.
const REMEMBERED: Duration = Duration::from_secs(300);
/// Most images that are remembered.
const MOST_IMAGES: usize = 64;

/// What was said of each image.
#[derive(Default)]
pub(super) struct Refusals(Vec<Refusal>);

struct Refusal {
    image: String,
    reason: String,
    until: Instant,
}

impl Refusals {
    /// Adds an image. Returns how many there are.
    pub(super) fn add(&mut self, image: &str, reason: &str, now: Instant) -> usize {
        self.0
            .retain(|refusal| now < refusal.until && refusal.image != image);
        if self.0.len() < MOST_IMAGES {
            self.0.push(Refusal {
                image: image.to_owned(),
                reason: reason.to_owned(),
                until: now + REMEMBERED,
            });
        }
        self.0.len()
    }

    /// What was said of this image.
    pub(super) fn reason(&self, image: &str, now: Instant) -> Option<String> {
        let mut refusals = self.0.iter();
        let found = refusals.find(|refusal| refusal.image == image && now < refusal.until)?;
        Some(found.reason.clone())
    }

    /// Forgets them all, since it was not the images.
    pub(super) fn clear(&mut self) {
        self.0.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_is_remembered_for_a_while() {
        let (mut refusals, now) = (Refusals::default(), Instant::now());
        assert_eq!(refusals.add("a", "why", now), 1);
        assert_eq!(refusals.add("a", "why", now), 1);
        assert_eq!(refusals.reason("a", now), Some("why".into()));
        assert_eq!(refusals.reason("b", now), None);
        assert_eq!(refusals.reason("a", now + REMEMBERED), None);
        assert_eq!(refusals.add("b", "why", now + REMEMBERED), 1);
        for image in 0..2 * MOST_IMAGES {
            assert!(refusals.add(&image.to_string(), "", now) <= MOST_IMAGES);
        }
    }
}
