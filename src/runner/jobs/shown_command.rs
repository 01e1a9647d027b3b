//! A run's command as lists show it: short, whatever was sent.

use serde::{Deserialize, Serialize};

/// The beginning of a command.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShownCommand {
    /// Its words. `None`: the image's own command.
    pub words: Option<Vec<String>>,
    /// Whether words, or the end of the last one, are left out.
    #[serde(default)]
    pub is_cut: bool,
}

/// Most bytes that are shown. Ten thousand runs may be listed.
const MOST_BYTES: usize = 512;
/// What a word costs beside its bytes.
const WORD_BYTES: usize = 16;

impl ShownCommand {
    pub(crate) fn of(command: Option<&[String]>) -> Self {
        let mut shown = Self::default();
        let Some(command) = command else {
            return shown;
        };
        let mut left = MOST_BYTES;
        let mut words = Vec::new();
        for word in command {
            if left < WORD_BYTES {
                shown.is_cut = true;
                break;
            }
            left -= WORD_BYTES;
            let kept = beginning(word, left);
            left -= kept.len();
            shown.is_cut |= kept.len() < word.len();
            words.push(kept.to_owned());
        }
        shown.words = Some(words);
        shown
    }
}

/// As much of the text as fits, in whole characters.
fn beginning(text: &str, most_bytes: usize) -> &str {
    let mut end = text.len().min(most_bytes);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_short_command_is_shown_whole_and_a_long_one_cut_between_characters() {
        let of = |words: &[&str]| {
            let words: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
            ShownCommand::of(Some(&words))
        };
        assert_eq!(ShownCommand::of(None), ShownCommand::default());
        let short = of(&["echo", "hi"]);
        assert!(!short.is_cut);
        assert_eq!(
            short.words.map(|words| words.join(" ")),
            Some("echo hi".into())
        );
        let long = of(&["sh", "-c", &"é".repeat(1000)]);
        let last = long
            .words
            .iter()
            .flatten()
            .next_back()
            .map_or(0, String::len);
        assert!(long.is_cut && last % 2 == 0 && (400..=512).contains(&last));
        let many = of(&["x"; 1000]);
        assert!(many.is_cut && many.words.is_some_and(|words| words.len() < 32));
    }
}
