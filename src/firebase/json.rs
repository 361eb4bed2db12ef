//! A JSON object whose members are read one by one, with no name twice.

use serde::de::{Error, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;
use std::borrow::Cow;
use std::collections::HashMap;
use std::fmt;

/// The members of one object, values unread. Two parsers may disagree on which of two equal
/// names counts, so such an object is refused.
#[derive(Debug)]
pub(super) struct Object<'a>(HashMap<Cow<'a, str>, &'a RawValue>);

/// The member is there, but not of the type it has to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct WrongType;

impl<'a> Object<'a> {
    pub(super) fn parse(json: &'a [u8]) -> Result<Self, serde_json::Error> {
        serde_json::from_slice(json)
    }

    pub(super) fn has(&self, name: &str) -> bool {
        self.0.contains_key(name)
    }

    /// A member of the wrong type, `null` among them, is an error and not an absence.
    pub(super) fn get<T: Deserialize<'a>>(&self, name: &str) -> Result<Option<T>, WrongType> {
        match self.0.get(name) {
            None => Ok(None),
            Some(raw) => serde_json::from_str(raw.get())
                .map(Some)
                .map_err(|_| WrongType),
        }
    }

    pub(super) fn text(&self, name: &str) -> Result<Option<Cow<'a, str>>, WrongType> {
        Ok(self.get::<Text<'a>>(name)?.map(|text| text.0))
    }
}

/// A string, borrowed where it holds no escape.
#[derive(Deserialize, PartialEq, Eq, Hash)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

impl<'de> Deserialize<'de> for Object<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Members;

        impl<'de> Visitor<'de> for Members {
            type Value = Object<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object without duplicate names")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut members = HashMap::new();
                while let Some((Text(name), value)) = map.next_entry()? {
                    if members.insert(name, value).is_some() {
                        return Err(A::Error::custom("duplicate name"));
                    }
                }
                Ok(Object(members))
            }
        }

        deserializer.deserialize_map(Members)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_are_read_by_name_and_type() {
        let object = Object::parse(br#"{"a":"x","n":1.5,"none":null,"o":{"b":"y"}}"#).unwrap();
        assert_eq!(object.text("a"), Ok(Some("x".into())));
        assert_eq!(object.get::<f64>("n"), Ok(Some(1.5)));
        assert_eq!(object.text("n"), Err(WrongType));
        assert_eq!(object.text("none"), Err(WrongType));
        assert_eq!(object.text("absent"), Ok(None));
        let inner = object.get::<Object<'_>>("o").unwrap().unwrap();
        assert_eq!(inner.text("b"), Ok(Some("y".into())));
    }

    #[test]
    fn a_name_twice_is_refused_however_it_is_spelled() {
        assert!(Object::parse(br#"{"a":1,"a":1}"#).is_err());
        assert!(Object::parse(br#"{"sub":1,"\u0073ub":1}"#).is_err());
    }

    #[test]
    fn what_is_not_an_object_is_refused() {
        for json in ["[]", "1", "\"a\"", "null", "", "{", "{} x", "\u{feff}{}"] {
            assert!(Object::parse(json.as_bytes()).is_err(), "{json}");
        }
    }

    #[test]
    fn deep_nesting_costs_nothing() {
        let deep = format!(r#"{{"a":{}{}}}"#, "[".repeat(10_000), "]".repeat(10_000));
        assert!(Object::parse(deep.as_bytes()).unwrap().has("a"));
        assert_eq!(
            Object::parse(deep.as_bytes()).unwrap().get::<f64>("a"),
            Err(WrongType)
        );
    }
}
