//! The 512 bytes that precede an entry of a tar, in all dialects: of the seventh edition of Unix, POSIX (ustar and pax),
//! GNU and star. Reads fields as GNU tar and libarchive do.

/// Size of a header, and what content is padded to.
pub(super) const BLOCK: usize = 512;

/// A header with a valid checksum.
pub(super) struct Header {
    block: [u8; BLOCK],
}

/// Which tar's rules a header follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Dialect {
    /// Before POSIX: no name prefix.
    Old,
    /// ustar and pax.
    Posix,
    /// POSIX with a shorter prefix and its own form of sparse files.
    Star,
    /// GNU tar's own: times where POSIX has the prefix.
    Gnu,
}

/// What a number field says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Number {
    /// Blank: spaces and NUL bytes only.
    Absent,
    /// A number; one that needs more than 64 bits is `u64::MAX`.
    Value(u64),
    Negative,
    /// Neither octal nor base 256.
    Unreadable,
}

impl Header {
    /// `None` if the checksum is wrong. It is the sum of all bytes, signed or unsigned: early tars differ.
    pub(super) fn parse(block: &[u8; BLOCK]) -> Option<Self> {
        let Number::Value(stated) = number(&block[148..156]) else {
            return None;
        };
        let others = || block[..148].iter().chain(&block[156..]);
        let blank = 8 * i64::from(b' ');
        let unsigned = others().map(|&byte| i64::from(byte)).sum::<i64>() + blank;
        let signed = others()
            .map(|&byte| i64::from(byte.cast_signed()))
            .sum::<i64>()
            + blank;
        let stated = i64::try_from(stated).ok()?;
        (stated == unsigned || stated == signed).then_some(Self { block: *block })
    }

    pub(super) fn type_flag(&self) -> u8 {
        self.block[156]
    }

    /// The name, with the prefix of POSIX before it.
    pub(super) fn name(&self) -> Vec<u8> {
        let name = text(&self.block[..100]);
        match self.prefix() {
            b"" => name.to_vec(),
            prefix => [prefix, b"/", name].concat(),
        }
    }

    pub(super) fn target(&self) -> &[u8] {
        text(&self.block[157..257])
    }

    pub(super) fn mode(&self) -> Number {
        self.number(100, 8)
    }

    pub(super) fn uid(&self) -> Number {
        self.number(108, 8)
    }

    pub(super) fn gid(&self) -> Number {
        self.number(116, 8)
    }

    pub(super) fn size(&self) -> Number {
        self.number(124, 12)
    }

    pub(super) fn mtime(&self) -> Number {
        self.number(136, 12)
    }

    pub(super) fn number(&self, offset: usize, length: usize) -> Number {
        number(self.bytes(offset, length))
    }

    pub(super) fn bytes(&self, offset: usize, length: usize) -> &[u8] {
        &self.block[offset..offset + length]
    }

    pub(super) fn dialect(&self) -> Dialect {
        let magic = self.bytes(257, 8);
        match magic {
            b"ustar  \0" => Dialect::Gnu,
            _ if !magic.starts_with(b"ustar") => Dialect::Old,
            _ if self.block.ends_with(b"tar\0") => Dialect::Star,
            _ => Dialect::Posix,
        }
    }

    fn prefix(&self) -> &[u8] {
        match self.dialect() {
            Dialect::Old => b"",
            Dialect::Posix => text(self.bytes(345, 155)),
            Dialect::Star => text(self.bytes(345, 131)),
            Dialect::Gnu => self.misplaced_prefix(),
        }
    }

    /// The prefix that Go wrote into GNU headers before version 1.8. Go's reader, too, takes it for one if it is text and
    /// makes no times.
    fn misplaced_prefix(&self) -> &[u8] {
        let is_time = |offset| self.number(offset, 12) != Number::Unreadable;
        let prefix = text(self.bytes(345, 155));
        if (is_time(345) && is_time(357)) || !prefix.is_ascii() {
            return b"";
        }
        prefix
    }
}

/// The bytes before the first NUL.
fn text(field: &[u8]) -> &[u8] {
    field.split(|&byte| byte == 0).next().unwrap_or_default()
}

/// Reads a number field: octal digits with blanks around them, or, if the highest bit is set, a big-endian number.
pub(super) fn number(field: &[u8]) -> Number {
    match field {
        [first, rest @ ..] if first & 0x80 != 0 => match first & 0x40 {
            0 => base_256(first & 0x3f, rest),
            _ => Number::Negative,
        },
        _ => octal(field),
    }
}

fn base_256(first: u8, rest: &[u8]) -> Number {
    let append = |value: u64, byte: &u8| {
        let shifted = value.checked_mul(256)?;
        Some(shifted | u64::from(*byte))
    };
    let value = rest.iter().try_fold(u64::from(first), append);
    Number::Value(value.unwrap_or(u64::MAX))
}

fn octal(field: &[u8]) -> Number {
    let is_blank = |byte: &u8| matches!(byte, 0 | b' ' | b'\t');
    let Some(start) = field.iter().position(|byte| !is_blank(byte)) else {
        return Number::Absent;
    };
    let (is_negative, digits) = match &field[start..] {
        [b'-', digits @ ..] => (true, digits),
        digits => (false, digits),
    };
    // What follows the blank after the digits is not looked at: old tars left remains of longer numbers there.
    let digits = digits.split(is_blank).next().unwrap_or_default();
    if digits.is_empty() || !digits.iter().all(|byte| matches!(byte, b'0'..=b'7')) {
        return Number::Unreadable;
    }
    // A field has at most twelve digits, thus 36 bits.
    let value = digits
        .iter()
        .fold(0, |value: u64, digit| value << 3 | u64::from(digit - b'0'));
    match is_negative && value > 0 {
        true => Number::Negative,
        false => Number::Value(value),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn number_fields_are_read_in_every_form_that_tars_write() {
        let cases: [(&[u8], Number); 22] = [
            (b"0000644\0", Number::Value(0o644)),
            (b"000644 \0", Number::Value(0o644)),
            (b"   644 \0", Number::Value(0o644)),
            (b"\0  644\0\0", Number::Value(0o644)),
            (b"644\0junk", Number::Value(0o644)),
            (b"12 34 zz", Number::Value(0o12)),
            (b"77777777", Number::Value(0o7777_7777)),
            (b"777777777777", Number::Value(0o7777_7777_7777)),
            (b"        ", Number::Absent),
            (b"\0\0\0\0\0\0\0\0", Number::Absent),
            (b" \0 \0 \t\0\0", Number::Absent),
            (b"-1\0     ", Number::Negative),
            (b"-0\0     ", Number::Value(0)),
            (b"\x80\0\0\0\0\0\x01\x02", Number::Value(258)),
            (
                b"\x80\0\0\0\xff\xff\xff\xff\xff\xff\xff\xff",
                Number::Value(u64::MAX),
            ),
            (b"\x80\0\0\x01\0\0\0\0\0\0\0\0", Number::Value(u64::MAX)),
            (b"\xff\xff\xff\xff\xff\xff\xff\xfe", Number::Negative),
            (b"rw-r--r-", Number::Unreadable),
            (b"0000648\0", Number::Unreadable),
            (b"12x\0\0\0\0\0", Number::Unreadable),
            (b"- \0\0\0\0\0\0", Number::Unreadable),
            (b"+bASE64\0", Number::Unreadable),
        ];
        for (field, expected) in cases {
            assert_eq!(number(field), expected, "{}", field.escape_ascii());
        }
    }

    #[test]
    fn checksums_may_be_sums_of_signed_bytes() {
        let mut block = [0; BLOCK];
        block[..4].copy_from_slice("ü/ü".as_bytes().first_chunk().unwrap_or(&[0; 4]));
        let with = |block: &mut [u8; BLOCK], sum: i64| {
            block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        };
        let bytes = block[..4].iter();
        let unsigned = 256 + bytes.clone().map(|&byte| i64::from(byte)).sum::<i64>();
        let signed = 256
            + bytes
                .map(|&byte| i64::from(byte.cast_signed()))
                .sum::<i64>();
        assert_ne!(signed, unsigned);
        for (sum, valid) in [(unsigned, true), (signed, true), (unsigned + 1, false)] {
            with(&mut block, sum);
            assert_eq!(Header::parse(&block).is_some(), valid, "{sum}");
        }
        block[148..156].fill(b' ');
        assert!(Header::parse(&block).is_none());
    }

    #[test]
    fn the_prefix_is_where_the_dialect_has_it() {
        type Case<'a> = (&'a [u8], &'a [u8], &'a [u8], &'a [u8]);
        let cases: [Case<'_>; 7] = [
            (b"ustar\x0000", b"", b"p", b"p/name"),
            (b"ustar 00", b"", b"p", b"p/name"),
            (b"ustar\0\0\0", b"", b"", b"name"),
            (
                b"ustar\x0000",
                b"tar\0",
                &[b'p'; 140],
                &[&[b'p'; 131][..], b"/name"].concat(),
            ),
            (b"ustar  \0", b"", b"14524770400\x0014524770400", b"name"),
            (b"ustar  \0", b"", b"old/go", b"old/go/name"),
            (b"\0\0\0\0\0\0\0\0", b"", b"p", b"name"),
        ];
        for (magic, end, prefix, name) in cases {
            let mut block = [0; BLOCK];
            block[..4].copy_from_slice(b"name");
            block[257..265].copy_from_slice(magic);
            block[345..345 + prefix.len()].copy_from_slice(prefix);
            block[508..508 + end.len()].copy_from_slice(end);
            assert_eq!(Header { block }.name(), name, "{}", magic.escape_ascii());
        }
    }
}
