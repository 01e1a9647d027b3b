//! Request ids: the client's own when it is harmless to log and echo, else random.

use std::fmt::Write as _;
use std::sync::atomic::{AtomicU64, Ordering};

const LONGEST: usize = 128;

/// 128 random bits in hex.
pub(crate) fn random_id() -> String {
    static FALLBACK: AtomicU64 = AtomicU64::new(0);
    let mut bytes = [0u8; 16];
    if getrandom::fill(&mut bytes).is_err() {
        // Without a random source ids are merely unique: they tell requests apart, they protect nothing.
        bytes[..8].copy_from_slice(&FALLBACK.fetch_add(1, Ordering::Relaxed).to_be_bytes());
    }
    bytes.iter().fold(String::with_capacity(32), |mut id, b| {
        let _ = write!(id, "{b:02x}");
        id
    })
}

/// The id of a request whose client proposed this one.
pub(super) fn request_id(proposed: Option<&str>) -> String {
    match proposed {
        Some(id) if is_sane(id) => id.to_owned(),
        _ => random_id(),
    }
}

fn is_sane(id: &str) -> bool {
    (1..=LONGEST).contains(&id.len())
        && id
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-'))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic)]
mod tests {
    use super::*;

    #[test]
    fn keeps_sane_ids_and_replaces_the_rest() {
        assert_eq!(request_id(Some("abc-1.2_X")), "abc-1.2_X");
        for bad in ["", "a b", "a/b", "\u{1b}[31m", &"x".repeat(129)] {
            assert_ne!(request_id(Some(bad)), bad);
        }
        assert_ne!(request_id(None), request_id(None));
        assert_eq!(random_id().len(), 32);
    }
}
