//! The reference, `docs/manifest.md`, read for what it says about each field.
//!
//! Its tables with a column `field` (or `key`) describe settings. Under the heading of a stage kind they are that kind's; under others
//! they are of every kind that has such a field. A line before a table that begins with `` `model: { ncf: {...} }` `` (or several of these)
//! says under which word of a choice the fields stand. Tables whose first column is headed by a field's name, as `` `by` ``, tell what its
//! words mean.

use std::collections::BTreeMap;

const REFERENCE: &str = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/manifest.md"));

/// What the reference says.
#[derive(Debug, Default)]
pub(super) struct Docs {
    /// What is said about a field, by the place that says it and the field's path; several where a kind reads it in different ways.
    rows: BTreeMap<(String, String), Vec<Row>>,
    /// What is said about the words of a field, by the field's last name and the word.
    words: BTreeMap<(String, String), String>,
    /// The kinds whose settings another kind has too.
    also: BTreeMap<String, String>,
}

/// What is said about a field.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Row {
    /// Its type.
    pub kind: String,
    /// Its default.
    pub default: String,
    /// What it is for.
    pub text: String,
}

impl Docs {
    pub(super) fn reference() -> Self {
        Self::of(REFERENCE)
    }

    fn of(text: &str) -> Self {
        let mut docs = Self::default();
        let mut scope = String::new();
        let mut prefixes = vec![String::new()];
        let mut header: Option<Vec<String>> = None;
        let mut code = false;
        let mut opening = false;
        for line in text.lines() {
            if line.starts_with("```") {
                code = !code;
            }
            if code {
                continue;
            }
            if let Some(heading) = line.strip_prefix("## ") {
                scope = match heading {
                    "The file" => "top".to_owned(),
                    "Beside the kind" => "beside".to_owned(),
                    "Sweeps" => "sweep".to_owned(),
                    "Gates" => "check".to_owned(),
                    kind if crate::stages::WORDS.contains(&kind) => kind.to_owned(),
                    _ => String::new(),
                };
                prefixes = vec![String::new()];
                opening = true;
            } else if line.starts_with('|') {
                let cells = cells(line);
                match &header {
                    None => header = Some(cells),
                    Some(_) if cells.iter().all(|cell| cell.chars().all(|c| "-: ".contains(c))) => {}
                    Some(header) => docs.row(&scope, &prefixes, header, &cells),
                }
                continue;
            } else if !line.is_empty() {
                let choices = choices(line);
                if !choices.is_empty() {
                    prefixes = choices;
                }
                if let Some((_, rest)) = line.split_once("All fields of [`")
                    && let Some((kind, _)) = rest.split_once('`')
                {
                    docs.also.insert(scope.clone(), kind.to_owned());
                }
                // The first sentence under a kind's heading says what it makes.
                if opening && !scope.is_empty() {
                    let key = (scope.clone(), String::new());
                    let text = plain(line);
                    let sentence = text.split_once(". ").map_or(text.as_str(), |(first, _)| first).trim_end_matches('.');
                    docs.rows.insert(key, vec![Row { text: format!("{sentence}."), ..Row::default() }]);
                }
                opening = false;
            }
            header = None;
        }
        docs
    }

    fn row(&mut self, scope: &str, prefixes: &[String], header: &[String], cells: &[String]) {
        let cell =
            |name: &str| header.iter().position(|head| head == name).and_then(|at| cells.get(at)).cloned().unwrap_or_default();
        let Some(first) = header.first() else { return };
        if let Some(field) = coded(first).first() {
            for word in coded(cells.first().map_or("", String::as_str)) {
                self.words.insert((field.clone(), word), plain(&cell("")));
            }
            return;
        }
        if first != "field" && first != "key" {
            return;
        }
        let names = names(cells.first().map_or("", String::as_str));
        let defaults = cell("default");
        let split: Vec<&str> = defaults.split(", ").collect();
        for (at, name) in names.iter().enumerate() {
            let default = if names.len() > 1 && split.len() == names.len() { split[at] } else { &defaults };
            for prefix in prefixes {
                let row = Row { kind: cell("type"), default: default.to_owned(), text: plain(&cell("")) };
                self.rows.entry((scope.to_owned(), format!("{prefix}{name}"))).or_default().push(row);
            }
        }
    }

    /// What is said about a field of a kind (or at the top, or beside the kind), by its path.
    pub(super) fn about(&self, scope: &str, path: &str) -> &[Row] {
        let of = |scope: &str| self.rows.get(&(scope.to_owned(), path.to_owned()));
        let also = || self.also.get(scope).and_then(|other| of(other));
        of(scope).or_else(also).or_else(|| of("")).map_or(&[], Vec::as_slice)
    }

    /// Every field that the reference has a row for, with the place that says it.
    #[cfg(test)]
    pub(super) fn fields(&self) -> impl Iterator<Item = (&str, &str)> {
        self.rows.keys().map(|(scope, path)| (scope.as_str(), path.as_str()))
    }

    /// The sentences about a field.
    pub(super) fn text(&self, scope: &str, path: &str) -> String {
        let texts: Vec<&str> = self.about(scope, path).iter().map(|row| row.text.as_str()).collect();
        texts.join(" Or: ")
    }

    /// What a word of a field means.
    pub(super) fn word(&self, path: &str, word: &str) -> Option<String> {
        let field = path.rsplit('.').next().unwrap_or(path);
        self.words.get(&(field.to_owned(), word.to_owned())).cloned()
    }
}

/// The cells of a table's line. `\|` is no border.
fn cells(line: &str) -> Vec<String> {
    let inner = line.trim().trim_start_matches('|').trim_end_matches('|').replace("\\|", "\0");
    inner.split('|').map(|cell| cell.trim().replace('\0', "|")).collect()
}

/// The pieces of code in a text.
fn coded(text: &str) -> Vec<String> {
    text.split('`').skip(1).step_by(2).map(str::to_owned).collect()
}

/// The paths in a cell: `` `scale.min`, `.max` `` are two.
fn names(cell: &str) -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    for name in coded(cell) {
        let parent = names.last().and_then(|last| last.rsplit_once('.')).map_or("", |(parent, _)| parent);
        let name = if name.starts_with('.') { format!("{parent}{name}") } else { name };
        names.push(name);
    }
    names
}

/// The choices that a line begins with: `` `model: { ncf: {...} }` `` is `model.ncf.`.
fn choices(line: &str) -> Vec<String> {
    if !line.starts_with('`') {
        return Vec::new();
    }
    let choice = |code: &String| {
        let (field, rest) = code.strip_suffix(": {...} }")?.split_once(": { ")?;
        Some(format!("{field}.{rest}."))
    };
    coded(line).iter().map_while(choice).collect()
}

/// A text without the targets of its links.
fn plain(text: &str) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some((before, link)) = rest.split_once('[') {
        match link.split_once("](").and_then(|(name, rest)| Some((name, rest.split_once(')')?.1))) {
            Some((name, after)) if !name.contains(['`', '[', ']']) => {
                out += before;
                out += name;
                rest = after;
            }
            _ => {
                out += before;
                out.push('[');
                rest = link;
            }
        }
    }
    out + rest
}
