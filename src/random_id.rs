//! Ids of 128 random bits, written as 32 hexadecimal digits.

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

/// A new id that nobody can guess. Errors: the system has no source of randomness.
pub(crate) fn unguessable() -> io::Result<String> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).map_err(|error| io::Error::other(error.to_string()))?;
    Ok(hexadecimal(bytes))
}

/// A new id for a request, a run or a file name. Without a source of randomness it is made of the time and a counter:
/// still unique, but it can be guessed.
pub(crate) fn unique() -> String {
    unguessable().unwrap_or_else(|_| hexadecimal(time_and_counter()))
}

fn time_and_counter() -> [u8; 16] {
    static COUNTER: AtomicU64 = AtomicU64::new(0);
    let nanos = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_nanos() as u64);
    let mut bytes = [0; 16];
    bytes[..8].copy_from_slice(&nanos.to_be_bytes());
    bytes[8..].copy_from_slice(&COUNTER.fetch_add(1, Ordering::Relaxed).to_be_bytes());
    bytes
}

fn hexadecimal(bytes: [u8; 16]) -> String {
    format!("{:032x}", u128::from_be_bytes(bytes))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn ids_differ_and_have_32_lower_case_hexadecimal_digits() {
        let ids = [
            unique(),
            unique(),
            unguessable().unwrap(),
            hexadecimal(time_and_counter()),
            hexadecimal(time_and_counter()),
            hexadecimal([0; 16]),
        ];
        for (at, id) in ids.iter().enumerate() {
            assert_eq!(id.len(), 32, "{id}");
            assert!(id.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')));
            assert!(!ids[..at].contains(id), "{id} comes twice");
        }
    }
}
