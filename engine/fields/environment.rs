//! Variables that a stage gives to a program: what passes through from outside, what is set, and what is secret.

use super::reader::{Absent, Fields, Found};
use super::settings::{Leaf, Origin};
use super::shape::Shape;
use crate::manifest::{Value, Variable, Via};
use crate::source::Span;

/// A variable and its value; none where it passes through and is not set outside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EnvVar {
    /// Its name.
    pub name: String,
    /// Its value.
    pub value: EnvValue,
}

/// What a variable holds.
#[derive(Clone, PartialEq, Eq)]
pub enum EnvValue {
    /// Nothing: it is not set outside.
    Unset,
    /// A value that is part of the key.
    Clear(String),
    /// A value that is shown nowhere.
    Secret(String),
}

/// Never shows a secret, not even to whoever debugs.
impl std::fmt::Debug for EnvValue {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Unset => f.write_str("Unset"),
            Self::Clear(value) => write!(f, "Clear({value:?})"),
            Self::Secret(_) => f.write_str("Secret"),
        }
    }
}

/// A use of a variable from outside in a stage's settings: its name, and where.
pub(crate) type EnvUse = (String, Span);

impl Fields<'_> {
    /// Reads variables: a list of names that pass through from outside, or a mapping of names to values. A value that is
    /// `{ secret: "${env.X}" }` is in no key and in nothing that is written down.
    pub fn environment(&mut self, key: &str) -> Vec<EnvVar> {
        let sketched = self.sketch(key, &Shape::list(Shape::Text), Absent::None);
        if sketched && self.sketch(key, &Shape::Map(Box::new(Shape::Variable)), Absent::None) {
            return Vec::new();
        }
        let Some(found) = self.take(key) else { return Vec::new() };
        match &found.node.value {
            Value::List(_) => self.passed_through(key, &found),
            Value::Map(map) => {
                let names: Vec<String> = map.keys().cloned().collect();
                self.inside_found(key, &found, |fields| names.into_iter().filter_map(|name| fields.variable(name)).collect())
            }
            Value::Null => Vec::new(),
            _ => {
                let help = "write `[NAME, NAME]` for what passes through, or `{ NAME: value }`".to_owned();
                self.wrong(&found, "a list of names, or a mapping of names to values", Some(help));
                Vec::new()
            }
        }
    }

    fn passed_through(&mut self, key: &str, found: &Found) -> Vec<EnvVar> {
        let mut seen: Vec<String> = Vec::new();
        let variables = self.list_of(found, &Shape::list(Shape::Text), |fields, item| {
            let name = fields.text_of(item)?;
            if let Err(why) = is_env_name(&name) {
                fields.say(item.mistake(why));
                return None;
            }
            if seen.contains(&name) {
                fields.say(item.mistake(format!("`{key}` names `{name}` twice")));
                return None;
            }
            seen.push(name.clone());
            let value = match (fields.outside.env)(&name).map(|value| value.into_string()) {
                None => EnvValue::Unset,
                Some(Ok(value)) => EnvValue::Clear(value),
                Some(Err(_)) => {
                    fields.say(item.mistake(format!("the environment variable `{name}` is not UTF-8")));
                    return None;
                }
            };
            fields.record.env_uses.push((name.clone(), item.node.span));
            let leaf = match &value {
                EnvValue::Clear(value) => Leaf::Text(value.clone()),
                _ => Leaf::None,
            };
            let via = Via { variable: Variable::Env(name.clone()), used: item.node.span };
            fields.keep(&format!("{key}.{name}"), leaf, Origin::Written { at: item.node.span, via: Some(via) });
            Some(EnvVar { name, value })
        });
        variables.unwrap_or_default()
    }

    fn variable(&mut self, name: String) -> Option<EnvVar> {
        if let Err(why) = is_env_name(&name) {
            self.take(&name);
            self.name_mistake(&name, why, None);
            return None;
        }
        let found = self.take(&name)?;
        let value = match &found.node.value {
            Value::Map(_) => EnvValue::Secret(self.inside_found(&name, &found, |fields| fields.secret())?),
            _ => {
                let text = self.word_written(&found)?;
                if text.contains('\0') {
                    self.say(found.mistake(format!("the value of `{name}` has a NUL character in it")));
                    return None;
                }
                self.keep(&name, Leaf::Text(text.clone()), found.origin());
                EnvValue::Clear(text)
            }
        };
        Some(EnvVar { name, value })
    }

    /// The value of `secret`: one variable from outside and nothing else, so that it stands nowhere in clear.
    fn secret(&mut self) -> Option<String> {
        const HELP: &str = "write `{ secret: \"${env.NAME}\" }`";
        let Some(found) = self.take("secret") else {
            self.missing("secret", "\"${env.NAME}\"");
            return None;
        };
        let from = match found.node.via.as_deref() {
            Some(Via { variable: Variable::Env(name), .. }) => Some(name.clone()),
            _ => None,
        };
        match (&found.node.value, from) {
            (Value::Broken, _) => self.wrong(&found, "text", None),
            (Value::Text(text), Some(name)) if text.is_empty() => {
                self.say(found.mistake(format!("the environment variable `{name}` is empty, which cannot be kept secret")));
            }
            (Value::Text(text), Some(name)) => {
                let value = text.to_string();
                self.record.secrets.push((name, found.node.span));
                // Not even its digest: what is short could be guessed from it.
                self.outside.looks.untold();
                // That it is secret is in the key; what it is is not.
                self.keep("secret", Leaf::Bool(true), found.origin());
                return Some(value);
            }
            _ => {
                let message = "a secret is the value of one environment variable, and nothing else is written here";
                self.say(found.mistake(message).help(HELP));
            }
        }
        None
    }
}

fn is_env_name(name: &str) -> Result<(), String> {
    match name.is_empty() || name.contains(['=', '\0']) {
        true => Err(format!("`{name}` cannot be the name of a variable")),
        false => Ok(()),
    }
}
