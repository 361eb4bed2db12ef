//! What counts as an address: of Google's database, of a service, of an emulator, inside the database.

use url::{Host, Url};

/// Hosts of the production Realtime Database
/// (firebase.google.com/docs/database/rest/start: default region, other regions).
const DATABASE_DOMAINS: [&str; 2] = [".firebaseio.com", ".firebasedatabase.app"];

/// The database allows 32 levels and paths of 768 bytes (firebase.google.com/docs/database/usage/limits);
/// below our paths come two more levels and keys of up to 384 bytes.
const MAX_PATH_SEGMENTS: usize = 30;
const MAX_PATH_BYTES: usize = 256;

/// Whether packets to this host stay on this machine.
pub(super) fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Domain(name)) => name == "localhost",
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    }
}

/// https anywhere, plain http to loopback; never with a password or a fragment.
pub(super) fn service_url(text: &str) -> Option<Url> {
    let url = Url::parse(text).ok()?;
    let safe = match url.scheme() {
        "https" => url.host().is_some(),
        "http" => is_loopback(&url),
        _ => false,
    };
    let bare = url.username().is_empty() && url.password().is_none() && url.fragment().is_none();
    (safe && bare).then_some(url)
}

/// The root of a Realtime Database. `?ns=` is left in, for the emulator's rule to judge.
pub(super) fn database_url(text: &str) -> Option<Url> {
    let url = service_url(text)?;
    let google = DATABASE_DOMAINS
        .iter()
        .any(|domain| url.domain().is_some_and(|host| host.ends_with(domain)));
    let known = if url.scheme() == "https" {
        google && url.port().is_none() && url.query().is_none()
    } else {
        true
    };
    let only_namespace = url.query_pairs().all(|(name, _)| name == "ns");
    (known && only_namespace && url.path() == "/").then_some(url)
}

/// The emulator's namespace in a database address, if it names one.
pub(super) fn namespace(url: &Url) -> Option<String> {
    url.query_pairs()
        .find(|(name, value)| name == "ns" && !value.is_empty())
        .map(|(_, value)| value.into_owned())
}

/// `host:port`; the port is written out and not 0.
pub(super) fn host_and_port(text: &str) -> Option<()> {
    let (host, port) = text.rsplit_once(':')?;
    let port: u16 = port.parse().ok()?;
    if port == 0 || host.contains(['/', '@', '?', '#', '\\', '%']) {
        return None;
    }
    Host::parse(host).ok().map(|_| ())
}

/// A browser's `Origin` in the spelling that browsers use; `null` and wildcards are none. Any scheme with a host:
/// apps in a web view send `capacitor://localhost`.
pub(super) fn origin(text: &str) -> Option<String> {
    let url = Url::parse(text).ok()?;
    let host = url
        .host_str()
        .filter(|host| !host.is_empty() && !host.contains('*'))?;
    let bare = matches!(url.path(), "" | "/")
        && url.query().is_none()
        && url.fragment().is_none()
        && url.username().is_empty()
        && url.password().is_none();
    let port = url
        .port()
        .map(|port| format!(":{port}"))
        .unwrap_or_default();
    bare.then(|| format!("{}://{host}{port}", url.scheme()))
}

/// Segments must be legal as they are: a path is written by a person, so nothing in it is encoded for them.
pub(super) fn is_database_path(text: &str) -> bool {
    let Some(path) = text.strip_prefix('/') else {
        return false;
    };
    let legal = |segment: &str| {
        !segment.is_empty()
            && !segment.contains(|c: char| {
                matches!(c, '.' | '$' | '#' | '[' | ']' | '%' | '?') || c.is_control()
            })
    };
    text.len() <= MAX_PATH_BYTES
        && path.split('/').count() <= MAX_PATH_SEGMENTS
        && path.split('/').all(legal)
}

/// Whether one path is the other or leads to it.
pub(super) fn overlap(one: &str, other: &str) -> bool {
    let inside = |inner: &str, outer: &str| {
        inner
            .strip_prefix(outer)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    };
    inside(one, other) || inside(other, one)
}
