//! Export to an MLflow tracking server over its REST interface: one MLflow run for the run, and below it one for each training, as
//! MLflow nests runs. Each carries the tags `talkflow.run`, `talkflow.stage` and `talkflow.key`, by which an export that was
//! cut off is found and made anew, and one that is complete is left as it is.

use std::{path::Path, time::Duration};

use base64::{Engine, prelude::BASE64_STANDARD};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::{Value, json};

use super::{Part, TrackError, Tracked, read};
use crate::{history::State, store::Store};

/// So many numbers, parameters and tags MLflow takes at once.
const MOST_NUMBERS: usize = 1000;
const MOST_PARAMS: usize = 100;
/// Nor longer values of parameters, on its default store.
const LONGEST: usize = 6000;
/// How long it may take to answer.
const PATIENCE: Duration = Duration::from_secs(60);
/// The tag of what is complete.
const COMPLETE: &str = "talkflow.exported";

/// A tracking server.
pub struct Server {
    agent: ureq::Agent,
    address: String,
    authorization: Option<String>,
}

/// Where an export is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exported {
    /// The MLflow run of the whole run.
    pub run: String,
    /// Its experiment.
    pub experiment: String,
    /// How many MLflow runs were made, and how many were there already.
    pub made: usize,
    /// See `made`.
    pub kept: usize,
}

impl Server {
    /// The server at an address such as `http://127.0.0.1:5000`. As for MLflow's own clients, `MLFLOW_TRACKING_TOKEN`, or
    /// `MLFLOW_TRACKING_USERNAME` and `MLFLOW_TRACKING_PASSWORD`, say who asks.
    pub fn new(address: &str, variable: impl Fn(&str) -> Option<String>) -> Self {
        let basic = || {
            let (user, password) = (variable("MLFLOW_TRACKING_USERNAME")?, variable("MLFLOW_TRACKING_PASSWORD")?);
            Some(format!("Basic {}", BASE64_STANDARD.encode(format!("{user}:{password}"))))
        };
        let authorization = variable("MLFLOW_TRACKING_TOKEN").map(|token| format!("Bearer {token}")).or_else(basic);
        let config = ureq::Agent::config_builder().http_status_as_error(false).timeout_global(Some(PATIENCE));
        Self { agent: config.build().into(), address: address.trim_end_matches('/').to_owned(), authorization }
    }

    /// Exports a run; with its files, unless they are not wanted.
    ///
    /// # Errors
    /// Where the server cannot be reached or refuses, with its own words.
    pub fn export(&self, tracked: &Tracked, experiment: &str, store: &Store, files: bool) -> Result<Exported, TrackError> {
        let experiment_id = self.experiment(experiment)?;
        let mut there = self.there(&experiment_id, &tracked.id)?;
        let (mut made, mut kept) = (0, 0);
        let mut root = None;
        for part in std::iter::once(None).chain(tracked.parts.iter().map(Some)) {
            let stage = part.map_or("", |part| part.name.as_str());
            let known: Vec<There> = there.extract_if(.., |known| known.stage == stage).collect();
            if let Some(whole) = known.iter().find(|known| known.complete && (part.is_none() || known.parent == root)) {
                kept += 1;
                root = root.or(Some(whole.id.clone()));
                continue;
            }
            for half in &known {
                self.post("runs/delete", &json!({ "run_id": half.id }))?;
            }
            let new = New::of(tracked, part, root.as_deref());
            let (id, uri) = self.create(&experiment_id, &new)?;
            self.log(&id, &new)?;
            if files {
                self.put_files(tracked, part, store, &uri)?;
            }
            self.post("runs/set-tag", &json!({ "run_id": id, "key": COMPLETE, "value": env!("CARGO_PKG_VERSION") }))?;
            self.post("runs/update", &json!({ "run_id": id, "status": new.status, "end_time": new.ended }))?;
            made += 1;
            root = root.or(Some(id));
        }
        Ok(Exported { run: root.unwrap_or_default(), experiment: experiment_id, made, kept })
    }

    /// The id of an experiment, which is made where there is none.
    fn experiment(&self, name: &str) -> Result<String, TrackError> {
        let path = format!("experiments/get-by-name?experiment_name={}", escaped(name));
        let (status, answer) = self.ask("GET", &self.api(&path), None)?;
        let id = match status {
            200 if answer["experiment"]["lifecycle_stage"] == "deleted" => {
                let what = format!("the experiment `{name}` of {} was deleted: restore it there, or name another", self.address);
                return Err(TrackError::Tracker(what));
            }
            200 => answer["experiment"]["experiment_id"].clone(),
            _ if answer["error_code"] == "RESOURCE_DOES_NOT_EXIST" => {
                self.post("experiments/create", &json!({ "name": name }))?["experiment_id"].clone()
            }
            _ => return Err(self.refused(status, &answer)),
        };
        text(&id).ok_or_else(|| self.strange("an experiment without an id"))
    }

    /// What of a run is there already.
    fn there(&self, experiment: &str, run: &str) -> Result<Vec<There>, TrackError> {
        let mut there = Vec::new();
        let mut page: Option<String> = None;
        loop {
            let mut question = json!({
                "experiment_ids": [experiment],
                "filter": format!("tags.`talkflow.run` = '{run}'"),
                "max_results": 1000,
            });
            if let Some(page) = &page {
                question["page_token"] = page.as_str().into();
            }
            let answer = self.post("runs/search", &question)?;
            for run in answer["runs"].as_array().into_iter().flatten() {
                let tags = run["data"]["tags"].as_array();
                let tag =
                    |key: &str| tags.into_iter().flatten().find(|tag| tag["key"] == key).and_then(|tag| text(&tag["value"]));
                let id = text(&run["info"]["run_id"]).ok_or_else(|| self.strange("a run without an id"))?;
                there.push(There {
                    id,
                    stage: tag("talkflow.stage").unwrap_or_default(),
                    parent: tag("mlflow.parentRunId"),
                    complete: tag(COMPLETE).is_some(),
                });
            }
            page = text(&answer["next_page_token"]).filter(|token| !token.is_empty());
            if page.is_none() {
                return Ok(there);
            }
        }
    }

    /// A new MLflow run: its id, and where its files go.
    fn create(&self, experiment: &str, new: &New) -> Result<(String, String), TrackError> {
        let tags: Vec<Value> = new.tags.iter().map(|(key, value)| json!({ "key": key, "value": value })).collect();
        let question = json!({ "experiment_id": experiment, "run_name": new.name, "start_time": new.began, "tags": tags });
        let answer = self.post("runs/create", &question)?;
        let info = &answer["run"]["info"];
        let id = text(&info["run_id"]).ok_or_else(|| self.strange("a run without an id"))?;
        Ok((id, text(&info["artifact_uri"]).unwrap_or_default()))
    }

    fn log(&self, id: &str, new: &New) -> Result<(), TrackError> {
        for params in new.params.chunks(MOST_PARAMS) {
            let params: Vec<Value> = params.iter().map(|(key, value)| json!({ "key": key, "value": value })).collect();
            self.post("runs/log-batch", &json!({ "run_id": id, "params": params }))?;
        }
        for numbers in new.numbers.chunks(MOST_NUMBERS) {
            self.post("runs/log-batch", &json!({ "run_id": id, "metrics": numbers }))?;
        }
        Ok(())
    }

    fn put_files(&self, tracked: &Tracked, part: Option<&Part>, store: &Store, uri: &str) -> Result<(), TrackError> {
        match part {
            None => tracked.files.iter().try_for_each(|(name, path)| self.put(uri, name, path)),
            Some(part) => part.files.iter().try_for_each(|(name, entry)| self.put(uri, name, &store.proven(name, entry)?)),
        }
    }

    /// Sends a file by way of the server, which keeps artifacts for its runs unless it is told not to.
    fn put(&self, uri: &str, name: &str, path: &Path) -> Result<(), TrackError> {
        let Some(folder) = uri.strip_prefix("mlflow-artifacts:") else {
            return Err(TrackError::Tracker(format!(
                "{} does not take files itself: it says that they go to `{uri}`. Start it with --serve-artifacts, or leave them out with \
                 --no-artifacts",
                self.address
            )));
        };
        // `mlflow-artifacts:/1/RUN/artifacts`, or with a host before the path.
        let folder = folder.strip_prefix("//").and_then(|rest| rest.split_once('/')).map_or(folder, |(_, path)| path);
        let path_there: Vec<String> =
            folder.split('/').chain(name.split('/')).filter(|part| !part.is_empty()).map(escaped).collect();
        let address = format!("{}/api/2.0/mlflow-artifacts/artifacts/{}", self.address, path_there.join("/"));
        let (status, answer) = self.ask("PUT", &address, Some(("application/octet-stream", read(path)?)))?;
        if status == 200 { Ok(()) } else { Err(self.refused(status, &answer)) }
    }

    fn api(&self, path: &str) -> String {
        format!("{}/api/2.0/mlflow/{path}", self.address)
    }

    fn post(&self, path: &str, question: &Value) -> Result<Value, TrackError> {
        let (status, answer) =
            self.ask("POST", &self.api(path), Some(("application/json", question.to_string().into_bytes())))?;
        if status == 200 { Ok(answer) } else { Err(self.refused(status, &answer)) }
    }

    fn ask(&self, method: &str, address: &str, body: Option<(&str, Vec<u8>)>) -> Result<(u16, Value), TrackError> {
        let failed = |error: &dyn std::fmt::Display| TrackError::Tracker(format!("cannot ask {}: {error}", self.address));
        let mut request = ureq::http::Request::builder().method(method).uri(address);
        if let Some(authorization) = &self.authorization {
            request = request.header("Authorization", authorization);
        }
        let (kind, bytes) = body.unwrap_or_default();
        if !kind.is_empty() {
            request = request.header("Content-Type", kind);
        }
        let request = request.body(bytes).map_err(|error| failed(&error))?;
        let mut response = self.agent.run(request).map_err(|error| failed(&error))?;
        let status = response.status().as_u16();
        let text = response.body_mut().read_to_string().map_err(|error| failed(&error))?;
        Ok((status, serde_json::from_str(&text).unwrap_or(Value::String(text))))
    }

    fn refused(&self, status: u16, answer: &Value) -> TrackError {
        let said = answer["message"].as_str().or(answer.as_str()).unwrap_or("nothing more");
        let said: String = said.lines().next().unwrap_or_default().chars().take(500).collect();
        TrackError::Tracker(format!("{} refused (HTTP {status}): {said}", self.address))
    }

    fn strange(&self, what: &str) -> TrackError {
        TrackError::Tracker(format!("{} answered with {what}: is it an MLflow server?", self.address))
    }
}

/// An MLflow run that is there.
struct There {
    id: String,
    stage: String,
    parent: Option<String>,
    complete: bool,
}

/// An MLflow run to make.
struct New {
    name: String,
    tags: Vec<(&'static str, String)>,
    params: Vec<(String, String)>,
    numbers: Vec<Value>,
    /// Milliseconds since 1970.
    began: i64,
    ended: i64,
    status: &'static str,
}

impl New {
    fn of(tracked: &Tracked, part: Option<&Part>, parent: Option<&str>) -> Self {
        let about = &tracked.about;
        let mut tags = vec![
            ("talkflow.run", tracked.id.clone()),
            ("talkflow.version", about.talkflow.clone()),
            ("mlflow.source.name", about.manifest.path.display().to_string()),
            ("mlflow.source.type", "PROJECT".to_owned()),
        ];
        tags.extend(about.git.iter().map(|git| ("mlflow.source.git.commit", git.revision.clone())));
        tags.extend(parent.map(|parent| ("mlflow.parentRunId", parent.to_owned())));
        let millis = |seconds: f64| (seconds * 1000.0) as i64;
        let Some(part) = part else {
            let (began, ended) = (millis(about.started), millis(about.ended.unwrap_or(about.started)));
            return Self {
                name: format!("{} {}", tracked.manifest, tracked.id),
                tags,
                params: cut(&tracked.params),
                numbers: tracked.numbers.iter().filter_map(|(name, value)| number(name, *value, ended, 0)).collect(),
                began,
                ended,
                status: match tracked.outcome {
                    "done" => "FINISHED",
                    "running" => "RUNNING",
                    "stopped" | "killed" => "KILLED",
                    _ => "FAILED",
                },
            };
        };
        tags.push(("talkflow.stage", part.name.clone()));
        tags.push(("talkflow.kind", part.kind.clone()));
        tags.extend(part.key.iter().map(|key| ("talkflow.key", key.clone())));
        let (began, ended) = (millis(part.began), millis(part.began + part.seconds));
        let last = part.curves.iter().flat_map(|(_, points)| points.iter().map(|(epoch, _)| *epoch)).max().unwrap_or(0);
        // Epochs as if each had taken as long: when each ended is not kept.
        let time = |step: i64| if last > 0 { began + (ended - began) * step / last } else { ended };
        let curves = part.curves.iter().flat_map(|(name, points)| points.iter().map(move |(step, value)| (name, *step, *value)));
        let of_curves = curves.filter_map(|(name, step, value)| number(name, value, time(step), step));
        let finals = part.numbers.iter().filter_map(|(name, value)| number(name, *value, ended, last));
        Self {
            name: part.name.clone(),
            tags,
            params: cut(&part.params),
            numbers: of_curves.chain(finals).collect(),
            began,
            ended,
            status: match part.state {
                State::Ran | State::Cached => "FINISHED",
                State::Running | State::Pending | State::Waiting => "RUNNING",
                State::Stopped | State::Skipped => "KILLED",
                State::Failed => "FAILED",
            },
        }
    }
}

/// A number as MLflow takes it; nothing where it is none.
fn number(name: &str, value: f64, timestamp: i64, step: i64) -> Option<Value> {
    value.is_finite().then(|| json!({ "key": key(name), "value": value, "timestamp": timestamp, "step": step }))
}

/// Parameters as MLflow takes them: each name once, values no longer than it allows.
fn cut(params: &[(String, String)]) -> Vec<(String, String)> {
    let mut cut: Vec<(String, String)> = Vec::new();
    for (name, value) in params {
        let name = key(name);
        if !cut.iter().any(|(known, _)| *known == name) {
            cut.push((name, value.chars().take(LONGEST).collect()));
        }
    }
    cut
}

/// A name of the characters that MLflow allows: letters, digits, `_`, `-`, `.`, `/` and spaces.
fn key(name: &str) -> String {
    let name: String = name.chars().map(|c| if c.is_ascii_alphanumeric() || "_-./ ".contains(c) { c } else { '_' }).collect();
    name.chars().take(250).collect()
}

/// A part of an address.
fn escaped(text: &str) -> String {
    utf8_percent_encode(text, NON_ALPHANUMERIC).to_string()
}

fn text(value: &Value) -> Option<String> {
    value.as_str().map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_that_mlflow_allows() {
        assert_eq!(key("student[genre=Sci-Fi]"), "student_genre_Sci-Fi_");
        assert_eq!(key("validation/rmse"), "validation/rmse");
        assert_eq!(escaped("a b/[é]"), "a%20b%2F%5B%C3%A9%5D");
        let twice = [("a=".to_owned(), "1".to_owned()), ("a_".to_owned(), "x".repeat(7000))];
        assert_eq!(cut(&twice), [("a_".to_owned(), "1".to_owned())]);
        assert_eq!(cut(&twice[1..])[0].1.len(), LONGEST);
        assert!(number("loss", f64::NAN, 0, 0).is_none());
    }
}
