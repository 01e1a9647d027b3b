//! Decodes collected volumes: a model reads UTF-8 text, not base64 of a tar.gz. Reads only archives that the runner
//! packed, in memory and with a size limit.

use crate::runner::CollectedVolume;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use flate2::read::GzDecoder;
use schemars::JsonSchema;
use serde::Serialize;
use std::collections::BTreeMap;
use std::io::Read;

/// How much of an unpacked archive is read.
const LOOKED_AT_BYTES: u64 = 64 << 20;
/// How many of the entries that are not text are listed by name.
const NAMED_ENTRIES: usize = 200;

/// A volume's content for a model.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub(super) struct DecodedVolume {
    /// `file` or `directory`.
    #[serde(rename = "type")]
    pub(super) kind: &'static str,
    /// The file, when it is UTF-8 text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) text: Option<String>,
    /// The directory's text files: relative path to content.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) files: Option<BTreeMap<String, String>>,
    /// Base64 of the file, or of a tar.gz of the whole directory, when text does not say it all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) content: Option<String>,
    /// What is in the directory besides `files`, in words.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) other: Vec<String>,
    /// What is missing here, and why.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) detail: Option<String>,
}

/// Decodes a volume into about `budget` bytes.
pub(super) fn volume(collected: &CollectedVolume, budget: usize) -> DecodedVolume {
    let Some(content) = &collected.content else {
        return DecodedVolume {
            kind: collected.kind,
            detail: collected.detail.clone(),
            ..DecodedVolume::default()
        };
    };
    match collected.kind {
        "file" => file(content, budget),
        _ => directory(content, budget),
    }
}

fn file(content: &str, budget: usize) -> DecodedVolume {
    let mut shown = DecodedVolume {
        kind: "file",
        ..DecodedVolume::default()
    };
    let bytes = content.len() / 4 * 3;
    if bytes > budget {
        shown.detail = Some(format!("too large to show here (about {bytes} bytes)"));
        return shown;
    }
    match STANDARD.decode(content).map(String::from_utf8) {
        Ok(Ok(text)) => shown.text = Some(text),
        _ => shown.content = Some(content.to_owned()),
    }
    shown
}

/// Decodes a directory (base64 of a tar.gz) into about `budget` bytes. Never fails: `detail` says what is missing.
pub(super) fn directory(content: &str, budget: usize) -> DecodedVolume {
    let mut shown = DecodedVolume {
        kind: "directory",
        files: Some(BTreeMap::new()),
        ..DecodedVolume::default()
    };
    let whole = match entries(content, budget, &mut shown) {
        Ok(whole) => whole,
        Err(error) => {
            shown.detail = Some(format!("could not be read as text: {error}"));
            false
        }
    };
    if whole {
        return shown;
    }
    if content.len() <= budget {
        shown.content = Some(content.to_owned());
    } else {
        let bytes = content.len() / 4 * 3;
        shown.detail.get_or_insert_with(|| {
            format!("not all of it can be shown here (a tar.gz of {bytes} bytes)")
        });
    }
    shown
}

/// Sorts the archive's entries into text files and others. Returns whether there are only text files.
fn entries(content: &str, budget: usize, shown: &mut DecodedVolume) -> std::io::Result<bool> {
    let packed = STANDARD
        .decode(content)
        .map_err(|error| std::io::Error::other(error.to_string()))?;
    let plain = GzDecoder::new(packed.as_slice()).take(LOOKED_AT_BYTES);
    let mut left = budget as u64;
    let mut others = 0_usize;
    let mut files = BTreeMap::new();
    for entry in tar::Archive::new(plain).entries()? {
        let mut entry = entry?;
        let kind = entry.header().entry_type();
        if kind.is_dir() {
            continue;
        }
        let path = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
        let path = path.trim_start_matches("./").to_owned();
        let size = entry.size();
        let text = match kind.is_file() && size + path.len() as u64 <= left {
            true => read_text(&mut entry)?,
            false => None,
        };
        if let Some(text) = text {
            left -= size + path.len() as u64;
            files.insert(path, text);
            continue;
        }
        others += 1;
        if others <= NAMED_ENTRIES {
            shown.other.push(in_words(&entry, &path)?);
        }
    }
    if others > NAMED_ENTRIES {
        shown
            .other
            .push(format!("and {} more", others - NAMED_ENTRIES));
    }
    shown.files = Some(files);
    Ok(others == 0)
}

/// Describes an entry that is not shown as text.
fn in_words(entry: &tar::Entry<'_, impl Read>, path: &str) -> std::io::Result<String> {
    let size = entry.size();
    let target = entry.link_name()?;
    Ok(match (entry.header().entry_type().is_file(), target) {
        (true, _) => format!("{path} ({size} bytes)"),
        (false, Some(target)) => format!("{path} -> {}", target.display()),
        (false, None) => format!("{path} (no regular file)"),
    })
}

/// The entry's content; `None` if it is not UTF-8.
fn read_text(entry: &mut impl Read) -> std::io::Result<Option<String>> {
    let mut bytes = Vec::new();
    entry.read_to_end(&mut bytes)?;
    Ok(String::from_utf8(bytes).ok())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use flate2::Compression;
    use flate2::write::GzEncoder;

    fn collected(kind: &'static str, bytes: &[u8]) -> CollectedVolume {
        CollectedVolume {
            kind,
            content: Some(STANDARD.encode(bytes)),
            detail: None,
        }
    }

    fn targz(files: &[(&str, &[u8])]) -> Vec<u8> {
        let mut tar = tar::Builder::new(GzEncoder::new(Vec::new(), Compression::fast()));
        for (name, bytes) in files {
            let mut header = tar::Header::new_gnu();
            header.set_size(bytes.len() as u64);
            header.set_mode(0o644);
            tar.append_data(&mut header, name, *bytes).unwrap();
        }
        let mut link = tar::Header::new_gnu();
        link.set_entry_type(tar::EntryType::Symlink);
        link.set_size(0);
        if files.iter().any(|(name, _)| *name == "link") {
            tar.append_link(&mut link, "symlink", "target").unwrap();
        }
        tar.into_inner().unwrap().finish().unwrap()
    }

    #[test]
    fn a_text_file_is_text_and_a_binary_file_is_base64() {
        let text = volume(&collected("file", "grüße\n".as_bytes()), 100);
        assert_eq!(text.text.as_deref(), Some("grüße\n"));
        let binary = volume(&collected("file", &[0xff, 0]), 100);
        assert_eq!(
            (binary.text, binary.content.as_deref()),
            (None, Some("/wA="))
        );
        let large = volume(&collected("file", &[b'a'; 1000]), 100);
        assert!(large.detail.unwrap().contains("about 1002 bytes"));
        assert_eq!((large.text, large.content), (None, None));
    }

    #[test]
    fn a_directory_of_text_files_is_a_map_and_other_content_adds_the_archive() {
        let plain = volume(
            &collected("directory", &targz(&[("./a/b.txt", b"x"), ("c", b"")])),
            1000,
        );
        let files = plain.files.unwrap();
        assert_eq!(files["a/b.txt"], "x");
        assert_eq!(files["c"], "");
        assert_eq!((plain.content, plain.other.len()), (None, 0));

        let mixed = targz(&[("a", b"text"), ("b", &[0xff]), ("link", b"")]);
        let mixed = volume(&collected("directory", &mixed), 1000);
        assert_eq!(mixed.files.unwrap().len(), 2);
        assert_eq!(mixed.other, ["b (1 bytes)", "symlink -> target"]);
        assert!(mixed.content.is_some());
    }

    #[test]
    fn a_volume_that_does_not_fit_says_what_is_missing() {
        let noise: Vec<u8> = (0..5000_u32)
            .flat_map(|n| n.wrapping_mul(n).wrapping_mul(7919).to_le_bytes())
            .collect();
        let packed = targz(&[("big", &noise), ("small", b"s")]);
        let shown = volume(&collected("directory", &packed), 200);
        assert_eq!(shown.files.unwrap()["small"], "s");
        assert_eq!(shown.other, ["big (20000 bytes)"]);
        assert!(shown.detail.unwrap().contains("not all of it"));
        let broken = volume(&collected("directory", b"rubbish"), 200);
        assert!(broken.detail.unwrap().contains("could not be read"));
        assert!(broken.content.is_some());
    }

    #[test]
    fn a_volume_that_was_not_collected_keeps_its_reason() {
        let none = CollectedVolume {
            kind: "file",
            content: None,
            detail: Some("over the limit".into()),
        };
        assert_eq!(volume(&none, 10).detail.as_deref(), Some("over the limit"));
    }
}
