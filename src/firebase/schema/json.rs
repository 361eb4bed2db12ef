//! Children of a JSON answer one by one, without holding the whole tree in memory.

use serde::de::{Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;
use std::borrow::Cow;
use std::fmt;

/// Calls `visit` with key and JSON text of each child. The database answers with an array where
/// the keys are numbers near enough to each other (`[null, {..}]`): there the key is the index.
/// A scalar or `null` has no children. Text that is not JSON, or cut short, is an error.
pub(super) fn each_child(
    answer: &[u8],
    visit: &mut dyn FnMut(&str, &str),
) -> serde_json::Result<()> {
    let mut deserializer = serde_json::Deserializer::from_slice(answer);
    deserializer.deserialize_any(Children(visit))?;
    deserializer.end()
}

struct Children<'f>(&'f mut dyn FnMut(&str, &str));

/// A key, borrowed unless it holds an escape.
#[derive(serde::Deserialize)]
#[serde(transparent)]
struct Key<'a>(#[serde(borrow)] Cow<'a, str>);

impl<'de> Visitor<'de> for Children<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(Key(key)) = map.next_key()? {
            let child: &RawValue = map.next_value()?;
            (self.0)(&key, child.get());
        }
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        let mut index = 0_u64;
        while let Some(child) = seq.next_element::<&RawValue>()? {
            if child.get() != "null" {
                (self.0)(&index.to_string(), child.get());
            }
            index += 1;
        }
        Ok(())
    }

    fn visit_unit<E: Error>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_bool<E: Error>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E: Error>(self, _: u64) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E: Error>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E: Error>(self, _: f64) -> Result<(), E> {
        Ok(())
    }

    fn visit_str<E: Error>(self, _: &str) -> Result<(), E> {
        Ok(())
    }
}
