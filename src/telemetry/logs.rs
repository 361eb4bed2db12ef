//! The log: one event is one line, whatever its fields hold.
//!
//! Writing never blocks and never grows: a slow reader of standard output costs lines, which are counted. Above `info`
//! only our own code speaks, whatever `RUST_LOG` says: libraries see tokens and log headers and bodies when asked.
//! Records of the `log` crate (reqwest, tungstenite, rustls) are not collected at all, for the same reason.

use super::line::OneLine;
use std::any::Any;
use std::io::{self, IsTerminal, Write};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;
use tracing::level_filters::LevelFilter;
use tracing::{Level, Metadata, Subscriber};
use tracing_appender::non_blocking::{ErrorCounter, NonBlocking, NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::filter::{EnvFilter, filter_fn};
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::{Layer, fmt, registry};

/// Lines that may wait for the reader of standard output; more are dropped and counted.
const WAITING_LINES: usize = 8_192;

/// How long the last lines may take. The guard's own patience, where its queue is not full, is shorter.
const LAST_LINES: Duration = Duration::from_millis(1_500);

/// The crate whose events may be as detailed as `RUST_LOG` asks.
const OURS: &str = "presence_bridge";

/// Says at `warn` what a failed token request was answered, body and all: `gcp_auth`, `src/types.rs`.
const TELLS_BODIES: &str = "gcp_auth";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// For people; in color on a terminal.
    Text,
    /// For machines; one JSON object a line.
    Json,
}

/// Keeps the log alive. Dropped at the end of `main`, it writes what still waits, unless nobody reads it.
#[derive(Debug)]
#[must_use = "the log ends with it"]
pub struct Logs {
    guard: Option<WorkerGuard>,
    dropped: DroppedLines,
}

impl Drop for Logs {
    fn drop(&mut self) {
        // A guard that finds its queue full says so on standard output, which is what nobody reads, and waits for ever:
        // `tracing-appender`, `src/non_blocking.rs`.
        let guard = self.guard.take();
        let (done, ended) = mpsc::sync_channel(1);
        let ending = thread::Builder::new().spawn(move || {
            drop(guard);
            done.send(())
        });
        if ending.is_ok() {
            ended.recv_timeout(LAST_LINES).unwrap_or_default();
        }
    }
}

/// Counts the lines lost to a slow reader.
#[derive(Clone, Debug)]
pub struct DroppedLines(ErrorCounter);

impl Logs {
    pub fn dropped(&self) -> DroppedLines {
        self.dropped.clone()
    }
}

impl DroppedLines {
    /// Since the start of the process; for the gauge `log_dropped`.
    pub fn count(&self) -> usize {
        self.0.dropped_lines()
    }
}

#[derive(Debug, thiserror::Error)]
pub enum LogsError {
    #[error("the log filter is not valid")]
    Filter,
    #[error("a log is already installed in this process")]
    Installed,
}

/// Starts the log of this process on standard output, for panics, too.
pub fn init(format: LogFormat, filter: &str) -> Result<Logs, LogsError> {
    let filter = parse_filter(filter).ok_or(LogsError::Filter)?;
    let (writer, guard) = queue(io::stdout(), WAITING_LINES);
    let dropped = DroppedLines(writer.error_counter());
    let colored = format == LogFormat::Text && io::stdout().is_terminal();
    tracing::subscriber::set_global_default(subscriber(format, filter, colored, writer))
        .map_err(|_| LogsError::Installed)?;
    std::panic::set_hook(Box::new(|panic| {
        let place = panic.location().map(ToString::to_string);
        tracing::error!(place, text = panic_text(panic.payload()), "a task panicked");
    }));
    Ok(Logs {
        guard: Some(guard),
        dropped,
    })
}

/// A fixed text is shown; one put together at run time may quote a token or a message.
fn panic_text(payload: &dyn Any) -> &'static str {
    payload
        .downcast_ref::<&'static str>()
        .copied()
        .unwrap_or("not shown, as it may quote data")
}

/// Whether `RUST_LOG` may have this value.
pub fn is_filter(text: &str) -> bool {
    parse_filter(text).is_some()
}

fn parse_filter(text: &str) -> Option<EnvFilter> {
    EnvFilter::builder()
        .with_default_directive(LevelFilter::INFO.into())
        .parse(text)
        .ok()
}

fn queue(sink: impl Write + Send + 'static, lines: usize) -> (NonBlocking, WorkerGuard) {
    NonBlockingBuilder::default()
        .lossy(true)
        .buffered_lines_limit(lines)
        .thread_name("log")
        .finish(sink)
}

fn subscriber<W>(
    format: LogFormat,
    filter: EnvFilter,
    colored: bool,
    writer: W,
) -> impl Subscriber + Send + Sync
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    let writer = OneLine {
        inner: writer,
        format,
        colored,
    };
    let lines = match format {
        LogFormat::Text => fmt::layer().with_ansi(colored).with_writer(writer).boxed(),
        LogFormat::Json => fmt::layer()
            .json()
            .flatten_event(true)
            .with_span_list(false)
            .with_writer(writer)
            .boxed(),
    };
    registry()
        .with(filter)
        .with(filter_fn(may_speak))
        .with(lines)
}

/// The cap that no setting lifts.
fn may_speak(event: &Metadata<'_>) -> bool {
    let of = |name: &str| {
        event
            .target()
            .strip_prefix(name)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
    };
    if of(OURS) {
        true
    } else if of(TELLS_BODIES) {
        *event.level() <= Level::ERROR
    } else {
        *event.level() <= Level::INFO
    }
}

#[cfg(test)]
mod tests {
    use super::super::line::{COLORS, is_harmful};
    use super::*;
    use std::sync::{Arc, Mutex};

    /// What was written so far.
    #[derive(Clone, Default)]
    struct Page(Arc<Mutex<Vec<u8>>>);

    impl Page {
        fn lines(&self) -> Vec<String> {
            let text = String::from_utf8(self.0.lock().unwrap().clone()).unwrap();
            text.split_terminator('\n').map(ToOwned::to_owned).collect()
        }
    }

    impl Write for Page {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn logged(
        format: LogFormat,
        filter: &str,
        colored: bool,
        events: impl FnOnce(),
    ) -> Vec<String> {
        let page = Page::default();
        let sink = page.clone();
        let subscriber = subscriber(format, parse_filter(filter).unwrap(), colored, move || {
            sink.clone()
        });
        tracing::subscriber::with_default(subscriber, events);
        page.lines()
    }

    const HOSTILE: &str =
        "ann\n2026 INFO forged\r\x1b[2J\x07\t\u{85}\u{9b}31m\u{2028}\u{202e}\u{7f}end";

    fn hostile_event() {
        tracing::info!(user = HOSTILE, shown = %HOSTILE, debug = ?HOSTILE, "{HOSTILE}");
    }

    #[test]
    fn hostile_fields_stay_on_one_line_of_text() {
        for colored in [false, true] {
            let lines = logged(LogFormat::Text, "info", colored, hostile_event);
            assert_eq!(lines.len(), 1, "{lines:?}");
            let plain = COLORS
                .iter()
                .fold(lines[0].clone(), |line, color| line.replace(color, ""));
            assert_eq!(colored, plain != lines[0]);
            assert!(!plain.contains(is_harmful), "{plain:?}");
            assert!(plain.contains("forged") && plain.contains("end"), "{plain}");
        }
    }

    #[test]
    fn hostile_fields_stay_on_one_line_of_json() {
        let lines = logged(LogFormat::Json, "info", false, hostile_event);
        assert_eq!(lines.len(), 1, "{lines:?}");
        assert!(!lines[0].contains(is_harmful), "{:?}", lines[0]);
        let event: serde_json::Value = serde_json::from_str(&lines[0]).unwrap();
        assert_eq!(
            event["user"], HOSTILE,
            "a reader of the JSON gets the value back"
        );
        assert_eq!(event["level"], "INFO");
    }

    #[test]
    fn plain_text_is_written_as_it_is() {
        let lines = logged(LogFormat::Text, "info", false, || {
            tracing::info!(user.id = "Zoë 🙂", "connection opened");
        });
        assert!(
            lines[0].ends_with(r#"connection opened user.id="Zoë 🙂""#),
            "{lines:?}"
        );
    }

    #[test]
    fn libraries_cannot_be_made_to_tell_tokens() {
        for filter in [
            "trace",
            "socketioxide=trace,engineioxide=debug,hyper=trace,h2=trace",
            "trace,gcp_auth=trace",
        ] {
            let lines = logged(LogFormat::Text, filter, false, || {
                tracing::debug!(target: "socketioxide::client", "canary");
                tracing::trace!(target: "engineioxide", "canary");
                tracing::debug!(target: "hyper::proto::h1", "canary");
                tracing::trace!(target: "h2::codec", "canary");
                tracing::debug!(target: "presence_bridge_elsewhere", "canary");
                tracing::warn!(target: "gcp_auth::types", "canary");
            });
            assert!(lines.is_empty(), "{filter}: {lines:?}");
        }
    }

    #[test]
    fn our_own_code_may_be_asked_for_details() {
        let lines = logged(LogFormat::Text, "presence_bridge=debug", false, || {
            tracing::debug!("detail");
            tracing::trace!("too much");
            tracing::info!(target: "hyper", "not asked for");
        });
        assert_eq!(lines.len(), 1, "{lines:?}");
        assert!(lines[0].contains("detail"));
    }

    #[test]
    fn a_stuck_reader_costs_lines_not_time_and_they_are_counted() {
        /// Never returns from a write until the test lets go.
        struct Stuck(mpsc::Receiver<()>);
        impl Write for Stuck {
            fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
                self.0.recv().unwrap_or(());
                Ok(bytes.len())
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let (let_go, stuck) = mpsc::channel();
        let (writer, guard) = queue(Stuck(stuck), 8);
        let dropped = DroppedLines(writer.error_counter());
        let subscriber = subscriber(
            LogFormat::Text,
            parse_filter("info").unwrap(),
            false,
            writer,
        );
        tracing::subscriber::with_default(subscriber, || {
            for _ in 0..100 {
                tracing::info!("line");
            }
        });
        // One line may be in the writer's hands, eight wait.
        assert!((91..=92).contains(&dropped.count()), "{}", dropped.count());
        drop(let_go);
        drop(guard);
    }

    #[test]
    fn a_panic_shows_fixed_texts_only() {
        let caught = |f: fn()| std::panic::catch_unwind(f).unwrap_err();
        assert_eq!(panic_text(&*caught(|| panic!("fixed"))), "fixed");
        let quoting = caught(|| panic!("quotes {}", "canary".to_owned()));
        assert!(!panic_text(&*quoting).contains("canary"));
    }

    #[test]
    fn a_filter_that_means_nothing_is_refused() {
        for good in ["info", "warn,presence_bridge=debug", "off", ""] {
            assert!(is_filter(good), "{good}");
        }
        for bad in ["presence_bridge=loud", "info,,=", "a=b=c"] {
            assert!(!is_filter(bad), "{bad}");
        }
    }
}
