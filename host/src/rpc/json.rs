//! Reads one JSON object as strictly as hostile input deserves (P49).
//!
//! Duplicate keys, deep nesting, too many fields and NUL are errors, which a derived parser would let pass. Of nested
//! values only a short array of strings is kept, because no request has another; the rest is checked and thrown away, so
//! a hostile one costs no memory.

use std::cell::RefCell;
use std::fmt;

use serde::de::{self, DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use workmux_guest::words::Code;

use super::Refusal;
use super::limits::Limits;
use crate::text;

/// A field's value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Value {
    Null,
    Flag(bool),
    Whole(i64),
    Text(String),
    /// No more than the names of one request.
    Texts(Vec<String>),
    /// Anything no request asks for, by name.
    Other(&'static str),
}

/// The fields of an object, in their order.
pub(super) type Fields = Vec<(String, Value)>;

/// Reads `text` as one JSON object.
pub(super) fn object(text: &str, limits: &Limits) -> Result<Fields, Refusal> {
    let state = State { limits, refusal: RefCell::new(None), fields: RefCell::new(None) };
    let mut reader = serde_json::Deserializer::from_str(text);
    let read = Walk { state: &state, depth: 1 }.deserialize(&mut reader).and_then(|_| reader.end());
    if let Some(refusal) = state.refusal.into_inner() {
        return Err(refusal);
    }
    read.map_err(|e| Refusal::new(Code::Malformed, format!("not valid JSON: {e}")))?;
    state.fields.into_inner().ok_or_else(|| Refusal::new(Code::Malformed, "not a JSON object"))
}

struct State<'a> {
    limits: &'a Limits,
    /// Why we stopped, where the reason is ours and not the JSON reader's.
    refusal: RefCell<Option<Refusal>>,
    /// The outermost object's fields.
    fields: RefCell<Option<Fields>>,
}

impl State<'_> {
    fn refuse<E: de::Error>(&self, code: Code, message: String) -> E {
        *self.refusal.borrow_mut() = Some(Refusal::new(code, message));
        E::custom("refused")
    }
}

#[derive(Clone, Copy)]
struct Walk<'a> {
    state: &'a State<'a>,
    depth: usize,
}

impl Walk<'_> {
    fn inner<E: de::Error>(self) -> Result<Self, E> {
        let most = self.state.limits.depth;
        if self.depth > most {
            return Err(self.state.refuse(Code::TooLarge, format!("JSON is nested deeper than {most}")));
        }
        Ok(Self { depth: self.depth + 1, ..self })
    }

    fn text<E: de::Error>(self, text: String) -> Result<String, E> {
        if text.contains('\0') {
            return Err(self.state.refuse(Code::BadField, "text must not contain NUL".into()));
        }
        Ok(text)
    }
}

impl<'de> DeserializeSeed<'de> for Walk<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<Value, D::Error> {
        from.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Walk<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Flag(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(Value::Whole(value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(i64::try_from(value).map_or(Value::Other("a number"), Value::Whole))
    }

    fn visit_f64<E>(self, _: f64) -> Result<Value, E> {
        Ok(Value::Other("a number"))
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Value, E> {
        self.text(text.to_owned()).map(Value::Text)
    }

    fn visit_string<E: de::Error>(self, text: String) -> Result<Value, E> {
        self.text(text).map(Value::Text)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let inner = self.inner()?;
        let most = self.state.limits.names;
        let mut texts = (self.depth == 2).then(Vec::new);
        while let Some(item) = items.next_element_seed(inner)? {
            match (&mut texts, item) {
                (Some(texts), Value::Text(text)) if texts.len() < most => texts.push(text),
                _ => texts = None,
            }
        }
        Ok(texts.map_or(Value::Other("an array"), Value::Texts))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        let inner = self.inner()?;
        let most = self.state.limits.fields;
        let mut fields = Fields::new();
        while let Some(name) = map.next_key::<String>()? {
            let name = self.text(name)?;
            if fields.iter().any(|(known, _)| *known == name) {
                let name = text::short(&name, 64);
                return Err(self.state.refuse(Code::Malformed, format!("field '{name}' stands twice")));
            }
            if fields.len() == most {
                return Err(self.state.refuse(Code::TooLarge, format!("an object has more than {most} fields")));
            }
            let value = map.next_value_seed(inner)?;
            fields.push((name, value));
        }
        if self.depth == 1 {
            *self.state.fields.borrow_mut() = Some(fields);
        }
        Ok(Value::Other("an object"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Fields, Code> {
        object(text, &Limits::default()).map_err(|refusal| refusal.code)
    }

    #[test]
    fn an_object_gives_its_fields() {
        assert_eq!(
            read(
                r#" {"a":"x","b":null,"c":true,"d":-7,"e":[{"deep":1}],"f":1.5,"g":18446744073709551615,"h":["i","j"],"k":[]} "#
            ),
            Ok(vec![
                ("a".into(), Value::Text("x".into())),
                ("b".into(), Value::Null),
                ("c".into(), Value::Flag(true)),
                ("d".into(), Value::Whole(-7)),
                ("e".into(), Value::Other("an array")),
                ("f".into(), Value::Other("a number")),
                ("g".into(), Value::Other("a number")),
                ("h".into(), Value::Texts(vec!["i".into(), "j".into()])),
                ("k".into(), Value::Texts(vec![])),
            ])
        );
    }

    #[test]
    fn p49_of_nested_values_only_a_short_array_of_strings_is_kept() {
        let strings = |n: usize| format!(r#"{{"a":[{}""]}}"#, r#""","#.repeat(n - 1));
        for (text, kept) in [
            (strings(64), Some(64)),
            (strings(65), None),
            (strings(10_000), None),
            (r#"{"a":["x",1]}"#.to_owned(), None),
            (r#"{"a":["x",null,"y"]}"#.to_owned(), None),
            (r#"{"a":[["x"]]}"#.to_owned(), None),
            (r#"{"a":{"b":["x"]}}"#.to_owned(), None),
        ] {
            let fields = read(&text).unwrap();
            let Value::Texts(texts) = &fields[0].1 else {
                assert_eq!(kept, None, "{text}");
                continue;
            };
            assert_eq!(Some(texts.len()), kept, "{text}");
        }
    }

    #[test]
    fn p49_what_is_not_one_plain_object_is_named_so() {
        for (text, code) in [
            ("", Code::Malformed),
            ("{", Code::Malformed),
            ("[]", Code::Malformed),
            ("\"x\"", Code::Malformed),
            ("{} {}", Code::Malformed),
            ("{}x", Code::Malformed),
            ("{'a':1}", Code::Malformed),
            (r#"{"a":1,"a":1}"#, Code::Malformed),
            (r#"{"a":1,"\u0061":1}"#, Code::Malformed),
            (r#"{"x":{"a":1,"a":1}}"#, Code::Malformed),
            (r#"{"a":"\ud800"}"#, Code::Malformed),
            (r#"{"a":"\udc00"}"#, Code::Malformed),
            (r#"{"a":1e999}"#, Code::Malformed),
            ("{\"a\":\"\n\"}", Code::Malformed),
            (r#"{"a":NaN}"#, Code::Malformed),
            (r#"{"a":"\u0000"}"#, Code::BadField),
            (r#"{"\u0000":1}"#, Code::BadField),
            (r#"{"a":[["\u0000"]]}"#, Code::BadField),
        ] {
            assert_eq!(read(text), Err(code), "{text}");
        }
    }

    #[test]
    fn p49_depth_and_width_end_at_their_limits() {
        let deep = |levels: usize| format!("{{\"a\":{}{}}}", "[".repeat(levels - 1), "]".repeat(levels - 1));
        assert!(read(&deep(64)).is_ok());
        assert_eq!(read(&deep(65)), Err(Code::TooLarge));
        assert_eq!(read(&deep(100_000)), Err(Code::TooLarge));
        let wide = |n: usize| format!("{{{}}}", (0..n).map(|i| format!("\"{i}\":0")).collect::<Vec<_>>().join(","));
        assert!(read(&wide(64)).is_ok());
        assert_eq!(read(&wide(65)), Err(Code::TooLarge));
    }
}
