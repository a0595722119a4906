//! Reads JSON that hosts and hooks say: small, bounded by whoever received it, and looked at by name.
//!
//! One reader for all of it. Each that is derived for a type of its own makes this program kilobytes larger, and
//! `serde_json`'s own tree is larger still.

use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, SeqAccess, Visitor};

/// A value. Fields that nobody asks for are other versions' business.
pub(crate) enum Value {
    Flag(bool),
    Whole(i64),
    Text(String),
    List(Vec<Value>),
    Object(Vec<(String, Value)>),
    /// `null`, and numbers that nobody reads.
    Other,
}

/// Reads one value; `None` if it is not JSON.
pub(crate) fn read(text: &[u8]) -> Option<Value> {
    serde_json::from_slice(text).ok()
}

impl Value {
    /// The text of this name, if it is one.
    pub(crate) fn text(&self, name: &str) -> Option<&str> {
        if let Self::Text(text) = self.get(name) { Some(text) } else { None }
    }

    /// The whole number of this name, if it is one.
    pub(crate) fn whole(&self, name: &str) -> Option<i64> {
        if let Self::Whole(whole) = self.get(name) { Some(*whole) } else { None }
    }

    /// Whether it says `true` by this name.
    pub(crate) fn flag(&self, name: &str) -> bool {
        matches!(self.get(name), Self::Flag(true))
    }

    fn get(&self, name: &str) -> &Self {
        let Self::Object(fields) = self else { return &Self::Other };
        fields.iter().find(|(known, _)| known == name).map_or(&Self::Other, |(_, value)| value)
    }
}

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_any(Any)
    }
}

struct Any;

impl<'de> Visitor<'de> for Any {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Other)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Flag(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(Value::Whole(value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(i64::try_from(value).map_or(Value::Other, Value::Whole))
    }

    fn visit_f64<E>(self, _: f64) -> Result<Value, E> {
        Ok(Value::Other)
    }

    fn visit_str<E>(self, text: &str) -> Result<Value, E> {
        Ok(Value::Text(text.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = items.next_element()? {
            list.push(item);
        }
        Ok(Value::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        let mut fields = Vec::new();
        while let Some(field) = map.next_entry()? {
            fields.push(field);
        }
        Ok(Value::Object(fields))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_found_by_name_and_kind() {
        let text = br#" {"t":"a\u00e9","w":-3,"f":true,"n":null,"a":[1,{"b":[]}],"o":{"t":"x"},"d":1.5,"m":18446744073709551615} "#;
        let object = read(text).unwrap();
        assert_eq!((object.text("t"), object.whole("w"), object.flag("f")), (Some("a\u{e9}"), Some(-3), true));
        for name in ["n", "a", "o", "d", "m", "missing"] {
            assert_eq!((object.text(name), object.whole(name), object.flag(name)), (None, None, false), "{name}");
        }
        assert_eq!((read(b"[]").unwrap().text("t"), read(b"7").unwrap().text("t")), (None, None));
        let Some(Value::List(list)) = read(b"[{},{\"a\":1}]") else { panic!("a list") };
        assert_eq!(list[1].whole("a"), Some(1));
    }

    #[test]
    fn what_is_not_json_is_nothing() {
        let deep = format!("{}1{}", "[".repeat(100_000), "]".repeat(100_000));
        for wrong in ["", "{", "{}x", r#"{"a":1,}"#, "{'a':1}", &deep] {
            assert!(read(wrong.as_bytes()).is_none(), "{}", &wrong[..wrong.len().min(20)]);
        }
    }
}
