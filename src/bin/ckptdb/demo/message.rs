//! What the training process tells the demo, one line each.

use std::fmt;

/// A line that the training process prints. Its number is an iteration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Message {
    /// Training goes on from here; 0 is the very beginning.
    Started(u64),
    /// The save of this iteration is about to begin.
    Saving(u64),
    /// The store has said that it is durable.
    Saved(u64),
}

impl Message {
    /// Reads a line.
    pub(super) fn parse(line: &str) -> Option<Self> {
        let (word, number) = line.split_once(' ')?;
        let iteration = number.parse().ok()?;
        match word {
            "started" => Some(Self::Started(iteration)),
            "saving" => Some(Self::Saving(iteration)),
            "saved" => Some(Self::Saved(iteration)),
            _ => None,
        }
    }
}

impl fmt::Display for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Started(iteration) => write!(f, "started {iteration}"),
            Self::Saving(iteration) => write!(f, "saving {iteration}"),
            Self::Saved(iteration) => write!(f, "saved {iteration}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_reads_back_from_its_line_and_half_a_line_does_not() {
        for message in [Message::Started(0), Message::Saving(20), Message::Saved(20)] {
            assert_eq!(Message::parse(&message.to_string()), Some(message));
        }
        for cut in ["", "sav", "saved", "saved ", "saved x"] {
            assert_eq!(Message::parse(cut), None);
        }
    }
}
