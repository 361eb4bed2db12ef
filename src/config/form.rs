//! The forms a value may have: how each is read, and how it is described to a person.

use super::address;
use super::values::{CorsOrigins, Fence, Layout, OnDrain, TenantPolicy, Transport};
use crate::telemetry::logs::{self, LogFormat};
use bytesize::ByteSize;
use std::fmt::Display;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;
use url::Url;

/// One form: the sentence, the example, the reader.
pub(super) struct Form<T> {
    pub(super) accepted: String,
    pub(super) example: String,
    read: Box<Read<T>>,
}

/// `None`: not of this form.
type Read<T> = dyn Fn(&str) -> Option<T>;

impl<T: 'static> Form<T> {
    fn new(
        accepted: impl Into<String>,
        example: impl Into<String>,
        read: impl Fn(&str) -> Option<T> + 'static,
    ) -> Self {
        Self {
            accepted: accepted.into(),
            example: example.into(),
            read: Box::new(read),
        }
    }

    pub(super) fn read(&self, text: &str) -> Option<T> {
        (self.read)(text)
    }
}

/// A value that may be left unset; the empty text stands for that.
pub(super) fn optional<T: 'static>(form: Form<T>) -> Form<Option<T>> {
    let Form {
        accepted,
        example,
        read,
    } = form;
    Form::new(accepted, example, move |text| {
        if text.is_empty() {
            Some(None)
        } else {
            read(text).map(Some)
        }
    })
}

pub(super) fn number<T>(range: RangeInclusive<T>, example: &str) -> Form<T>
where
    T: FromStr + PartialOrd + Display + 'static,
{
    let accepted = format!("a whole number from {} to {}", range.start(), range.end());
    Form::new(accepted, example, move |text| {
        text.parse().ok().filter(|number| range.contains(number))
    })
}

/// A duration with its unit. `0` alone needs none.
pub(super) fn duration(range: RangeInclusive<Duration>, example: &str) -> Form<Duration> {
    let accepted = format!(
        "a duration with its unit (ms, s, m, h) from {} to {}",
        humantime::format_duration(*range.start()),
        humantime::format_duration(*range.end()),
    );
    Form::new(accepted, example, move |text| {
        // humantime 2.4 panics where a sum of units overflows.
        let sane = text
            .split(|c: char| !c.is_ascii_digit())
            .all(|digits| digits.len() <= 12);
        sane.then(|| humantime::parse_duration(text).ok())
            .flatten()
            .filter(|duration| range.contains(duration))
    })
}

/// A size in bytes with its unit; a bare number is refused, as nobody knows what it counts.
pub(super) fn size(range: RangeInclusive<usize>, example: &str) -> Form<usize> {
    let accepted = format!(
        "a size with its unit (B, KiB, MiB) from {} to {}",
        display_size(*range.start()),
        display_size(*range.end()),
    );
    Form::new(accepted, example, move |text| {
        if text.ends_with(|last: char| last.is_ascii_digit()) {
            return None;
        }
        let size: ByteSize = text.parse().ok()?;
        usize::try_from(size.as_u64())
            .ok()
            .filter(|bytes| range.contains(bytes))
    })
}

fn display_size(bytes: usize) -> String {
    match bytes {
        0..1024 => format!("{bytes}B"),
        1024..1_048_576 => format!("{}KiB", bytes / 1024),
        _ => format!("{}MiB", bytes / 1_048_576),
    }
}

/// Exactly one word of a list.
fn word<T: Copy + 'static>(words: &'static [(&'static str, T)], example: &str) -> Form<T> {
    let list: Vec<_> = words.iter().map(|(word, _)| format!("`{word}`")).collect();
    let accepted = format!("one of {}", list.join(", "));
    Form::new(accepted, example, move |text| {
        words
            .iter()
            .find(|(word, _)| *word == text)
            .map(|(_, value)| *value)
    })
}

/// Separated by commas, at least one, none twice.
fn list<T: PartialEq + 'static>(item: Form<T>, accepted: &str, example: &str) -> Form<Vec<T>> {
    Form::new(accepted, example, move |text| {
        let mut items = Vec::new();
        for part in text.split(',') {
            let value = item.read(part.trim())?;
            if items.contains(&value) {
                return None;
            }
            items.push(value);
        }
        Some(items)
    })
}

pub(super) fn log_format() -> Form<LogFormat> {
    word(
        &[("text", LogFormat::Text), ("json", LogFormat::Json)],
        "json",
    )
}

pub(super) fn log_filter() -> Form<String> {
    Form::new(
        "log directives, separated by commas: a level or target=level; other crates stay at info",
        "info,presence_bridge=debug",
        |text| logs::is_filter(text).then(|| text.to_owned()),
    )
}

pub(super) fn layout() -> Form<Layout> {
    word(
        &[
            ("bridge", Layout::Bridge),
            ("firebase-guide", Layout::FirebaseGuide),
        ],
        "bridge",
    )
}

pub(super) fn on_drain() -> Form<OnDrain> {
    word(
        &[
            ("offline", OnDrain::Offline),
            ("handover", OnDrain::Handover),
        ],
        "offline",
    )
}

pub(super) fn fence() -> Form<Fence> {
    word(&[("off", Fence::Off), ("rules", Fence::Rules)], "off")
}

pub(super) fn transports() -> Form<Vec<Transport>> {
    let one = word(
        &[
            ("websocket", Transport::Websocket),
            ("polling", Transport::Polling),
        ],
        "websocket",
    );
    list(
        one,
        "`websocket`, `polling` or both, separated by a comma",
        "websocket",
    )
}

pub(super) fn tenant_policy() -> Form<TenantPolicy> {
    Form::new(
        "`none` (tokens without a tenant), `any`, or `require=` and a tenant id",
        "require=acme-7f3kq",
        |text| match text {
            "none" => Some(TenantPolicy::None),
            "any" => Some(TenantPolicy::Any),
            _ => text
                .strip_prefix("require=")
                .filter(|id| {
                    (1..=128).contains(&id.len())
                        && id.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
                })
                .map(|id| TenantPolicy::Require(id.to_owned())),
        },
    )
}

pub(super) fn cors_origins() -> Form<CorsOrigins> {
    let origins = list(
        Form::new("", "", address::origin),
        "",
        "https://app.example.com",
    );
    Form::new(
        "origins (scheme://host[:port]) separated by commas, or `*` for any, or unset for none",
        "https://app.example.com,http://localhost:5173",
        move |text| match text {
            "" => Some(CorsOrigins::Only(Vec::new())),
            "*" => Some(CorsOrigins::Any),
            _ => origins.read(text).map(CorsOrigins::Only),
        },
    )
}

/// Lower case, as Google hands them out; `:` and `.` occur in old, domain-scoped ones.
pub(super) fn project_id() -> Form<String> {
    Form::new(
        "a Firebase project id: 1 to 64 lower-case letters, digits and hyphens",
        "my-chat-app",
        |text| {
            let legal = |b: u8| {
                b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'-' | b'.' | b':')
            };
            ((1..=64).contains(&text.len()) && text.bytes().all(legal)).then(|| text.to_owned())
        },
    )
}

pub(super) fn database_url() -> Form<Url> {
    Form::new(
        "https:// and a host below firebaseio.com or firebasedatabase.app without a path \
         (plain http for loopback addresses only)",
        "https://my-chat-app-default-rtdb.europe-west1.firebasedatabase.app",
        address::database_url,
    )
}

/// An address of our own choice: https, or plain http to this machine.
pub(super) fn service_url(example: &str) -> Form<Url> {
    Form::new(
        "an https:// address (plain http for loopback addresses only)",
        example,
        address::service_url,
    )
}

pub(super) fn emulator_host(example: &str) -> Form<String> {
    Form::new(
        "host:port without a scheme and without a path",
        example,
        |text| address::host_and_port(text).map(|()| text.to_owned()),
    )
}

/// A host, with a port if it has an unusual one.
pub(super) fn host(example: &str) -> Form<String> {
    Form::new(
        "a host, with a port if it needs one, without a scheme and without a path",
        example,
        |text| {
            let url = Url::parse(&format!("http://{text}/")).ok()?;
            let plain = url.path() == "/"
                && url.query().is_none()
                && url.username().is_empty()
                && !text.contains('/');
            plain.then(|| text.to_owned())
        },
    )
}

pub(super) fn database_path(example: &str) -> Form<String> {
    Form::new(
        "an absolute database path of 1 to 30 segments, none of them with . $ # [ ] or a control character",
        example,
        |text| address::is_database_path(text).then(|| text.to_owned()),
    )
}

/// It becomes one segment of a database path and a value in each record.
pub(super) fn node_name() -> Form<String> {
    Form::new(
        "a name of 1 to 128 characters without / and control characters",
        "main",
        |text| {
            let legal = (1..=128).contains(&text.chars().count())
                && !text.contains(|c: char| c == '/' || c.is_control());
            legal.then(|| text.to_owned())
        },
    )
}

pub(super) fn path(example: &str) -> Form<PathBuf> {
    Form::new("the path of a file", example, |text| {
        (!text.starts_with('{')).then(|| PathBuf::from(text))
    })
}

/// Whatever [`FromStr`] reads.
pub(super) fn parsed<T: FromStr + 'static>(accepted: &str, example: &str) -> Form<T> {
    Form::new(accepted, example, |text| text.parse().ok())
}
