//! Which methods an evaluation compares, read from its settings, and the comparisons made of its entries.

use std::collections::{BTreeMap, BTreeSet};

use talkflow_statistics::Clusters;

use crate::{
    compare::{self, Compared, Declared, Number, Numbers, OverUsers, Subject},
    fields::Fields,
    manifest::is_name,
    scores::{ClassesOf, Entry, Metric, PerClass, TEACHER, Task},
};

use super::{ratings::Scored, users};

/// Differences below this do not matter where nothing is said: of a scale of ratings a thousandth or two, of an accuracy half a point.
const MARGIN: f64 = 0.005;

/// The section `compare`.
#[derive(Clone, Debug)]
pub struct Compare {
    /// The column that others are compared with; none for that of the method `scratch`.
    pub reference: Option<String>,
    /// The columns that are compared with it; none for all.
    pub methods: Vec<String>,
    /// A column, and what it is compared with beside that.
    pub pairs: Vec<(String, String)>,
    /// Groups of rows.
    pub groups: Vec<(String, Vec<String>)>,
    /// Columns whose settings may be searched for with another budget.
    pub unequal: Vec<String>,
    rows: bool,
    margin: f64,
    alpha: f64,
    confidence: f64,
}

/// Reads it.
pub fn read(f: &mut Fields<'_>) -> Compare {
    f.section("compare", |f| {
        let reference = f.optional_text("reference");
        let methods = f.texts("methods", Some(&[]));
        let mut pairs: Vec<(String, String)> = Vec::new();
        for (method, others) in f.named_texts("pairs") {
            pairs.extend(others.into_iter().map(|other| (method.clone(), other)));
        }
        let alone = pairs.iter().find(|(method, other)| method == other).map(|(method, _)| method.clone());
        if let Some(method) = alone {
            f.mistake("pairs", format!("`{method}` is compared with itself"), None);
        }
        let twice = pairs.iter().enumerate().find(|(at, pair)| pairs[..*at].contains(pair));
        if let Some((method, other)) = twice.map(|(_, pair)| pair.clone()) {
            f.mistake("pairs", format!("`{method}` is compared with `{other}` twice"), Some("name it once"));
        }
        let groups = f.named_texts("groups");
        for (name, rows) in &groups {
            if !is_name(name) || name == compare::ROWS {
                let help = "use letters, digits, `_` and `-`; `rows` is the family of all rows";
                f.mistake("groups", format!("`{name}` cannot be the name of a group"), Some(help));
            }
            let distinct: BTreeSet<&String> = rows.iter().collect();
            if rows.is_empty() || distinct.len() < rows.len() {
                let what = if rows.is_empty() { "has no rows" } else { "has a row twice" };
                f.mistake("groups", format!("the group `{name}` {what}"), None);
            }
        }
        // Whether it is declared changes no number.
        let unequal = f.unrecorded(|f| f.texts("unequal", Some(&[])));
        let rows = f.bool("rows", Some(true));
        let margin = f.float("margin", Some(MARGIN), 1e-6..=1e6);
        let alpha = f.float("alpha", Some(0.05), 1e-4..=0.5);
        let confidence = f.float("confidence", Some(0.95), 0.5..=0.999);
        Compare { reference, methods, pairs, groups, unequal, rows, margin, alpha, confidence }
    })
}

impl Compare {
    /// What is declared for a metric, where the column of the method `scratch` is this one.
    pub fn declared(&self, metric: Metric, scratch: Option<&str>) -> Declared {
        Declared {
            metric: metric.name().to_owned(),
            direction: metric.direction(),
            reference: self.reference.clone().or_else(|| scratch.map(str::to_owned)),
            methods: self.methods.clone(),
            pairs: self.pairs.clone(),
            groups: self.groups.clone(),
            rows: self.rows,
            margin: self.margin,
            alpha: self.alpha,
            confidence: self.confidence,
        }
    }
}

/// The metric that is compared: the first that a model by itself has.
pub fn metric_of(task: Task, metrics: &[Metric]) -> Metric {
    metrics.iter().copied().find(|metric| *metric != Metric::GapRecovery).unwrap_or(task.main())
}

/// Over blocks.
pub fn over_blocks(declared: &Declared, metric: Metric, entries: &[Entry]) -> anyhow::Result<Vec<Compared>> {
    let mut numbers = Numbers::new();
    for entry in entries {
        let Some(value) = entry.metric(metric) else { continue };
        let number = Number { value, rows: entry.rows as u64, train_rows: entry.train_rows as u64 };
        let columns = numbers.entry(entry.row.clone()).or_default();
        columns.entry(entry.column.clone()).or_default().insert(entry.block.clone(), number);
    }
    Ok(declared.judge(&[&numbers], TEACHER)?.into_iter().map(|(_, compared)| compared).collect())
}

/// Over users, where there is one block: on each row, and on the means over groups of rows.
pub fn over_users(declared: &Declared, metric: Metric, scored: &[Scored<'_>]) -> anyhow::Result<Vec<OverUsers>> {
    let mut rows: BTreeMap<&str, BTreeMap<&str, &Scored<'_>>> = BTreeMap::new();
    for one in scored {
        rows.entry(&one.entry.row).or_default().insert(&one.entry.column, one);
    }
    let columns: BTreeSet<&str> = rows.values().flat_map(|columns| columns.keys().copied()).collect();
    let pairs = declared.comparisons(&columns, TEACHER);
    let Some(aggregate) = users::aggregate(metric) else { return Ok(Vec::new()) };
    let mut found = Vec::new();
    for (family, subjects) in declared.families(&rows.keys().copied().collect()) {
        for Subject { name, over } in subjects {
            for (method, reference) in &pairs {
                let stratum = |row: &String| {
                    let columns = rows.get(row.as_str())?;
                    Some(users::clusters(&columns.get(method)?.beside.users, &columns.get(reference)?.beside.users, metric))
                };
                let Some(strata) = over.iter().map(stratum).collect::<Option<Vec<_>>>() else { continue };
                let clusters = Clusters::of_strata(strata, aggregate)?;
                found.push(OverUsers {
                    family: family.clone(),
                    row: name.clone(),
                    over: over.clone(),
                    method: (*method).to_owned(),
                    reference: (*reference).to_owned(),
                    found: declared.over_users(&clusters)?,
                });
            }
        }
    }
    Ok(found)
}

/// The accuracy on single classes over blocks, against the reference: of each method a family of all classes. Nothing of entries that have no
/// classes, and nothing of one block, of which nothing can be told.
pub fn over_classes(declared: &Declared, entries: &[Entry]) -> anyhow::Result<Option<PerClass>> {
    let mut rows: BTreeMap<&str, (Vec<&str>, Numbers)> = BTreeMap::new();
    let mut blocks = BTreeSet::new();
    for entry in entries {
        for counts in entry.classes() {
            blocks.insert(&entry.block);
            let (classes, numbers) = rows.entry(&entry.row).or_default();
            if !classes.contains(&counts.class.as_str()) {
                classes.push(&counts.class);
            }
            // The share of a class in training is taken to be that of its rows, as in a split that keeps the classes' shares.
            let Some(value) = counts.accuracy() else { continue };
            let number = Number { value, rows: entry.rows as u64, train_rows: entry.train_rows as u64 };
            let columns = numbers.entry(counts.class.clone()).or_default();
            columns.entry(entry.column.clone()).or_default().insert(entry.block.clone(), number);
        }
    }
    if blocks.len() < 2 {
        return Ok(None);
    }
    // The margin is one of what was declared; of another metric it would be in other units.
    let margin = if Metric::Accuracy.name() == declared.metric { declared.margin } else { MARGIN };
    let (metric, direction) = (Metric::Accuracy.name().to_owned(), Metric::Accuracy.direction());
    let declared = Declared { metric, direction, margin, ..declared.clone() };
    let judge = |(row, (classes, numbers)): (&str, (Vec<&str>, Numbers))| {
        let mut compared = declared.judge_each_method(&numbers, TEACHER)?;
        compared.sort_by_key(|of| (of.method.clone(), classes.iter().position(|class| *class == of.row)));
        Ok(ClassesOf::new(row.to_owned(), compared))
    };
    let rows = rows.into_iter().map(judge).collect::<anyhow::Result<Vec<_>>>()?;
    Ok(Some(PerClass { declared, rows }))
}

/// What has to be said where blocks share the rows they are scored on: then they are no splits of their own.
pub fn shared_splits(entries: &[Entry], blocks: usize) -> Option<String> {
    let mut of_row: BTreeMap<&str, BTreeSet<_>> = BTreeMap::new();
    for entry in entries {
        of_row.entry(&entry.row).or_default().insert(entry.on);
    }
    let splits = of_row.values().map(BTreeSet::len).max().unwrap_or(0);
    (splits < blocks).then(|| compare::shared(blocks, splits))
}
