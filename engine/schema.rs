//! The JSON Schema of manifests, for editors: completion, documentation under the cursor, mistakes while typing.
//!
//! Fields, types, ranges, words and defaults come from the code that reads them ([`describe`]), descriptions from the reference,
//! `docs/manifest.md`; nothing is listed here a second time. What a schema cannot know (whether a stage is there, whether fractions
//! add up) is left to `talkflow plan`. Wherever a value stands, text with `${` may stand.
//!
//! The dialect is draft-07: it is what the language servers for YAML read in full. A manifest that `extends` another may leave out
//! what that one has, and delete with `null`, so the schema holds each stage kind twice, whole and changed, and `if` chooses.

mod docs;

use std::ops::Bound;

use serde_json::{Map, Value, json};

use self::docs::Docs;
use crate::{
    check,
    fields::{Field, Form, Leaf, Shape, describe},
    manifest::TOP,
    plan::{BESIDE, Kinds, MOST_IN_POOL, beside},
    space::{DISTRIBUTIONS, FIELDS as SWEEP, MOST_POINTS, RANDOM, SEEDS},
    stages::StageKinds,
};

/// The schema.
#[must_use]
pub fn schema() -> Value {
    let docs = Docs::reference();
    let (forms, around) = (kinds().collect::<Vec<_>>(), beside_form());
    let writer = |changed| Writer { docs: &docs, forms: &forms, around: &around, changed };
    let (whole, changed) = (writer(false), writer(true));
    let top: Map<String, Value> = TOP.iter().map(|key| ((*key).to_owned(), whole.top(key))).collect();
    let stages = |form: &str| json!({ "additionalProperties": { "$ref": format!("#/definitions/{form}/stage") } });
    json!({
        "$schema": "http://json-schema.org/draft-07/schema#",
        "$id": "urn:talkflow:manifest:1",
        "title": "talkflow manifest",
        "description": "An experiment as a graph of stages.",
        "type": "object",
        "properties": top,
        "additionalProperties": false,
        "required": ["talkflow"],
        "if": { "required": ["extends"] },
        "then": { "properties": { "stages": stages("changed") } },
        "else": { "properties": { "stages": stages("whole") }, "required": ["stages"] },
        "definitions": {
            "whole": whole.kinds(),
            "changed": changed.kinds(),
        },
    })
}

/// What each stage kind can be asked for.
fn kinds() -> impl Iterator<Item = (&'static str, Form)> {
    let read = |word: &str| describe(|fields| drop(StageKinds.read(word, fields)));
    crate::stages::WORDS.into_iter().map(move |word| (word, read(word)))
}

/// What may stand beside a kind, but for the matrix.
fn beside_form() -> Form {
    describe(|fields| drop(beside(fields, &indexmap::IndexMap::new())))
}

/// Of ASCII what a name may have, and letters of other scripts. Classes of Unicode (`\p`) are no part of regular expressions everywhere: some
/// validators stop at them.
const NAME: &str = r"^[^\x00-\x2C./:-@\[-\^`{-\x7F]+$";
/// Names joined by dots.
const PATH: &str = r"^[^\x00-\x2C./:-@\[-\^`{-\x7F]+(\.[^\x00-\x2C./:-@\[-\^`{-\x7F]+)*$";
const PARAMETER: &str = r"\$\{";
const REFERENCE: &str = r"\$\{|^[^\[\]=,]+(\[[^\[\]]+\])?$";

/// Writes the schema of manifests that are `changed` from another, or whole.
#[derive(Clone, Copy)]
struct Writer<'a> {
    docs: &'a Docs,
    forms: &'a [(&'static str, Form)],
    around: &'a Form,
    changed: bool,
}

impl Writer<'_> {
    /// What stands at the top of a manifest.
    fn top(self, key: &str) -> Value {
        let mut schema = match key {
            "talkflow" => json!({ "const": 1, "default": 1 }),
            "pools" => {
                let size = self.any(vec![json!({ "type": "integer", "minimum": 1, "maximum": MOST_IN_POOL })], true);
                json!({ "type": ["object", "null"], "propertyNames": { "pattern": NAME }, "additionalProperties": size })
            }
            "params" => json!({ "type": ["object", "null"], "propertyNames": { "pattern": NAME } }),
            "sweep" => self.sweep(),
            "check" => json!({
                "type": ["object", "null"],
                "propertyNames": { "pattern": NAME },
                "additionalProperties": self.form("check", "", &check::form()),
            }),
            "stages" => json!({ "type": "object", "minProperties": 1, "propertyNames": { "pattern": NAME } }),
            _ => json!({ "type": "string", "minLength": 1 }),
        };
        self.document(&mut schema, "top", key, "");
        schema
    }

    /// What a sweep goes over. Any part may be deleted where a manifest extends another.
    fn sweep(self) -> Value {
        let documented = |mut schema: Value, path: &str| {
            self.document(&mut schema, "sweep", path, "");
            schema
        };
        let by_param = |value: Value| json!({ "type": ["object", "null"], "minProperties": 1, "propertyNames": { "pattern": PATH }, "additionalProperties": value });
        let parameter = || json!({ "type": "string", "pattern": PARAMETER });
        let list = || json!({ "type": "array", "minItems": 1 });
        let whole = |least: u64, most: Option<usize>| {
            let mut schema = json!({ "type": "integer", "minimum": least });
            if let Some(most) = most {
                schema["maximum"] = json!(most);
            }
            schema
        };
        let named = || json!({ "type": ["object", "null"], "minProperties": 1 });
        let axis = || self.any(vec![list(), named()], true);
        let ends = |kind: &str| {
            self.any(vec![json!({ "type": "array", "items": { "type": [kind, "string"] }, "minItems": 2, "maxItems": 2 })], true)
        };
        let distribution: Map<String, Value> = (DISTRIBUTIONS.into_iter())
            .map(|word| {
                let mut schema = match word {
                    "choice" => axis(),
                    "integers" => ends("integer"),
                    _ => ends("number"),
                };
                if let Some(text) = self.docs.word("draw", word) {
                    schema["description"] = json!(text);
                }
                (word.to_owned(), schema)
            })
            .collect();
        let distribution = json!({
            "type": ["object", "null"],
            "properties": distribution,
            "additionalProperties": false,
            "minProperties": 1,
            "maxProperties": 1,
        });
        let random: Map<String, Value> = (RANDOM.into_iter())
            .map(|field| {
                let schema = match field {
                    "points" => self.any(vec![whole(1, Some(MOST_POINTS))], true),
                    "seed" => self.any(vec![whole(0, None)], true),
                    _ => by_param(distribution.clone()),
                };
                (field.to_owned(), documented(schema, &format!("random.{field}")))
            })
            .collect();
        let seeds: Map<String, Value> = (SEEDS.into_iter())
            .map(|field| {
                let schema = match field {
                    "param" => json!({ "type": "string", "pattern": PATH }),
                    _ => json!({ "anyOf": [whole(1, Some(MOST_POINTS)), axis()] }),
                };
                (field.to_owned(), documented(schema, &format!("seeds.{field}")))
            })
            .collect();
        let fields: Map<String, Value> = (SWEEP.into_iter())
            .map(|field| {
                let schema = match field {
                    "grid" => by_param(axis()),
                    "zip" => by_param(self.any(vec![list(), named()], true)),
                    "list" => json!({ "type": ["array", "null"], "items": { "type": "object", "minProperties": 1, "propertyNames": { "pattern": PATH } }, "minItems": 1 }),
                    "random" => json!({ "type": ["object", "null"], "properties": random, "additionalProperties": false }),
                    _ => json!({ "anyOf": [whole(1, Some(MOST_POINTS)), list(), parameter(), {
                        "type": ["object", "null"], "properties": seeds, "additionalProperties": false,
                    }] }),
                };
                (field.to_owned(), documented(schema, field))
            })
            .collect();
        json!({ "type": ["object", "null"], "properties": fields, "additionalProperties": false })
    }

    /// A definition for each stage kind, and one for a stage.
    fn kinds(self) -> Value {
        let form = if self.changed { "changed" } else { "whole" };
        let mut definitions = Map::new();
        let mut properties = Map::new();
        for (word, fields) in self.forms {
            let mut schema = self.form(word, "", fields);
            self.document(&mut schema, word, "", "");
            definitions.insert((*word).to_owned(), schema);
            properties.insert((*word).to_owned(), json!({ "$ref": format!("#/definitions/{form}/{word}") }));
        }
        for key in BESIDE {
            let schema = match self.around.fields.get(key) {
                Some(field) => self.field("beside", key, key, field, self.around),
                None => {
                    let mut schema = self.any(vec![json!({ "type": "object", "minProperties": 1 })], true);
                    self.document(&mut schema, "beside", key, "");
                    schema
                }
            };
            properties.insert(key.to_owned(), schema);
        }
        let mut stage = json!({ "type": self.kind_of("object"), "properties": properties, "additionalProperties": false });
        if !self.changed {
            let one: Vec<Value> = definitions.keys().map(|word| json!({ "required": [word] })).collect();
            stage["oneOf"] = one.into();
        }
        definitions.insert("stage".to_owned(), stage);
        definitions.into()
    }

    /// A JSON type, which in a changed manifest may be `null` too: that deletes.
    fn kind_of(self, kind: &str) -> Value {
        if self.changed { json!([kind, "null"]) } else { json!(kind) }
    }

    /// A mapping of settings.
    fn form(self, scope: &str, prefix: &str, form: &Form) -> Value {
        let property =
            |(key, field): (&String, &Field)| (key.clone(), self.field(scope, &format!("{prefix}{key}"), key, field, form));
        let properties: Map<String, Value> = form.fields.iter().map(property).collect();
        // Settings that nothing has to be said in may be left empty.
        let kind = if self.changed || form.needs.is_empty() { json!(["object", "null"]) } else { json!("object") };
        let mut schema = json!({ "type": kind, "properties": properties, "additionalProperties": false });
        match &form.needs[..] {
            _ if self.changed => {}
            [] => {}
            [all] => schema["required"] = json!(all),
            several => schema["anyOf"] = several.iter().map(|set| json!({ "required": set })).collect(),
        }
        schema
    }

    fn field(self, scope: &str, path: &str, key: &str, field: &Field, of: &Form) -> Value {
        let mut any: Vec<Value> = Vec::new();
        let mut text = false;
        for shape in &field.shapes {
            text |= takes_text(shape);
            for schema in self.shape(scope, path, shape, field) {
                if !any.contains(&schema) {
                    any.push(schema);
                }
            }
        }
        if field.nullable || self.changed {
            any.push(json!({ "type": "null" }));
        }
        let mut schema = self.any(any, !text);
        let needed = of.needs.iter().any(|set| set.contains(key));
        self.document(&mut schema, scope, path, &signature(field, needed));
        match &field.default {
            None | Some(Leaf::None) => {}
            // An editor writes defaults down with the mapping: those that hold only beside certain others it must not.
            Some(_) if !field.always => {}
            Some(default) => schema["default"] = value(default),
        }
        schema
    }

    /// The schemas that a shape may have.
    fn shape(self, scope: &str, path: &str, shape: &Shape, field: &Field) -> Vec<Value> {
        let under = |word: &str| field.under.get(word).cloned().unwrap_or_default();
        match shape {
            Shape::Int { least, most } => {
                let mut schema = json!({ "type": "integer", "minimum": least });
                if let Some(most) = most {
                    schema["maximum"] = json!(most);
                }
                vec![schema]
            }
            Shape::Float { low, high } => {
                let mut schema = json!({ "type": "number" });
                for (bound, inclusive, exclusive) in [(low, "minimum", "exclusiveMinimum"), (high, "maximum", "exclusiveMaximum")]
                {
                    match bound {
                        Bound::Included(end) => schema[inclusive] = number(*end),
                        Bound::Excluded(end) => schema[exclusive] = number(*end),
                        Bound::Unbounded => {}
                    }
                }
                vec![schema]
            }
            Shape::Bool => vec![json!({ "type": "boolean" })],
            Shape::Text | Shape::File | Shape::Folder => vec![json!({ "type": "string", "minLength": 1 })],
            Shape::Word(words) => vec![self.words(path, words)],
            Shape::List { item, distinct } => {
                let items = self.any(self.shape(scope, path, item, field), !takes_text(item));
                let mut schema = json!({ "type": "array", "items": items });
                if *distinct {
                    schema["uniqueItems"] = json!(true);
                }
                vec![schema]
            }
            Shape::Stage(_) => vec![json!({ "type": "string", "pattern": REFERENCE })],
            Shape::Stages(_) | Shape::AnyStages => {
                let one = json!({ "type": "string", "pattern": REFERENCE });
                vec![one.clone(), json!({ "type": "array", "items": one, "minItems": 1 })]
            }
            Shape::Scalar => vec![json!({ "type": ["string", "number", "boolean"] })],
            Shape::Variable => vec![
                json!({ "type": ["string", "number", "boolean"] }),
                json!({
                    "type": "object",
                    "properties": { "secret": { "type": "string", "pattern": PARAMETER } },
                    "additionalProperties": false,
                    "required": ["secret"],
                }),
            ],
            Shape::Map(value) => {
                let mut any = self.shape(scope, path, value, field);
                any.extend(self.changed.then(|| json!({ "type": "null" })));
                vec![json!({ "type": "object", "additionalProperties": self.any(any, false) })]
            }
            Shape::Texts => {
                let text = json!({ "type": "string", "minLength": 1 });
                vec![text.clone(), json!({ "type": "array", "items": text })]
            }
            Shape::Section => vec![self.form(scope, &format!("{path}."), &under(""))],
            Shape::Named(item) => {
                let mut any = self.shape(scope, path, item, field);
                any.extend(self.changed.then(|| json!({ "type": "null" })));
                let item = self.any(any, !takes_text(item));
                vec![json!({ "type": "object", "propertyNames": { "pattern": NAME }, "additionalProperties": item })]
            }
            Shape::Variant(words) => {
                let alone = |word: &&String| self.changed || under(word).needs.is_empty();
                let alone: Vec<String> = words.iter().filter(alone).cloned().collect();
                let form = |word: &String| {
                    let mut schema = self.form(scope, &format!("{path}.{word}."), &under(word));
                    if let Some(text) = self.docs.word(path, word) {
                        schema["description"] = json!(text);
                    }
                    (word.clone(), self.any(vec![schema], true))
                };
                let forms: Map<String, Value> = words.iter().map(form).collect();
                let one = json!({
                    "type": "object",
                    "properties": forms,
                    "additionalProperties": false,
                    "minProperties": 1,
                    "maxProperties": 1,
                });
                vec![self.words(path, &alone), one]
            }
        }
    }

    /// One of some words, each with what is said about it.
    fn words(self, path: &str, words: &[String]) -> Value {
        let mut schema = json!({ "enum": words });
        let said: Vec<String> = words.iter().map(|word| self.docs.word(path, word).unwrap_or_default()).collect();
        if said.iter().any(|text| !text.is_empty()) {
            schema["enumDescriptions"] = json!(said);
        }
        schema
    }

    /// Any of these, or a parameter. Alternatives of different types become one schema, since a rule for mappings says nothing about
    /// numbers: so an editor shows what is wrong inside, and not that nothing fits.
    fn any(self, any: Vec<Value>, parameter: bool) -> Value {
        let parameter = parameter.then(|| json!({ "type": "string", "pattern": PARAMETER }));
        let (typed, mut any): (Vec<Value>, Vec<Value>) =
            any.into_iter().chain(parameter).partition(|schema| schema.get("type").is_some());
        let mut merged = Map::new();
        let mut types: Vec<Value> = Vec::new();
        for mut schema in typed {
            match schema["type"].take() {
                Value::Array(several) => types.extend(several),
                one => types.push(one),
            }
            let rules = schema.as_object_mut().map(std::mem::take).unwrap_or_default();
            merged.extend(rules.into_iter().filter(|(keyword, _)| keyword != "type"));
        }
        types.dedup();
        if !types.is_empty() {
            let kind = if types.len() == 1 { types.remove(0) } else { types.into() };
            let rules = std::iter::once(("type".to_owned(), kind)).chain(merged);
            any.push(Value::Object(rules.collect()));
        }
        if any.len() == 1 { any.remove(0) } else { json!({ "anyOf": any }) }
    }

    /// Says what the reference says, and the type and default in its words.
    fn document(self, schema: &mut Value, scope: &str, path: &str, signature: &str) {
        let said = self.docs.text(scope, path);
        let parts: Vec<&str> = [said.as_str(), signature].into_iter().filter(|part| !part.is_empty()).collect();
        if !parts.is_empty() {
            schema["description"] = json!(parts.join("\n\n"));
        }
    }
}

/// Whether any text will do, so also one with a parameter in it.
fn takes_text(shape: &Shape) -> bool {
    match shape {
        Shape::Text | Shape::Texts | Shape::File | Shape::Folder | Shape::Scalar | Shape::Variable => true,
        Shape::Stage(_) | Shape::Stages(_) | Shape::AnyStages => true,
        Shape::Int { .. } | Shape::Float { .. } | Shape::Bool | Shape::Word(_) | Shape::List { .. } => false,
        Shape::Map(_) | Shape::Named(_) | Shape::Section | Shape::Variant(_) => false,
    }
}

/// Type and default as the reference writes them: `whole, 1 to 1024; default 1`.
fn signature(field: &Field, needed: bool) -> String {
    let types: Vec<String> = field.shapes.iter().map(type_of).collect();
    let default = match &field.default {
        _ if needed => "; required".to_owned(),
        None | Some(Leaf::None) => String::new(),
        Some(default) => format!("; default {default}"),
    };
    types.join(" or ") + &default
}

/// A type as the reference writes it.
fn type_of(shape: &Shape) -> String {
    let words = |words: &[String]| words.iter().map(|word| format!("`{word}`")).collect::<Vec<_>>().join(", ");
    match shape {
        Shape::Int { least: 1, most: Some(SIZE) } => "size".to_owned(),
        Shape::Int { least: 0, most: None } => "whole".to_owned(),
        Shape::Int { least, most: None } => format!("whole, from {least}"),
        Shape::Int { least, most: Some(most) } => format!("whole, {least} to {most}"),
        Shape::Float { low, high } => match (low, high) {
            (Bound::Unbounded, Bound::Unbounded) => "number".to_owned(),
            (Bound::Excluded(low), Bound::Unbounded) => format!("number above {low}"),
            (Bound::Excluded(low), Bound::Included(high)) => format!("number above {low}, up to {high}"),
            (Bound::Included(low), Bound::Unbounded) => format!("number, from {low}"),
            (Bound::Included(low), Bound::Included(high)) if *low < 1e-3 && *low > 0.0 => format!("number, {low:?} to {high}"),
            (Bound::Included(low), Bound::Included(high)) => format!("number, {low} to {high}"),
            (Bound::Included(low), Bound::Excluded(high)) => format!("number, {low} up to below {high}"),
            (low, high) => format!("number, {low:?} to {high:?}"),
        },
        Shape::Bool => "switch".to_owned(),
        Shape::Text => "text".to_owned(),
        Shape::Texts => "text or list of texts".to_owned(),
        Shape::Word(all) => words(all),
        Shape::List { item, .. } => match &**item {
            Shape::Int { least: 1, most: Some(SIZE) } => "list of sizes".to_owned(),
            Shape::Text => "list of texts".to_owned(),
            Shape::Scalar => "list of words".to_owned(),
            Shape::File => "list of paths".to_owned(),
            item => format!("list of {}", type_of(item)),
        },
        Shape::File | Shape::Folder => "path".to_owned(),
        Shape::Stage(kinds) => kinds.noun(),
        Shape::Stages(kinds) => format!("{}, one or more", kinds.noun()),
        Shape::Scalar => "text, number or switch".to_owned(),
        Shape::Variable => "text, number, switch or secret".to_owned(),
        Shape::AnyStages => "stage, or list of stages".to_owned(),
        Shape::Map(value) => format!("mapping to {}", type_of(value)),
        Shape::Named(item) if **item == Shape::Texts => "mapping to texts".to_owned(),
        Shape::Section | Shape::Named(_) => "mapping".to_owned(),
        Shape::Variant(_) => "choice".to_owned(),
    }
}

/// The greatest "size" of the reference.
const SIZE: u64 = crate::stages::settings::LARGEST as u64;

fn number(value: f64) -> Value {
    // A whole number without a point reads better, and is the same in JSON.
    let whole = value.fract() == 0.0 && value.abs() < 1e15;
    if whole { json!(value as i64) } else { json!(value) }
}

fn value(leaf: &Leaf) -> Value {
    match leaf {
        Leaf::None => Value::Null,
        Leaf::Bool(value) => json!(value),
        Leaf::Int(value) => json!(value),
        Leaf::Float(value) => number(*value),
        Leaf::Text(value) | Leaf::Word(value) => json!(value),
        Leaf::List(values) => values.iter().map(value).collect(),
    }
}

#[cfg(test)]
mod tests;
#[cfg(test)]
mod validator;
