//! What the output goes to, and so how it is written.

use std::fmt::Display;
use std::io::{self, BufWriter, IsTerminal, StdoutLock, Write};

use anstream::{AutoStream, ColorChoice};
use anstyle::AnsiColor;
use ckptdb::Timestamp;
use serde::Serialize;
use serde_json::Value;

use super::human;
use crate::failure::Failure;
use crate::global::ColorWhen;

/// Stdout, locked. Whoever writes flushes it, so that a failed write is noticed.
pub(crate) type Out = BufWriter<AutoStream<StdoutLock<'static>>>;

/// What the output goes to: a program or a person, a terminal or not, with colour or without.
#[derive(Clone, Copy, Debug)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each stands for itself, and any can be with any"
)]
pub(crate) struct Style {
    /// One JSON document instead of text.
    pub(crate) json: bool,
    /// What is said is not done.
    pub(crate) rehearses: bool,
    pub(super) color: bool,
    /// The terminal's width; none when stdout is not a terminal.
    pub(super) width: Option<u16>,
    terminal: bool,
    /// One point in time for the whole output, so that equal ages look equal.
    now: Timestamp,
}

/// A document with its schema in front.
#[derive(Serialize)]
struct Document<'a> {
    schema: String,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    dry_run: bool,
    #[serde(flatten)]
    body: &'a Value,
}

impl<'a> Document<'a> {
    fn of(verb: &str, body: &'a Value, dry_run: bool) -> Self {
        Self {
            schema: format!("ckptdb.{verb}/1"),
            dry_run,
            body,
        }
    }
}

fn time_now() -> Timestamp {
    Timestamp::from_millis(jiff::Timestamp::now().as_millisecond())
}

impl Style {
    /// Looks at stdout and the environment.
    pub(crate) fn detect(json: bool, color: ColorWhen) -> Self {
        let choice = match color {
            ColorWhen::Auto => ColorChoice::Auto,
            ColorWhen::Always => ColorChoice::Always,
            ColorWhen::Never => ColorChoice::Never,
        };
        choice.write_global();
        let stdout = io::stdout();
        Self {
            json,
            rehearses: false,
            color: AutoStream::choice(&stdout) != ColorChoice::Never,
            width: comfy_table::Table::new().width(),
            terminal: stdout.is_terminal(),
            now: time_now(),
        }
    }

    /// Of a page: no colour, no terminal, times in full.
    pub(crate) fn page() -> Self {
        Self {
            json: false,
            rehearses: false,
            color: false,
            width: None,
            terminal: false,
            now: time_now(),
        }
    }

    /// The point in time of this output.
    pub(crate) const fn time(&self) -> Timestamp {
        self.now
    }

    /// Stdout, locked.
    #[expect(
        clippy::unused_self,
        reason = "whoever writes has a style; the next field may count"
    )]
    pub(crate) fn out(&self) -> Out {
        BufWriter::new(anstream::stdout().lock())
    }

    /// Prints the one document of `--json`; `verb` is the command's name in its schema.
    pub(crate) fn document(&self, verb: &str, body: &Value) -> Result<(), Failure> {
        let mut out = self.out();
        serde_json::to_writer_pretty(&mut out, &Document::of(verb, body, self.rehearses))
            .map_err(io::Error::from)?;
        writeln!(out)?;
        Ok(out.flush()?)
    }

    /// The same in one line, for commands that print several.
    pub(crate) fn json_line(&self, verb: &str, body: &Value) -> Result<String, Failure> {
        let text = serde_json::to_string(&Document::of(verb, body, self.rehearses))
            .map_err(io::Error::from)?;
        Ok(format!("{text}\n"))
    }

    /// The same style for what is only rehearsed.
    pub(crate) fn rehearsing(&self) -> Self {
        Self {
            rehearses: true,
            ..*self
        }
    }

    /// The same style a while later.
    pub(crate) fn now(&self) -> Self {
        Self {
            now: time_now(),
            ..*self
        }
    }

    /// Whether what is printed is coloured.
    pub(crate) const fn is_coloured(&self) -> bool {
        self.color
    }

    /// Whether a person looks at it.
    pub(crate) const fn is_terminal(&self) -> bool {
        self.terminal
    }

    /// Shows text in the place of all that the terminal shows.
    pub(crate) fn show(&self, text: &str) -> Result<(), Failure> {
        let mut out = self.out();
        // Home, the text with the rest of each line cleared, and what is below.
        write!(out, "\x1b[H{}\x1b[J", text.replace('\n', "\x1b[K\n"))?;
        Ok(out.flush()?)
    }

    /// Prints one line of data. What is only rehearsed says so in the line itself, wherever that
    /// goes.
    pub(crate) fn line(&self, text: impl Display) -> Result<(), Failure> {
        let mut out = self.out();
        let rehearsed = if self.rehearses { "dry run: " } else { "" };
        writeln!(out, "{rehearsed}{text}")?;
        Ok(out.flush()?)
    }

    /// Prints a line that is not data, on stderr.
    #[expect(clippy::unused_self, reason = "the counterpart of `line`")]
    pub(crate) fn note(&self, text: impl Display) {
        // A note that can't be shown is no reason to fail.
        let _ = writeln!(anstream::stderr().lock(), "{text}");
    }

    /// The heading over a point in time.
    pub(crate) fn when_heading(&self) -> &'static str {
        if self.terminal { "AGE" } else { "SAVED" }
    }

    /// A point in time for a table: its age on a terminal, RFC 3339 when piped.
    pub(crate) fn when(&self, time: Timestamp) -> String {
        if self.terminal {
            human::duration(self.now.millis_since(time))
        } else {
            human::rfc3339_seconds(time)
        }
    }

    /// The same within a sentence.
    pub(crate) fn ago(&self, time: Timestamp) -> String {
        let when = self.when(time);
        if self.terminal {
            format!("{when} ago")
        } else {
            when
        }
    }

    /// The point in time in full, with its age on a terminal.
    pub(crate) fn when_in_full(&self, time: Timestamp) -> String {
        let exact = human::rfc3339_seconds(time);
        if self.terminal {
            format!("{exact}  ({})", self.ago(time))
        } else {
            exact
        }
    }

    /// The text in faint letters.
    pub(crate) fn faint(&self, text: &str) -> String {
        self.paint(text, anstyle::Style::new().dimmed())
    }

    /// The text as a heading.
    pub(crate) fn strong(&self, text: &str) -> String {
        self.paint(text, anstyle::Style::new().bold())
    }

    /// The text as something good.
    pub(crate) fn good(&self, text: &str) -> String {
        self.paint(text, AnsiColor::Green.on_default())
    }

    fn paint(&self, text: &str, style: anstyle::Style) -> String {
        if self.color {
            format!("{style}{text}{style:#}")
        } else {
            text.to_owned()
        }
    }
}
