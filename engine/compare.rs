//! Methods against methods over blocks: which comparisons are declared, and what is found of each. Knows numbers by row, column and block, and
//! neither models nor manifests; every procedure is one of `talkflow-statistics`.
//!
//! A *hypothesis* is a method and what it is compared with, on one row of a table or on the mean over a group of rows, taken within each block
//! first. Hypotheses are declared with the evaluation, so they are in its key: nothing is chosen after numbers were seen. The group means
//! are families of their own, and all rows together are another.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use talkflow_statistics::{
    Alpha, Clusters, Confidence, Degenerate, Design, Differences, Direction, Estimate, Evidence, Family, Invalid, Judgement,
    Margin, Overlap, Paired, Resampling, Variance, judge,
};

/// The family of all rows.
pub const ROWS: &str = "rows";
/// The group of all rows, where no groups are declared.
pub const MEAN: &str = "mean";

/// What is declared before anything is looked at.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Declared {
    /// The metric, by its word.
    pub metric: String,
    /// Which way it is good.
    pub direction: Direction,
    /// The column that the others are compared with; none where there is no such column.
    pub reference: Option<String>,
    /// The columns that are compared with it; none for all but it and the teacher.
    pub methods: Vec<String>,
    /// Further comparisons: a column, and what it is compared with.
    pub pairs: Vec<(String, String)>,
    /// Groups of rows by name; none for one of all rows.
    pub groups: Vec<(String, Vec<String>)>,
    /// Whether rows are compared by themselves too.
    pub rows: bool,
    /// Differences below this do not matter.
    pub margin: f64,
    /// How often a verdict may claim something that is not so.
    pub alpha: f64,
    /// How often an interval covers the truth.
    pub confidence: f64,
}

/// The number of one row, column and block, and what it was found on.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Number {
    /// The metric.
    pub value: f64,
    /// Rows it was scored on.
    pub rows: u64,
    /// Rows of the same selection that models are trained on.
    pub train_rows: u64,
}

/// Numbers by row, then column, then block.
pub type Numbers = BTreeMap<String, BTreeMap<String, BTreeMap<String, Number>>>;

/// One hypothesis, judged.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Compared {
    /// Its family: a group, or [`ROWS`].
    pub family: String,
    /// The row, or the group that the mean is over.
    pub row: String,
    /// The rows that it is about.
    pub over: Vec<String>,
    /// The column.
    pub method: String,
    /// The column it is compared with.
    pub reference: String,
    /// How many blocks both have.
    pub blocks: usize,
    /// How many blocks only one of them has, and so are left out.
    pub left_out: usize,
    /// The mean of the metric over the blocks that both have.
    pub method_mean: Option<f64>,
    /// The same of the reference.
    pub reference_mean: Option<f64>,
    /// How much of the way from the reference to the teacher the method went; null where no teacher was scored, and where the interval of
    /// the whole way holds 0.
    pub gap_recovery: Option<f64>,
    /// What is known by it, in a sentence.
    pub sentence: String,
    /// The verdict and the numbers behind it.
    pub judgement: Judgement,
}

/// Two models of one block over the users they were scored on.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct OverUsers {
    /// A group, or [`ROWS`].
    pub family: String,
    /// The row, or the group that the mean is over.
    pub row: String,
    /// The rows that it is about.
    pub over: Vec<String>,
    /// The column.
    pub method: String,
    /// The column it is compared with.
    pub reference: String,
    /// The numbers, or why there are none.
    pub found: UsersFound,
}

/// What resampling users gave.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum UsersFound {
    /// The difference and its intervals.
    Compared(talkflow_statistics::ClusterBootstrap),
    /// Nothing, and why.
    Degenerate(Degenerate),
}

/// A hypothesis of a family: the row or group, which table, method and reference.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Hypothesis {
    row: String,
    table: usize,
    method: String,
    reference: String,
}

/// What hypotheses of a family are about: a row, or a group of them.
pub struct Subject {
    /// What it is called.
    pub name: String,
    /// The rows.
    pub over: Vec<String>,
}

/// What tells whether two hypotheses are the same: row, method, reference, and the bits of all values.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Basis {
    hypothesis: [String; 3],
    blocks: Vec<String>,
    values: Vec<[u64; 2]>,
}

/// A hypothesis as it was met, before it is judged.
struct Met<'a> {
    own: Hypothesis,
    /// Itself, or one that stands on the same numbers.
    stands_for: Hypothesis,
    over: &'a [String],
    paired: Paired<String>,
    /// Of method and reference, by block.
    values: [BTreeMap<String, f64>; 2],
}

impl std::fmt::Display for Hypothesis {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} against {} on {}", self.method, self.reference, self.row)
    }
}

impl Declared {
    /// The comparisons that a table's columns give: each with what it is compared with, in the order of the columns, pairs last. The `teacher`
    /// is what methods are measured by, and is compared only where a pair names it.
    #[must_use]
    pub fn comparisons<'a>(&'a self, columns: &BTreeSet<&'a str>, teacher: &str) -> Vec<(&'a str, &'a str)> {
        let wanted = |column: &str| match self.methods.is_empty() {
            true => column != teacher,
            false => self.methods.iter().any(|method| method == column),
        };
        let reference = self.reference.as_deref().filter(|reference| columns.contains(reference));
        let with = reference.map_or_else(Vec::new, |reference| {
            let others = columns.iter().filter(|column| **column != reference && wanted(column));
            others.map(|column| (*column, reference)).collect()
        });
        with.into_iter().chain(self.pairs.iter().map(|(method, other)| (method.as_str(), other.as_str()))).collect()
    }

    /// The families by name. A single row is no mean.
    #[must_use]
    pub fn families(&self, rows: &BTreeSet<&str>) -> Vec<(String, Vec<Subject>)> {
        let of = |name: &str, over: Vec<String>| (name.to_owned(), vec![Subject { name: name.to_owned(), over }]);
        let mut families: Vec<(String, Vec<Subject>)> = match self.groups.is_empty() {
            false => self.groups.iter().map(|(name, rows)| of(name, rows.clone())).collect(),
            true if rows.len() > 1 || !self.rows => vec![of(MEAN, rows.iter().map(ToString::to_string).collect())],
            true => Vec::new(),
        };
        if self.rows && !rows.is_empty() {
            let single = |row: &&str| Subject { name: (*row).to_owned(), over: vec![(*row).to_owned()] };
            families.push((ROWS.to_owned(), rows.iter().map(single).collect()));
        }
        families
    }

    /// Judges every hypothesis of some tables, such as the settings of a sweep, which share their families. Hypotheses of two tables that
    /// stand on the very same numbers, since no setting of these matters to them, are one. `teacher` is the teacher's column.
    ///
    /// Each result comes with the place of its table; families come one after the other, in each the rows, then the tables.
    ///
    /// # Errors
    /// [`Invalid`] where a metric is no finite number, or nothing was trained on.
    pub fn judge(&self, tables: &[&Numbers], teacher: &str) -> Result<Vec<(usize, Compared)>, Invalid> {
        let rows: BTreeSet<&str> = tables.iter().flat_map(|table| table.keys().map(String::as_str)).collect();
        let mut all = Vec::new();
        for (family, members) in self.families(&rows) {
            all.extend(self.judge_family(&family, &members, tables, teacher)?);
        }
        Ok(all)
    }

    /// Judges each method on each row of a table against the reference, the rows of one method being a family, called as the method: for rows that
    /// are parts of one whole, such as classes. Pairs and groups are not looked at.
    ///
    /// # Errors
    /// As for [`Declared::judge`].
    pub fn judge_each_method(&self, table: &Numbers, teacher: &str) -> Result<Vec<Compared>, Invalid> {
        let columns: BTreeSet<&str> = table.values().flat_map(|row| row.keys().map(String::as_str)).collect();
        let alone = Self { pairs: Vec::new(), groups: Vec::new(), ..self.clone() };
        let rows: Vec<Subject> = table.keys().map(|row| Subject { name: row.clone(), over: vec![row.clone()] }).collect();
        let mut all = Vec::new();
        for (method, _) in alone.comparisons(&columns, teacher) {
            let one = Self { methods: vec![method.to_owned()], ..alone.clone() };
            all.extend(one.judge_family(method, &rows, &[table], teacher)?.into_iter().map(|(_, compared)| compared));
        }
        Ok(all)
    }

    fn judge_family(
        &self,
        name: &str,
        subjects: &[Subject],
        tables: &[&Numbers],
        teacher: &str,
    ) -> Result<Vec<(usize, Compared)>, Invalid> {
        let mut met: Vec<Met<'_>> = Vec::new();
        // What stands on the same numbers is the same hypothesis: the first of them.
        let mut known: BTreeMap<Basis, Hypothesis> = BTreeMap::new();
        let mut counted = [0_u64; 2];
        for Subject { name: row, over } in subjects {
            for (table, numbers) in tables.iter().enumerate() {
                let columns: BTreeSet<&str> = numbers.values().flat_map(|row| row.keys().map(String::as_str)).collect();
                for (method, reference) in self.comparisons(&columns, teacher) {
                    let values = [method, reference].map(|column| mean_by_block(numbers, over, column));
                    let paired = Paired::of(&values[0], &values[1])?;
                    let [method, reference] = [method, reference].map(str::to_owned);
                    let basis = Basis {
                        hypothesis: [row.clone(), method.clone(), reference.clone()],
                        values: paired.blocks.iter().map(|block| values.each_ref().map(|of| of[block].to_bits())).collect(),
                        blocks: paired.blocks.clone(),
                    };
                    let own = Hypothesis { row: row.clone(), table, method, reference };
                    let stands_for = known.entry(basis).or_insert_with(|| own.clone()).clone();
                    met.push(Met { own, stands_for, over, paired, values });
                }
                for number in over.iter().filter_map(|row| numbers.get(row)).flat_map(BTreeMap::values).flat_map(BTreeMap::values)
                {
                    counted[0] += number.rows;
                    counted[1] += number.train_rows;
                }
            }
        }
        if met.is_empty() {
            return Ok(Vec::new());
        }
        let family = Family::declare(name, known.into_values())?;
        let differences: BTreeMap<Hypothesis, Differences> = met
            .iter()
            .filter(|met| met.own == met.stands_for)
            .map(|met| (met.own.clone(), met.paired.differences.clone()))
            .collect();
        let judged = judge(&family, &differences, &self.design(Overlap::of_rows(counted[0], counted[1].max(1))?)?)?;
        let compared = met.into_iter().filter_map(|Met { own, stands_for, over, paired, values }| {
            let judgement = judged.get(&stands_for)?.clone();
            let mean = |of: &BTreeMap<String, f64>| {
                let values: Vec<f64> = paired.blocks.iter().filter_map(|block| of.get(block).copied()).collect();
                (!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64)
            };
            let whole = (own.method != teacher).then(|| mean_by_block(tables[own.table], over, teacher));
            let compared = Compared {
                family: name.to_owned(),
                row: own.row,
                over: over.to_vec(),
                blocks: paired.blocks.len(),
                left_out: paired.only_method + paired.only_reference,
                method_mean: mean(&values[0]),
                reference_mean: mean(&values[1]),
                gap_recovery: whole.and_then(|teacher| gap_recovery(&values, &teacher)),
                sentence: judgement.to_string(),
                judgement,
                method: own.method,
                reference: own.reference,
            };
            Some((own.table, compared))
        });
        Ok(compared.collect())
    }

    fn design(&self, overlap: Overlap) -> Result<Design, Invalid> {
        Ok(Design {
            alpha: Alpha::new(self.alpha)?,
            confidence: Confidence::new(self.confidence)?,
            ..Design::new(self.direction, overlap, Margin::new(self.margin)?)
        })
    }

    /// Resamples the users that two models of one block were scored on.
    ///
    /// # Errors
    /// [`Invalid`] where the declared confidence is none.
    pub fn over_users(&self, clusters: &Clusters) -> Result<UsersFound, Invalid> {
        let found = clusters.bootstrap(Resampling::default(), Confidence::new(self.confidence)?);
        Ok(found.map_or_else(UsersFound::Degenerate, UsersFound::Compared))
    }
}

/// What has to be said of blocks that have fewer splits between them: nothing then tells how another split would have come out.
#[must_use]
pub fn shared(blocks: usize, splits: usize) -> String {
    let splits = if splits == 1 { "one split".to_owned() } else { format!("{splits} splits") };
    format!(
        "{blocks} blocks have {splits} between them: comparisons speak of these splits, and of new data less than their intervals say"
    )
}

/// Of a column, by block, the mean over rows, in the blocks that have each of them.
fn mean_by_block(numbers: &Numbers, rows: &[String], column: &str) -> BTreeMap<String, f64> {
    let of_rows: Option<Vec<&BTreeMap<String, Number>>> = rows.iter().map(|row| numbers.get(row)?.get(column)).collect();
    let Some((first, rest)) = of_rows.as_deref().and_then(<[_]>::split_first) else { return BTreeMap::new() };
    let mean = |(block, number): (&String, &Number)| {
        let others = rest.iter().map(|row| row.get(block).map(|number| number.value)).collect::<Option<Vec<f64>>>()?;
        Some((block.clone(), (number.value + others.iter().sum::<f64>()) / rows.len() as f64))
    };
    first.iter().filter_map(mean).collect()
}

/// mean(reference - method) / mean(reference - teacher) over the blocks that have all three.
fn gap_recovery([method, reference]: &[BTreeMap<String, f64>; 2], teacher: &BTreeMap<String, f64>) -> Option<f64> {
    let common: Vec<[f64; 3]> =
        method.iter().filter_map(|(block, value)| Some([*value, *reference.get(block)?, *teacher.get(block)?])).collect();
    let gap = Differences::new(common.iter().map(|[_, reference, teacher]| reference - teacher).collect()).ok()?;
    let whole = Estimate::paired(&gap, Variance::Plain).ok()?;
    let interval = whole.interval(Confidence::default());
    let gained = common.iter().map(|[method, reference, _]| reference - method).sum::<f64>() / common.len() as f64;
    (interval.low > 0.0 || interval.high < 0.0).then(|| gained / whole.mean())
}

impl Compared {
    /// The numbers, where there are any.
    #[must_use]
    pub fn numbers(&self) -> Option<&talkflow_statistics::Comparison> {
        match &self.judgement.evidence {
            Evidence::Compared(of) => Some(of),
            Evidence::Degenerate(_) => None,
        }
    }
}

#[cfg(test)]
mod tests;
