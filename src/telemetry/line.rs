//! One event, one line: what is left of control characters after formatting is escaped on the way out.

use super::logs::LogFormat;
use std::io::{self, Write};
use tracing_subscriber::fmt::MakeWriter;

/// Writes one event as one line without control characters. The formatters of tracing-subscriber let some through:
/// line breaks and escapes of fields shown with `%`, and in JSON what is not ASCII.
pub(super) struct OneLine<W> {
    pub(super) inner: W,
    pub(super) format: LogFormat,
    pub(super) colored: bool,
}

/// The layer writes each event with one call (tracing-subscriber, `src/fmt/fmt_layer.rs`).
pub(super) struct OneLineWriter<W> {
    inner: W,
    format: LogFormat,
    colored: bool,
}

impl<'a, W: MakeWriter<'a>> MakeWriter<'a> for OneLine<W> {
    type Writer = OneLineWriter<W::Writer>;

    fn make_writer(&'a self) -> Self::Writer {
        OneLineWriter {
            inner: self.inner.make_writer(),
            format: self.format,
            colored: self.colored,
        }
    }
}

impl<W: Write> Write for OneLineWriter<W> {
    fn write(&mut self, event: &[u8]) -> io::Result<usize> {
        let text = String::from_utf8_lossy(event);
        let line = text.strip_suffix('\n').unwrap_or(&text);
        if line.contains(is_harmful) {
            let escaped = self.escaped(line) + "\n";
            self.inner.write_all(escaped.as_bytes())?;
        } else {
            self.inner.write_all(event)?;
        }
        Ok(event.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

impl<W> OneLineWriter<W> {
    fn escaped(&self, line: &str) -> String {
        let mut escaped = String::with_capacity(line.len() + 16);
        for (at, c) in line.char_indices() {
            let color = self.colored && COLORS.iter().any(|color| line[at..].starts_with(color));
            if !is_harmful(c) || color {
                escaped.push(c);
            } else {
                match self.format {
                    LogFormat::Text => escaped.extend(c.escape_default()),
                    // All of them are in the Basic Multilingual Plane, so four digits do.
                    LogFormat::Json => escaped += format!("\\u{:04x}", c as u32).as_str(),
                }
            }
        }
        escaped
    }
}

/// What the formatter colors with (reset, bold, dim, italic, the five of the levels): on a terminal these pass,
/// whoever wrote them, as they can neither move, clear nor hide anything.
pub(super) const COLORS: [&str; 9] = [
    "\x1b[0m", "\x1b[1m", "\x1b[2m", "\x1b[3m", "\x1b[31m", "\x1b[32m", "\x1b[33m", "\x1b[34m",
    "\x1b[35m",
];

/// Control characters, line and paragraph separators, and marks that turn the direction of text around.
pub(super) fn is_harmful(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{2028}' | '\u{2029}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}
