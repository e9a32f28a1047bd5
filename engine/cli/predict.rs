//! `talkflow predict`: a model's ratings for a csv of users and items, by their own ids.

use std::{
    collections::HashMap,
    fs,
    path::{Path, PathBuf},
};

use anyhow::Context;
use arrow::array::{Array, StringArray};
use clap::Args;
use talkflow_datasets::ratings::{ITEMS, USERS};
use talkflow_distill::RatingModel;

use super::{Answer, Common, Failure, Format, Raw, answer, export::model_record, say};
use crate::{
    stages::files::{self, ModelConfig},
    store::{Record, Store},
};

/// Its arguments.
#[derive(Debug, Args)]
pub struct PredictArgs {
    /// The model's stage instance: `student[genre=Western,method=talk]`, or any selector that means one.
    stage: String,
    /// A csv with the columns `user` and `item`.
    #[arg(long, value_name = "FILE")]
    input: PathBuf,
    /// Where to write the csv [default: standard output].
    #[arg(short = 'o', long = "output", value_name = "FILE")]
    output: Option<PathBuf>,
}

/// Predicts.
pub fn predict(args: &PredictArgs, common: &Common) -> Answer {
    let store = common.existing_store()?;
    let record = model_record(&store, &args.stage)?;
    let (users, items) = read_pairs(&args.input)?;
    let model = open(&store, &record)?;
    let index =
        |ids: &HashMap<String, u32>, names: &[String]| names.iter().map(|name| ids.get(name).copied()).collect::<Vec<_>>();
    let (user, item) = (index(&ids(&store, &record, USERS)?, &users), index(&ids(&store, &record, ITEMS)?, &items));
    let predicted = model.predict(&user, &item).map_err(anyhow::Error::from)?;
    let unknown = |of: &[Option<u32>]| of.iter().filter(|id| id.is_none()).count();
    let note = format!(
        "{} of {n} rows name a user and {} an item that the data set has not; {} predictions fall back to bias terms, {} were clipped\n",
        unknown(&user),
        unknown(&item),
        predicted.fallbacks(),
        predicted.clipped,
        n = users.len()
    );
    if common.format == Format::Json {
        let rows = users.iter().zip(&items).zip(&predicted.ratings);
        let rows: Vec<_> =
            rows.map(|((user, item), rating)| serde_json::json!({ "user": user, "item": item, "prediction": rating })).collect();
        if let Some(path) = &args.output {
            files::write_json(path, &rows)?;
        }
        let document = serde_json::json!({
            "ok": true, "rows": users.len(), "unknown_users": unknown(&user), "unknown_items": unknown(&item),
            "fallbacks": predicted.fallbacks(), "clipped": predicted.clipped, "file": args.output,
            "predictions": if args.output.is_none() { Some(rows) } else { None },
        });
        return answer(common, &document, String::new);
    }
    let csv = csv_of(&users, &items, &predicted.ratings)?;
    say(&note);
    match &args.output {
        None => Raw::print(csv.as_bytes()),
        Some(path) => fs::write(path, csv).map_err(|error| Failure::Failed(format!("cannot write {}: {error}", path.display()))),
    }
}

fn open(store: &Store, record: &Record) -> Result<RatingModel, Failure> {
    let (config, weights) = (blob(store, record, files::CONFIG)?, blob(store, record, files::WEIGHTS)?);
    let load = || -> anyhow::Result<RatingModel> {
        let config: ModelConfig = files::json(&config)?;
        Ok(RatingModel::load(&fs::read(weights)?, &config.model)?)
    };
    Ok(load()?)
}

fn blob(store: &Store, record: &Record, name: &str) -> Result<PathBuf, Failure> {
    let entry = record.files.0.get(name).with_context(|| format!("the model has no `{name}`"))?;
    Ok(store.proven(name, entry)?)
}

/// Rows of a table by id.
fn ids(store: &Store, record: &Record, table: &str) -> Result<HashMap<String, u32>, Failure> {
    let path = blob(store, record, table)?;
    Ok(read_ids(&path, table)?)
}

fn read_ids(path: &Path, table: &str) -> anyhow::Result<HashMap<String, u32>> {
    let batch = files::read_parquet(path)?;
    let column = batch.column_by_name("id").and_then(|column| column.as_any().downcast_ref::<StringArray>());
    let column = column.with_context(|| format!("{table} has no column `id`"))?;
    (0..column.len()).map(|row| Ok((column.value(row).to_owned(), u32::try_from(row)?))).collect()
}

fn read_pairs(path: &Path) -> Result<(Vec<String>, Vec<String>), Failure> {
    let wrong = |error: csv::Error| Failure::Failed(format!("cannot read {}: {error}", path.display()));
    let mut reader = csv::ReaderBuilder::new().trim(csv::Trim::All).from_path(path).map_err(wrong)?;
    let headers = reader.headers().map_err(wrong)?.clone();
    let column = |name: &str| {
        headers.iter().position(|header| header == name).ok_or_else(|| {
            let found: Vec<&str> = headers.iter().collect();
            Failure::Failed(format!("{} has no column `{name}`: its columns are {}", path.display(), found.join(", ")))
        })
    };
    let (user, item) = (column("user")?, column("item")?);
    let (mut users, mut items) = (Vec::new(), Vec::new());
    for row in reader.records() {
        let row = row.map_err(wrong)?;
        users.push(row.get(user).unwrap_or_default().to_owned());
        items.push(row.get(item).unwrap_or_default().to_owned());
    }
    Ok((users, items))
}

fn csv_of(users: &[String], items: &[String], ratings: &[f32]) -> anyhow::Result<String> {
    let mut writer = csv::Writer::from_writer(Vec::new());
    writer.write_record(["user", "item", "prediction"])?;
    for ((user, item), rating) in users.iter().zip(items).zip(ratings) {
        writer.write_record([user, item, &format!("{rating:.4}")])?;
    }
    Ok(String::from_utf8(writer.into_inner()?)?)
}
