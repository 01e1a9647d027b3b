//! Whether a program can be started in a container of any image: it must need no loader and no library. Pure.
//!
//! [ELF](https://man7.org/linux/man-pages/man5/elf.5.html)

/// Program header that names a loader.
const PT_INTERP: u32 = 3;
const HEADER_BYTES: usize = 64;

/// Whether the file is a static 64-bit ELF program of this machine's byte order.
pub(super) fn is_static(file: &[u8]) -> bool {
    has_loader(file) == Some(false)
}

/// `None`: not such a program.
fn has_loader(file: &[u8]) -> Option<bool> {
    if file.len() < HEADER_BYTES || !file.starts_with(b"\x7fELF\x02") {
        return None;
    }
    let offset = usize::try_from(u64::from_ne_bytes(bytes(file, 32)?)).ok()?;
    let size = usize::from(u16::from_ne_bytes(bytes(file, 54)?));
    let count = usize::from(u16::from_ne_bytes(bytes(file, 56)?));
    for index in 0..count {
        let at = offset.checked_add(index.checked_mul(size)?)?;
        if u32::from_ne_bytes(bytes(file, at)?) == PT_INTERP {
            return Some(true);
        }
    }
    Some(false)
}

fn bytes<const N: usize>(file: &[u8], at: usize) -> Option<[u8; N]> {
    file.get(at..at.checked_add(N)?)?.try_into().ok()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn program(headers: &[u32]) -> Vec<u8> {
        let mut file = vec![0; HEADER_BYTES];
        file[..5].copy_from_slice(b"\x7fELF\x02");
        file[32..40].copy_from_slice(&64_u64.to_ne_bytes());
        file[54..56].copy_from_slice(&56_u16.to_ne_bytes());
        file[56..58].copy_from_slice(&u16::try_from(headers.len()).unwrap().to_ne_bytes());
        for kind in headers {
            let mut header = [0; 56];
            header[..4].copy_from_slice(&kind.to_ne_bytes());
            file.extend(header);
        }
        file
    }

    #[test]
    fn a_program_with_a_loader_and_what_is_no_program_are_not_static() {
        assert!(is_static(&program(&[1, 2, 6])));
        assert!(!is_static(&program(&[6, PT_INTERP, 1])));
        let cut = &program(&[1, 2])[..100];
        for other in [&b"#!/bin/sh\n"[..], b"", b"\x7fELF\x02", cut] {
            assert!(!is_static(other));
        }
        let own = std::fs::read("/proc/self/exe").unwrap();
        assert!(has_loader(&own).is_some());
    }
}
