//! The comparisons that evaluations declare, over the seeds of a sweep and the blocks of its evaluations. They are made from the table, so
//! whoever has the table has them.

use std::collections::{BTreeMap, btree_map::Entry};

use indexmap::IndexMap;

use super::{Results, Values, column_of};
use crate::{
    compare::{Declared, Number, Numbers, shared},
    report::comparisons::{Line, Sheet, over_blocks},
    scores::TEACHER,
};

/// What comes of the comparisons of a sweep.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Sheets {
    /// By stage.
    pub sheets: Vec<(String, Sheet)>,
    /// Why there are none of some stage.
    pub remarks: Vec<String>,
}

/// The comparisons of one evaluation over a sweep.
#[derive(Clone, Debug, PartialEq)]
pub struct Judged {
    /// The evaluation's stage.
    pub stage: String,
    /// What was declared.
    pub declared: Declared,
    /// What tells settings apart.
    pub heads: Vec<String>,
    /// One a hypothesis and setting.
    pub lines: Vec<Line>,
}

impl Results {
    /// The comparisons of each evaluation at the end of the graph, as tables.
    pub fn comparisons(&self) -> Sheets {
        let (judged, remarks) = self.judged();
        let axis = self.provenance.axes.as_ref().map_or("row", |(row, _)| row);
        let sheet = |of: Judged| Some((of.stage, over_blocks(&of.declared, &of.heads, axis, &of.lines)?));
        Sheets { sheets: judged.into_iter().filter_map(sheet).collect(), remarks }
    }

    /// The comparisons of each evaluation at the end of the graph, and why there are none of some. Settings of the sweep that are no seeds share
    /// their families.
    pub fn judged(&self) -> (Vec<Judged>, Vec<String>) {
        let (mut found, mut remarks) = (Vec::new(), Vec::new());
        for (stage, declared) in self.provenance.declared.iter().filter(|(stage, _)| self.provenance.shown.contains_key(*stage)) {
            match self.judge(stage, declared) {
                Ok(None) => {}
                Ok(Some((judged, blocks))) => {
                    let splits = self.provenance.splits.get(stage).copied().unwrap_or(blocks);
                    remarks.extend((splits < blocks).then(|| format!("{}.", shared(blocks, splits))));
                    found.push(judged);
                }
                Err(why) => remarks.push(format!("{stage} is not compared: {why}")),
            }
        }
        (found, remarks)
    }

    fn judge(&self, stage: &str, declared: &Declared) -> Result<Option<(Judged, usize)>, String> {
        let seed = self.provenance.seed.as_deref();
        let heads: Vec<String> =
            self.provenance.params.iter().filter(|param| seed != Some(param)).map(|param| column_of(param)).collect();
        let tables = self.numbers(stage, declared, &heads)?;
        let numbers: Vec<&Numbers> = tables.values().collect();
        let cells = numbers.iter().flat_map(|table| table.values()).flat_map(BTreeMap::values);
        let blocks = cells.map(BTreeMap::len).max().unwrap_or(0);
        if blocks < 2 {
            return Ok(None);
        }
        let settings: Vec<&Vec<String>> = tables.keys().collect();
        let judged = declared.judge(&numbers, TEACHER).map_err(|error| error.to_string())?;
        let line = |(table, compared): (usize, _)| Line { setting: settings[table].clone(), compared };
        let lines: Vec<Line> = judged.into_iter().map(line).collect();
        let judged = Judged { stage: stage.to_owned(), declared: declared.clone(), heads, lines };
        Ok((!judged.lines.is_empty()).then_some((judged, blocks)))
    }

    /// The numbers of an evaluation by setting, each setting's by row, column and block.
    fn numbers(&self, stage: &str, declared: &Declared, heads: &[String]) -> Result<IndexMap<Vec<String>, Numbers>, String> {
        let text = |name: &str, row: usize| self.column(name).map_or_else(String::new, |values| values.text(row));
        let values = match self.column("value") {
            Some(Values::Float(values)) => values.as_slice(),
            _ => &[],
        };
        // The numbers of a model stand in rows beside each other.
        let mut models: IndexMap<[String; 4], BTreeMap<String, f64>> = IndexMap::new();
        let mut first: Vec<usize> = Vec::new();
        for row in (0..self.rows()).filter(|row| text("stage", *row) == stage && !text("column", *row).is_empty()) {
            let metric = text("metric", row);
            if ![declared.metric.as_str(), "rows", "train_rows"].contains(&metric.as_str()) {
                continue;
            }
            let place = ["point", "row", "column", "block"].map(|name| text(name, row));
            let model = models.entry(place).or_insert_with(|| {
                first.push(row);
                BTreeMap::new()
            });
            match (model.entry(metric), values.get(row).copied().flatten()) {
                (Entry::Vacant(entry), Some(value)) => _ = entry.insert(value),
                (Entry::Occupied(_), _) => return Err("several of its instances score the same rows".to_owned()),
                (Entry::Vacant(_), None) => {}
            }
        }
        let mut tables: IndexMap<Vec<String>, Numbers> = IndexMap::new();
        for (([_, row, column, block], model), at) in models.into_iter().zip(first) {
            let [Some(value), Some(rows), Some(train_rows)] =
                [declared.metric.as_str(), "rows", "train_rows"].map(|name| model.get(name).copied())
            else {
                continue;
            };
            let number = Number { value, rows: rows as u64, train_rows: train_rows as u64 };
            let setting = heads.iter().map(|head| text(head, at)).collect();
            let seed = self.provenance.seed.as_deref().map_or_else(String::new, |seed| text(&column_of(seed), at));
            let columns = tables.entry(setting).or_default().entry(row).or_default();
            columns.entry(column).or_default().insert(format!("{seed};{block}"), number);
        }
        Ok(tables)
    }
}
