//! `talkflow export`: a result as a folder that needs no talkflow: of a model safetensors, its configuration, its ids and a model
//! card; of a split also a csv.

use std::{
    fs,
    path::{Path, PathBuf},
};

use clap::Args;
use talkflow_datasets::split::{Split, SplitFiles};

use super::{Answer, Common, Failure, answer, show::latest_of};
use crate::{
    artifact::ArtifactKind,
    stages::{
        files::{self, ModelConfig},
        made_by,
    },
    store::{Put, Record, Store},
};

/// Its arguments.
#[derive(Debug, Args)]
pub struct ExportArgs {
    /// The stage instance: `split`, `student[genre=Western,method=talk]`, or any selector that means one.
    stage: String,
    /// The folder to write, empty or new.
    #[arg(short = 'o', long = "output", value_name = "DIR")]
    output: PathBuf,
}

/// Writes the folder.
pub fn export(args: &ExportArgs, common: &Common) -> Answer {
    let store = common.existing_store()?;
    let record = latest_of(&store, &args.stage)?;
    let made = made_by(&record.kind);
    empty_folder(&args.output)?;
    // Which rows a model learnt from is for talkflow's own checks.
    let own = |name: &str| made == Some(ArtifactKind::Model) && name == files::TRAIN_ROWS;
    for (name, entry) in record.files.0.iter().filter(|(name, _)| !own(name)) {
        let to = args.output.join(name);
        store.proven(name, entry)?;
        // A name may be a path within the result.
        to.parent()
            .map_or(Ok(()), fs::create_dir_all)
            .map_err(|e| Failure::Failed(format!("cannot write {}: {e}", to.display())))?;
        store.put(&entry.digest, &to, Put::Own).map_err(|error| Failure::Failed(error.to_string()))?;
    }
    if made == Some(ArtifactKind::Model) {
        let config: ModelConfig = files::json(&args.output.join(files::CONFIG))?;
        let card = args.output.join("README.md");
        fs::write(&card, model_card(&record, &config))
            .map_err(|e| Failure::Failed(format!("cannot write {}: {e}", card.display())))?;
    }
    if made == Some(ArtifactKind::Split) {
        let split = Split::open(&SplitFiles::in_folder(&args.output));
        let written = split.and_then(|split| split.export_csv(&args.output.join("split.csv")));
        written.map_err(|error| Failure::Failed(error.to_string()))?;
    }
    answer(common, &serde_json::json!({ "ok": true, "folder": args.output, "key": record.key }), || {
        format!("{} written to {}\n", record.instance, args.output.display())
    })
}

/// The record of a stage that made a model.
pub fn model_record(store: &Store, stage: &str) -> Result<Record, Failure> {
    let record = latest_of(store, stage)?;
    match made_by(&record.kind) {
        Some(ArtifactKind::Model) => Ok(record),
        _ => Err(Failure::Wrong(format!("`{}` is no model: its kind is `{}`", record.instance, record.kind))),
    }
}

/// Makes a folder that may be written into: a new one, or one with nothing in it.
pub fn empty_folder(folder: &Path) -> Answer {
    let failed = |error: std::io::Error| Failure::Failed(format!("cannot use {}: {error}", folder.display()));
    fs::create_dir_all(folder).map_err(failed)?;
    match fs::read_dir(folder).map_err(failed)?.next() {
        None => Ok(()),
        Some(_) => Err(Failure::Wrong(format!("{} is not empty: name another folder, nothing is overwritten", folder.display()))),
    }
}

fn model_card(record: &Record, config: &ModelConfig) -> String {
    let mut card = format!(
        "# {}\n\nA rating model trained by talkflow {} with the method `{}` on {} ({} rows).\n\n",
        record.instance, record.provenance.talkflow, config.method, config.data, config.rows
    );
    card += "## Use\n\n";
    card += "`model.safetensors` holds the weights under the names of `config.json`'s `model`; `users.parquet` and `items.parquet` say which\n";
    card += "id has which row of the embedding tables. Predictions are the mean, plus user and item bias, plus the deep path, clipped to the\n";
    card += "rating scale; a user or item unseen in training leaves the deep path and its own bias out.\n\n";
    card += "## Figures\n\n| what | value |\n|---|---|\n";
    card +=
        &format!("| validation {} | {:.4} |\n| best epoch | {} |\n", config.measure.name(), config.validation, config.best_epoch);
    card += &format!(
        "| parameters, serving | {} |\n| parameters, training only | {} |\n",
        config.serving_parameters, config.training_parameters
    );
    card += &format!(
        "\nTest figures are not part of a model: they are in the table of the run.\n\n## Settings\n\nKey `{}`.\n\n",
        record.key
    );
    card += "| part of the key | value |\n|---|---|\n";
    for (label, value) in record.fingerprint.lines() {
        card += &format!("| {label} | `{value}` |\n");
    }
    card
}
