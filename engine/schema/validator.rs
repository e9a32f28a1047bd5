//! For tests: a small validator of the part of draft-07 that the schema uses. A keyword that it does not know is a panic, so it
//! passes over nothing. (A complete validator brings features of shared crates with it that would have all of arrow built again.)

#![expect(clippy::unwrap_used, reason = "only tests use it, on a schema that is ours")]

use regex::Regex;
use serde_json::Value;

/// What of `value` the schema refuses: where it stands, and by which keyword.
pub(super) fn refused(root: &Value, value: &Value) -> Vec<String> {
    let mut found = Vec::new();
    Check { root }.check(root, value, "", &mut found);
    found
}

struct Check<'a> {
    root: &'a Value,
}

impl Check<'_> {
    fn fits(&self, schema: &Value, value: &Value) -> bool {
        let mut found = Vec::new();
        self.check(schema, value, "", &mut found);
        found.is_empty()
    }

    fn check(&self, schema: &Value, value: &Value, at: &str, found: &mut Vec<String>) {
        let rules = schema.as_object().unwrap();
        if let Some(target) = rules.get("$ref") {
            // In draft-07 nothing beside a reference counts.
            assert_eq!(rules.len(), 1, "{schema}");
            return self.check(self.root.pointer(&target.as_str().unwrap()[1..]).unwrap(), value, at, found);
        }
        for (keyword, rule) in rules {
            if !self.keeps(keyword, rule, rules, value, at, found) {
                found.push(format!("{at}: {keyword} {rule}"));
            }
        }
    }

    /// Whether `value` keeps to one rule; what is wrong deeper inside is added to `found`.
    fn keeps(
        &self,
        keyword: &str,
        rule: &Value,
        rules: &serde_json::Map<String, Value>,
        value: &Value,
        at: &str,
        found: &mut Vec<String>,
    ) -> bool {
        let any = || rule.as_array().unwrap().iter();
        let size = || rule.as_u64().unwrap() as usize;
        let numbers = || Some((value.as_f64()?, rule.as_f64().unwrap()));
        let compare = |fits: fn(f64, f64) -> bool| numbers().is_none_or(|(value, rule)| fits(value, rule));
        let matches = |pattern: &Value, text: &str| Regex::new(pattern.as_str().unwrap()).unwrap().is_match(text);
        let (map, list, text) = (value.as_object(), value.as_array(), value.as_str());
        match keyword {
            "$schema" | "$id" | "title" | "description" | "default" | "definitions" | "enumDescriptions" => {}
            "then" | "else" => assert!(rules.contains_key("if")),
            "type" => return rule.as_array().map_or_else(|| is(rule, value), |kinds| kinds.iter().any(|kind| is(kind, value))),
            "const" => return value == rule,
            "enum" => return any().any(|one| one == value),
            "pattern" => return text.is_none_or(|text| matches(rule, text)),
            "minLength" => return text.is_none_or(|text| text.chars().count() >= size()),
            "minimum" => return compare(|value, rule| value >= rule),
            "maximum" => return compare(|value, rule| value <= rule),
            "exclusiveMinimum" => return compare(|value, rule| value > rule),
            "exclusiveMaximum" => return compare(|value, rule| value < rule),
            "minItems" => return list.is_none_or(|list| list.len() >= size()),
            "maxItems" => return list.is_none_or(|list| list.len() <= size()),
            "uniqueItems" => return list.is_none_or(|list| (1..list.len()).all(|end| !list[..end].contains(&list[end]))),
            "items" => {
                list.into_iter().flatten().enumerate().for_each(|(n, item)| self.check(rule, item, &format!("{at}/{n}"), found))
            }
            "required" => return map.is_none_or(|map| any().all(|key| map.contains_key(key.as_str().unwrap()))),
            "minProperties" => return map.is_none_or(|map| map.len() >= size()),
            "maxProperties" => return map.is_none_or(|map| map.len() <= size()),
            "propertyNames" => return map.is_none_or(|map| map.keys().all(|key| matches(&rule["pattern"], key))),
            "properties" => {
                for (key, value) in map.into_iter().flatten() {
                    if let Some(schema) = rule.get(key) {
                        self.check(schema, value, &format!("{at}/{key}"), found);
                    }
                }
            }
            "additionalProperties" => {
                let known = |key: &&String| rules.get("properties").is_some_and(|known| known.get(key.as_str()).is_some());
                for key in map.into_iter().flat_map(|map| map.keys()).filter(|key| !known(key)) {
                    match rule {
                        Value::Bool(allowed) => {
                            if !allowed {
                                return false;
                            }
                        }
                        schema => self.check(schema, &value[key], &format!("{at}/{key}"), found),
                    }
                }
            }
            "anyOf" => return any().any(|schema| self.fits(schema, value)),
            "oneOf" => return any().filter(|schema| self.fits(schema, value)).count() == 1,
            "if" => {
                let branch = if self.fits(rule, value) { "then" } else { "else" };
                if let Some(schema) = rules.get(branch) {
                    self.check(schema, value, at, found);
                }
            }
            other => panic!("the validator does not know `{other}`"),
        }
        true
    }
}

fn is(kind: &Value, value: &Value) -> bool {
    match kind.as_str().unwrap() {
        "null" => value.is_null(),
        "boolean" => value.is_boolean(),
        "integer" => value.is_u64() || value.is_i64() || value.as_f64().is_some_and(|value| value.fract() == 0.0),
        "number" => value.is_number(),
        "string" => value.is_string(),
        "array" => value.is_array(),
        "object" => value.is_object(),
        other => panic!("there is no type `{other}`"),
    }
}
