//! Which database: address, namespace, and whether it is the emulator.

use crate::firebase::schema::DatabasePath;
use url::{Host, Url};

/// Hosts of real databases: the default region's, and the others'.
const SUFFIXES: [&str; 2] = [".firebaseio.com", ".firebasedatabase.app"];

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TargetError {
    #[error("is not a URL like https://my-app-default-rtdb.firebaseio.com")]
    NotAUrl,
    #[error(
        "must be https and end in .firebaseio.com or .firebasedatabase.app (plain http is for loopback addresses)"
    )]
    Foreign,
    #[error("must have no path, user, port, query or fragment")]
    Surplus,
    #[error("must be host:port, without http://")]
    NotHostPort,
    #[error("must not be an empty namespace")]
    NoNamespace,
}

/// The database that is written to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// Scheme, host and port.
    base: Url,
    namespace: Option<String>,
}

impl Target {
    /// A real database over https; or, for tests, something that behaves like one at a loopback
    /// address, over plain http and with a namespace if it wants one.
    pub fn production(address: &str) -> Result<Self, TargetError> {
        let mut base = Url::parse(address).map_err(|_| TargetError::NotAUrl)?;
        let loopback = base.scheme() == "http" && is_loopback(&base);
        let google = base.scheme() == "https" && is_database_host(&base);
        if !loopback && !google {
            return Err(TargetError::Foreign);
        }
        let namespace = namespace_of(&base).filter(|_| loopback);
        let surplus = !matches!(base.path(), "" | "/")
            || !base.username().is_empty()
            || base.password().is_some()
            || base.fragment().is_some()
            || (base.query().is_some() && namespace.is_none())
            || (base.port().is_some() && !loopback);
        if surplus {
            return Err(TargetError::Surplus);
        }
        base.set_query(None);
        Ok(Self { base, namespace })
    }

    /// The emulator at `host` (`host:port`). It holds many databases; `namespace` names one.
    pub fn emulator(host: &str, namespace: &str) -> Result<Self, TargetError> {
        let base = Url::parse(&format!("http://{host}/")).map_err(|_| TargetError::NotHostPort)?;
        let port = host
            .rsplit_once(':')
            .and_then(|(_, p)| p.parse::<u16>().ok());
        let plain = base.path() == "/"
            && base.query().is_none()
            && base.fragment().is_none()
            && base.username().is_empty()
            && base.password().is_none();
        if !plain || port.is_none() || host.contains('/') {
            return Err(TargetError::NotHostPort);
        }
        if namespace.is_empty() {
            return Err(TargetError::NoNamespace);
        }
        Ok(Self {
            base,
            namespace: Some(namespace.to_owned()),
        })
    }

    /// Whether requests are encrypted; if not, they stay on this machine or go to an emulator.
    pub(super) fn is_https(&self) -> bool {
        self.base.scheme() == "https"
    }

    /// The REST address of a place. Keys are encoded once more, so that a `%` in a key stays one.
    pub(super) fn url(&self, path: &DatabasePath) -> Url {
        let mut url = self.base.clone();
        if let (Ok(mut segments), Some((last, above))) =
            (url.path_segments_mut(), path.segments().split_last())
        {
            segments.clear();
            segments.extend(above);
            segments.push(&format!("{last}.json"));
        }
        if let Some(namespace) = &self.namespace {
            url.query_pairs_mut().append_pair("ns", namespace);
        }
        url
    }
}

/// The namespace that a database address names: `?ns=`, or the first label of its host.
pub fn namespace_of(address: &Url) -> Option<String> {
    let named = address.query_pairs().find(|(name, _)| name == "ns");
    let label = || {
        let (label, _) = address
            .domain()
            .filter(|_| is_database_host(address))?
            .split_once('.')?;
        Some(label.to_owned())
    };
    let name = named.map(|(_, value)| value.into_owned()).or_else(label)?;
    (!name.is_empty()).then_some(name)
}

pub(super) fn is_database_host(url: &Url) -> bool {
    let Some(Host::Domain(name)) = url.host() else {
        return false;
    };
    SUFFIXES.iter().any(|suffix| {
        name.strip_suffix(suffix)
            .is_some_and(|database| !database.is_empty())
    })
}

fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Ipv4(ip)) => ip.is_loopback(),
        Some(Host::Ipv6(ip)) => ip.is_loopback(),
        Some(Host::Domain(name)) => name == "localhost",
        None => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(target: &Target, path: &str) -> String {
        target.url(&DatabasePath::parse(path).unwrap()).to_string()
    }

    #[test]
    fn real_databases_are_https_hosts_of_google() {
        let target = Target::production("https://chat-default-rtdb.firebaseio.com").unwrap();
        let url = "https://chat-default-rtdb.firebaseio.com/presence.json";
        assert_eq!(address(&target, "/presence"), url);
        let regional = "https://chat.europe-west1.firebasedatabase.app/";
        assert!(Target::production(regional).is_ok());
    }

    #[test]
    fn other_addresses_are_refused() {
        let foreign = [
            "https://evil/",
            "https://evilfirebaseio.com",
            "https://firebaseio.com",
            "https://a.firebaseio.com.evil.org",
            "https://169.254.169.254",
            "http://169.254.169.254/",
            "http://chat.firebaseio.com",
            "http://10.0.0.1:9000",
            "https://localhost",
            "ftp://chat.firebaseio.com",
            "https://.firebaseio.com",
        ];
        for text in foreign {
            assert!(Target::production(text).is_err(), "{text}");
        }
        let surplus = [
            "https://chat.firebaseio.com/presence",
            "https://chat.firebaseio.com/?auth=secret",
            "https://chat.firebaseio.com/?ns=other",
            "https://user:pw@chat.firebaseio.com/",
            "https://chat.firebaseio.com:8443/",
            "https://chat.firebaseio.com/#x",
            "http://127.0.0.1:9000/?access_token=secret",
        ];
        for text in surplus {
            assert_eq!(
                Target::production(text),
                Err(TargetError::Surplus),
                "{text}"
            );
        }
        assert_eq!(Target::production("chat"), Err(TargetError::NotAUrl));
    }

    #[test]
    fn loopback_may_be_plain_and_name_a_namespace() {
        let target = Target::production("http://127.0.0.1:9000/?ns=chat").unwrap();
        let url = "http://127.0.0.1:9000/a/presence.json?ns=chat";
        assert_eq!(address(&target, "/a/presence"), url);
        for text in ["http://localhost:1", "http://[::1]:1/"] {
            assert!(Target::production(text).is_ok(), "{text}");
        }
    }

    #[test]
    fn the_emulator_is_a_host_and_port() {
        let target = Target::emulator("localhost:9000", "chat-default-rtdb").unwrap();
        let url = "http://localhost:9000/presence.json?ns=chat-default-rtdb";
        assert_eq!(address(&target, "/presence"), url);
        assert!(Target::emulator("[::1]:80", "x").is_ok());
        for text in [
            "http://localhost:9000",
            "localhost",
            "localhost:9000/x",
            "a@b:1",
            ":9",
            "h:99999",
        ] {
            assert_eq!(
                Target::emulator(text, "x"),
                Err(TargetError::NotHostPort),
                "{text}"
            );
        }
        assert_eq!(Target::emulator("h:1", ""), Err(TargetError::NoNamespace));
    }

    #[test]
    fn a_namespace_is_the_first_label_or_named() {
        let of = |text: &str| namespace_of(&Url::parse(text).unwrap());
        let label = of("https://chat.europe-west1.firebasedatabase.app");
        assert_eq!(label.as_deref(), Some("chat"));
        assert_eq!(of("http://localhost:1/?ns=x").as_deref(), Some("x"));
        assert_eq!(of("http://localhost:1/"), None);
    }

    #[test]
    fn a_percent_in_a_key_is_encoded_once_more() {
        let target = Target::production("http://127.0.0.1:9000").unwrap();
        let path = DatabasePath::parse("/presence")
            .unwrap()
            .child("a%2Fb c?".to_owned());
        let url = target.url(&path).to_string();
        assert_eq!(url, "http://127.0.0.1:9000/presence/a%252Fb%20c%3F.json");
    }
}
