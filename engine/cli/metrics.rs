//! `talkflow metrics`: the metrics of all runs in one tidy table, a line a number: run, time, manifest, stage, its matrix values, the
//! parameters that differ between the runs, metric and value.

use std::{collections::BTreeSet, path::PathBuf, sync::Arc};

use arrow::{
    array::{ArrayRef, Float64Array, StringArray, TimestampMillisecondArray},
    record_batch::RecordBatch,
};
use clap::Args;
use indexmap::IndexMap;
use serde::Serialize;
use serde_json::Value;

use super::{Answer, Common, Failure, Raw, answer};
use crate::{
    history,
    report::write_whole,
    selector::{Name, Selector},
    time,
};

/// Its arguments.
#[derive(Debug, Args)]
pub struct MetricsArgs {
    /// Stages, instances in full, or globs [default: all].
    #[arg(value_name = "STAGE")]
    stages: Vec<String>,
    /// Only metrics of this name, or that fit this glob; may be repeated.
    #[arg(short, long = "metric", value_name = "NAME")]
    metrics: Vec<String>,
    /// Only the last N runs.
    #[arg(long, value_name = "N")]
    last: Option<usize>,
    /// Only this run: its name or the beginning of it, `last`, `last~1`; may be repeated.
    #[arg(long = "run", value_name = "RUN", conflicts_with = "last")]
    runs: Vec<String>,
    /// Print csv.
    #[arg(long, conflicts_with = "output")]
    csv: bool,
    /// Write a file: .csv, .json or .parquet.
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
}

/// One number.
#[derive(Debug, Serialize)]
struct Row {
    run: String,
    /// Seconds since 1970 when the run began.
    time: Option<f64>,
    manifest: String,
    stage: String,
    labels: IndexMap<String, String>,
    params: IndexMap<String, String>,
    metric: String,
    /// A switch is 1 or 0; null where the metric is text.
    value: Option<f64>,
    text: Option<String>,
}

/// Prints or writes them.
pub fn metrics(args: &MetricsArgs, common: &Common) -> Answer {
    let rows = rows(args, common)?;
    let Some(path) = &args.output else {
        return match args.csv {
            true => Raw::print(&csv(&rows)?),
            false => answer(common, &rows, || table(&rows)),
        };
    };
    let bytes = match path.extension().and_then(|extension| extension.to_str()) {
        Some("csv") => csv(&rows)?,
        Some("json") => serde_json::to_vec_pretty(&rows).map_err(|error| Failure::Failed(error.to_string()))?,
        Some("parquet") => parquet(&rows).map_err(|error| Failure::Failed(format!("cannot write Parquet: {error}")))?,
        _ => return Err(Failure::Wrong(format!("{}: end it in .csv, .json or .parquet", path.display()))),
    };
    write_whole(path, &bytes).map_err(|error| Failure::Failed(format!("cannot write {}: {error}", path.display())))?;
    let document = serde_json::json!({ "ok": true, "rows": rows.len(), "file": path });
    answer(common, &document, || format!("{} rows in {}\n", rows.len(), path.display()))
}

fn rows(args: &MetricsArgs, common: &Common) -> Result<Vec<Row>, Failure> {
    let store = common.existing_store()?;
    let all = history::runs(&store)?;
    let chosen = match (args.runs.as_slice(), args.last) {
        ([], None) => all,
        ([], Some(n)) => all[all.len().saturating_sub(n)..].to_vec(),
        (names, _) => names.iter().map(|name| history::find(&all, name).map_err(Failure::Wrong)).collect::<Result<_, _>>()?,
    };
    let selectors = |typed: &[String]| {
        typed.iter().map(|typed| Selector::parse(typed).map_err(Failure::Wrong)).collect::<Result<Vec<_>, _>>()
    };
    let (stages, metrics) = (selectors(&args.stages)?, selectors(&args.metrics)?);
    let wanted = |selectors: &[Selector], name: &str| {
        let name = Name::parse(name);
        selectors.is_empty() || selectors.iter().any(|selector| selector.matches(&name))
    };
    let params: Vec<_> = chosen.iter().map(history::Run::params).collect();
    let names: BTreeSet<&String> = params.iter().flat_map(|params| params.keys()).collect();
    // A parameter that is the same everywhere tells nothing apart.
    let differs = |name: &&String| params.iter().any(|own| own.get(*name) != params[0].get(*name));
    let differing: Vec<&String> = names.into_iter().filter(differs).collect();
    let mut rows = Vec::new();
    for (run, params) in chosen.iter().zip(&params) {
        let about = run.about();
        let own: IndexMap<String, String> =
            differing.iter().filter_map(|name| Some(((*name).clone(), params.get(*name)?.clone()))).collect();
        for seen in run.stages().into_iter().filter(|seen| wanted(&stages, &seen.stage)) {
            // What has parts, such as the ranking of a search, is for `show`.
            let plain = seen.metrics.iter().filter(|(_, value)| !(value.is_array() || value.is_object()));
            for (metric, value) in plain.filter(|(metric, _)| wanted(&metrics, metric)) {
                rows.push(Row {
                    run: run.id.clone(),
                    time: about.as_ref().map(|about| about.started),
                    manifest: about.as_ref().map_or_else(String::new, |about| about.manifest.name.clone()),
                    stage: seen.stage.clone(),
                    labels: Name::parse(&seen.stage)
                        .labels
                        .into_iter()
                        .map(|(axis, value)| (axis.to_owned(), value.to_owned()))
                        .collect(),
                    params: own.clone(),
                    metric: metric.clone(),
                    value: value.as_f64().or_else(|| value.as_bool().map(f64::from)),
                    text: match value {
                        Value::String(text) => Some(text.clone()),
                        _ => None,
                    },
                });
            }
        }
    }
    Ok(rows)
}

/// The columns and cells of a table, all of them text: axes as `label.AXIS`, parameters as `param.NAME`.
fn grid(rows: &[Row]) -> (Vec<String>, Vec<Vec<String>>) {
    let keys = |of: fn(&Row) -> &IndexMap<String, String>| {
        let mut keys: Vec<&String> = Vec::new();
        rows.iter().flat_map(|row| of(row).keys()).for_each(|key| {
            if !keys.contains(&key) {
                keys.push(key);
            }
        });
        keys
    };
    let (axes, params) = (keys(|row| &row.labels), keys(|row| &row.params));
    let head = ["run", "time", "manifest", "stage"].map(str::to_owned).into_iter();
    let head = head
        .chain(axes.iter().map(|axis| format!("label.{axis}")))
        .chain(params.iter().map(|param| format!("param.{param}")))
        .chain(["metric", "value", "text"].map(str::to_owned))
        .collect();
    let cells = rows.iter().map(|row| {
        let get = |map: &IndexMap<String, String>, key: &String| map.get(key).cloned().unwrap_or_default();
        let time = row.time.map_or(String::new(), |seconds| time::iso(seconds as u64));
        let start = [row.run.clone(), time, row.manifest.clone(), row.stage.clone()].into_iter();
        let value = row.value.map_or(String::new(), |value| value.to_string());
        start
            .chain(axes.iter().map(|axis| get(&row.labels, axis)))
            .chain(params.iter().map(|param| get(&row.params, param)))
            .chain([row.metric.clone(), value, row.text.clone().unwrap_or_default()])
            .collect()
    });
    (head, cells.collect())
}

fn table(rows: &[Row]) -> String {
    let (head, cells) = grid(rows);
    // The instance's name says its labels already, and the run's name its time; a column that says nothing is left out.
    let shown = |column: usize| {
        !head[column].starts_with("label.") && head[column] != "time" && cells.iter().any(|row| !row[column].is_empty())
    };
    let columns: Vec<usize> = (0..head.len()).filter(|column| shown(*column)).collect();
    let pick = |row: &Vec<String>| columns.iter().map(|column| row[*column].clone()).collect::<Vec<_>>();
    // For people, as many digits as the rest of talkflow shows them; the files have all.
    let rounded = cells.iter().zip(rows).map(|(cells, row)| {
        let short =
            row.value.and_then(serde_json::Number::from_f64).filter(|value| value.as_f64() != value.as_f64().map(f64::round));
        let mut cells = cells.clone();
        if let (Some(value), Some(place)) = (short, head.iter().position(|name| name == "value")) {
            cells[place] = super::number(&Value::Number(value));
        }
        pick(&cells)
    });
    super::columns(std::iter::once(pick(&head)).chain(rounded).collect())
}

fn csv(rows: &[Row]) -> Result<Vec<u8>, Failure> {
    let (head, cells) = grid(rows);
    let mut writer = csv::Writer::from_writer(Vec::new());
    let write = |writer: &mut csv::Writer<Vec<u8>>| -> csv::Result<()> {
        writer.write_record(&head)?;
        cells.iter().try_for_each(|row| writer.write_record(row))
    };
    write(&mut writer).map_err(|error| Failure::Failed(error.to_string()))?;
    writer.into_inner().map_err(|error| Failure::Failed(error.to_string()))
}

fn parquet(rows: &[Row]) -> parquet::errors::Result<Vec<u8>> {
    let (head, cells) = grid(rows);
    let column = |place: usize| -> ArrayRef {
        match head[place].as_str() {
            "time" => {
                let times = rows.iter().map(|row| row.time.map(|seconds| (seconds * 1000.0) as i64));
                Arc::new(times.collect::<TimestampMillisecondArray>().with_timezone("UTC"))
            }
            "value" => Arc::new(rows.iter().map(|row| row.value).collect::<Float64Array>()),
            _ => {
                let cell = |row: &Vec<String>| Some(row[place].clone()).filter(|text| !text.is_empty());
                Arc::new(cells.iter().map(cell).collect::<StringArray>())
            }
        }
    };
    let columns = head.iter().enumerate().map(|(place, name)| (name, column(place), true));
    let batch = RecordBatch::try_from_iter_with_nullable(columns)?;
    let mut bytes = Vec::new();
    let mut writer = parquet::arrow::ArrowWriter::try_new(&mut bytes, batch.schema(), None)?;
    writer.write(&batch)?;
    writer.close()?;
    Ok(bytes)
}
