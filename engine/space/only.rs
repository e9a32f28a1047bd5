//! Points chosen by their values: `rounds=2,seed=1..3`, or by their numbers: `point=1..10`.

use super::Space;
use crate::source::one_of;

/// What stands for a point's number.
const POINT: &str = "point";

/// What a point's values have to be, as typed.
#[derive(Clone, Debug)]
pub struct Only {
    text: String,
    conditions: Vec<Condition>,
}

#[derive(Clone, Debug)]
struct Condition {
    param: String,
    not: bool,
    /// One of these.
    values: Vec<Wanted>,
}

#[derive(Clone, Debug)]
enum Wanted {
    /// Called so.
    Name(String),
    /// A number between these, or one of them.
    Between(f64, f64),
}

impl Only {
    /// Reads it as typed.
    ///
    /// # Errors
    /// In words, where it is not written like one.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut conditions = Vec::new();
        for pair in text.split(',') {
            let Some((param, values)) = pair.split_once('=').filter(|(param, _)| !param.trim().is_empty()) else {
                return Err(format!(
                    "`{text}` chooses no points: write `param=value`, `param=1|3`, `param=1..5`, `param!=value`, with commas between"
                ));
            };
            let (param, not) = match param.trim_end().strip_suffix('!') {
                Some(param) => (param.trim(), true),
                None => (param.trim(), false),
            };
            let values = values.split('|').map(|value| wanted(value.trim())).collect();
            conditions.push(Condition { param: param.to_owned(), not, values });
        }
        Ok(Self { text: text.to_owned(), conditions })
    }

    /// A mark for each point of a space: whether it is chosen.
    ///
    /// # Errors
    /// In words, with what was probably meant, where a parameter is not swept or no point is left.
    pub fn pick(&self, space: &Space) -> Result<Vec<bool>, String> {
        let mut marks = vec![true; space.points.len()];
        for Condition { param, not, values } in &self.conditions {
            let column = space.params.iter().position(|swept| swept.path == *param);
            if column.is_none() && param != POINT {
                let known = space.params.iter().map(|swept| swept.path.as_str()).chain([POINT]);
                let help = one_of(param, known).map_or(String::new(), |help| format!(": {help}"));
                return Err(format!("--only {}: `{param}` is not swept{help}", self.text));
            }
            let name =
                |point: usize| column.map_or_else(|| (point + 1).to_string(), |at| space.points[point].0[at].name.to_string());
            for (point, mark) in marks.iter_mut().enumerate() {
                let name = name(point);
                *mark &= values.iter().any(|value| value.fits(&name)) != *not;
            }
            if !marks.contains(&true) {
                let mut names: Vec<String> = (0..space.points.len()).map(name).collect();
                names.dedup();
                let typed: Vec<&str> =
                    self.text.split(',').filter(|pair| pair.trim_start().starts_with(param.as_str())).collect();
                let help = one_of("", names.iter().map(String::as_str)).map_or(String::new(), |help| format!(": {help}"));
                return Err(format!("--only {}: no point has `{}`{help}", self.text, typed.join(",")));
            }
        }
        Ok(marks)
    }
}

fn wanted(text: &str) -> Wanted {
    let range = text.split_once("..").and_then(|(low, high)| Some((low.trim().parse().ok()?, high.trim().parse().ok()?)));
    range.map_or_else(|| Wanted::Name(text.to_owned()), |(low, high)| Wanted::Between(low, high))
}

impl Wanted {
    fn fits(&self, name: &str) -> bool {
        match self {
            // The same number may be written in two ways.
            Self::Name(wanted) => wanted == name || wanted.parse::<f64>().is_ok_and(|wanted| name.parse() == Ok(wanted)),
            Self::Between(low, high) => name.parse::<f64>().is_ok_and(|value| (low..=high).contains(&&value)),
        }
    }
}
