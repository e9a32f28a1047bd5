//! `talkflow track`: a run or a sweep for the trackers that people already have.

use std::path::PathBuf;

use clap::Args;
use serde_json::json;

use super::{Answer, Common, Failure, answer, report::Which, store::count};
use crate::report::track::{TrackError, Tracked, mlflow, tensorboard};

/// Its arguments.
#[derive(Debug, Args)]
pub struct TrackArgs {
    #[command(flatten)]
    which: Which,
    /// Send it to an MLflow tracking server, such as `http://127.0.0.1:5000` [default: what `MLFLOW_TRACKING_URI` says].
    #[arg(long, value_name = "URL", num_args = 0..=1, default_missing_value = "")]
    mlflow: Option<String>,
    /// Which experiment of MLflow's [default: the manifest's name].
    #[arg(long, value_name = "NAME", requires = "mlflow")]
    experiment: Option<String>,
    /// Send numbers and parameters, and no files.
    #[arg(long, requires = "mlflow")]
    no_artifacts: bool,
    /// Write event files of TensorBoard below this folder.
    #[arg(long, value_name = "DIR", required_unless_present = "mlflow")]
    tensorboard: Option<PathBuf>,
}

/// Exports.
pub fn track(args: &TrackArgs, common: &Common) -> Answer {
    let store = common.existing_store()?;
    let run = args.which.one(&store, common)?;
    if run.goes_on() {
        return Err(Failure::Wrong(format!("run {} goes on: export it when it has ended", run.id)));
    }
    let tracked = Tracked::of(&store, &run)?;
    let parts = tracked.parts.len();
    let mut said = String::new();
    let mut document = json!({ "ok": true, "run": run.id, "parts": parts });
    if let Some(folder) = &args.tensorboard {
        let files = tensorboard::export(&tracked, folder)?;
        document["tensorboard"] = json!({ "folder": folder, "files": files });
        said += &format!("run {}: {} in {}\n", run.id, count(files, "event file"), folder.join(&run.id).display());
    }
    if let Some(typed) = &args.mlflow {
        let variable = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
        let address = Some(typed.clone()).filter(|typed| !typed.is_empty()).or_else(|| variable("MLFLOW_TRACKING_URI"));
        let help = "name an MLflow server: `--mlflow http://127.0.0.1:5000`, or set MLFLOW_TRACKING_URI to its address";
        let address = address.filter(|address| address.starts_with("http")).ok_or_else(|| Failure::Wrong(help.to_owned()))?;
        if common.offline {
            return Err(Failure::Wrong("--offline: nothing is sent to an MLflow server".to_owned()));
        }
        let experiment = args.experiment.as_ref().unwrap_or(&tracked.manifest);
        let server = mlflow::Server::new(&address, variable);
        let done = server.export(&tracked, experiment, &store, !args.no_artifacts)?;
        document["mlflow"] = json!({ "experiment": done.experiment, "run": done.run, "made": done.made, "kept": done.kept });
        said += &format!(
            "run {}: experiment `{experiment}`, MLflow run {}, {} made, {} there already\n",
            run.id,
            done.run,
            count(done.made, "MLflow run"),
            done.kept
        );
    }
    answer(common, &document, || said)
}

impl From<TrackError> for Failure {
    fn from(error: TrackError) -> Self {
        match error {
            TrackError::Store(error) => Self::Store(error),
            TrackError::Run(error) => error.into(),
            other => Self::Failed(other.to_string()),
        }
    }
}
