//! Request ids (`X-Request-Id`): the client's own if it is safe to log and to send back, else a random one.

use crate::random_id;

const MAX_LENGTH: usize = 128;

/// The id of a request whose `X-Request-Id` field is `proposed`.
pub(super) fn request_id(proposed: Option<&str>) -> String {
    match proposed {
        Some(id) if is_safe(id) => id.to_owned(),
        _ => random_id::unique(),
    }
}

fn is_safe(id: &str) -> bool {
    (1..=MAX_LENGTH).contains(&id.len())
        && id
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-'))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic)]
mod tests {
    use super::*;

    #[test]
    fn safe_ids_are_kept_and_others_replaced() {
        assert_eq!(request_id(Some("abc-1.2_X")), "abc-1.2_X");
        for bad in ["", "a b", "a/b", "\u{1b}[31m", &"x".repeat(129)] {
            assert_ne!(request_id(Some(bad)), bad);
        }
        assert_ne!(request_id(None), request_id(None));
    }
}
