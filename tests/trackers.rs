//! Runs in other people's trackers: sent to a real MLflow server on this machine, and read back by MLflow's client; written as event
//! files, and read back by TensorBoard's own reader. A target of its own: it fails, not skips, without Python with mlflow and tensorboard
//! in PATH.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on may panic")]

use std::{
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    os::unix::process::CommandExt,
    process::{Child, Command, Stdio},
    thread::sleep,
    time::{Duration, Instant},
};

use serde_json::Value;

#[expect(dead_code, reason = "not all that other tests need")]
#[path = "space.rs"]
mod space;

use space::{Ran, Space, small};

/// Ends the server, and what it has started.
struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        let _ = Command::new("kill").args(["-TERM", "--", &format!("-{}", self.0.id())]).status();
        let _ = self.0.wait();
    }
}

fn python(space: &Space, script: &str, args: &[&str]) -> Value {
    let output = Command::new("python3").arg("-c").arg(script).args(args).current_dir(space.root()).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

fn needs(module: &str) {
    let there = Command::new("python3").args(["-c", &format!("import {module}")]).output();
    assert!(there.is_ok_and(|there| there.status.success()), "put a python3 with {module} into PATH");
}

/// A space with a run of a small pipeline and a sweep of it.
fn made() -> Space {
    let space = Space::with(&small(r#"bias_only: bias_only, scratch: scratch, talk: { talk: "${talk}" }"#));
    space.run(&["run", "m.yaml", "--offline"]).ok();
    space
}

fn mlflow(space: &Space) -> (Server, String) {
    needs("mlflow");
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let log = std::fs::File::create(space.path("server.log")).unwrap();
    let mut server = Command::new("mlflow");
    server.args(["server", "--host", "127.0.0.1", "--workers", "1", "--port", &port.to_string()]);
    server.args(["--backend-store-uri", "sqlite:///mlflow.db", "--artifacts-destination", "artifacts"]);
    server.current_dir(space.root()).stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log).process_group(0);
    let server = Server(server.spawn().unwrap());
    let until = Instant::now() + Duration::from_secs(300);
    while !healthy(port) {
        assert!(Instant::now() < until, "{}", space.read("server.log"));
        sleep(Duration::from_millis(300));
    }
    (server, format!("http://127.0.0.1:{port}"))
}

fn healthy(port: u16) -> bool {
    let Ok(mut stream) = TcpStream::connect(("127.0.0.1", port)) else { return false };
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    let asked =
        stream.write_all(format!("GET /health HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nConnection: close\r\n\r\n").as_bytes());
    let mut answer = String::new();
    asked.is_ok() && stream.read_to_string(&mut answer).is_ok() && answer.starts_with("HTTP/1.1 200")
}

fn track(space: &Space, args: &[&str]) -> Ran {
    let all: Vec<&str> = ["track", "m.yaml"].iter().chain(args).copied().collect();
    space.run(&all)
}

const READ_MLFLOW: &str = r#"
import json, sys, mlflow
client = mlflow.MlflowClient(sys.argv[1])
experiment = client.get_experiment_by_name(sys.argv[2])
runs = client.search_runs([experiment.experiment_id], max_results=1000)
def one(run):
    id = run.info.run_id
    history = {key: [[m.step, m.value] for m in client.get_metric_history(id, key)] for key in run.data.metrics}
    files, left = {}, [""]
    while left:
        for file in client.list_artifacts(id, left.pop() or None):
            if file.is_dir: left.append(file.path)
            else: files[file.path] = file.file_size
    return {"id": id, "name": run.info.run_name, "status": run.info.status, "tags": run.data.tags, "params": run.data.params,
            "metrics": history, "files": files}
print(json.dumps([one(run) for run in runs]))
"#;

#[test]
fn a_run_is_in_mlflow_as_its_users_expect() {
    let space = made();
    let (_server, address) = mlflow(&space);
    let document = track(&space, &["--mlflow", &address, "--format", "json"]).ok().json();
    let trainings = 7;
    assert_eq!((&document["mlflow"]["made"], &document["mlflow"]["kept"]), (&(trainings + 1).into(), &0.into()));
    let runs = python(&space, READ_MLFLOW, &[&address, "small"]);
    let runs = runs.as_array().unwrap();
    assert_eq!(runs.len(), trainings + 1);
    let named = |name: &str| runs.iter().find(|run| run["tags"]["talkflow.stage"] == name).unwrap();
    let root = runs.iter().find(|run| run["tags"].get("talkflow.stage").is_none()).unwrap();
    let student = named("student[genre=Drama,method=talk]");
    assert_eq!(student["tags"]["mlflow.parentRunId"], root["id"]);
    assert_eq!((&root["status"], &student["status"]), (&"FINISHED".into(), &"FINISHED".into()));
    assert_eq!(root["params"]["epochs"], "3");
    assert_eq!(student["params"]["method.talk.message_dim"], "4");
    assert_eq!(student["params"]["genre"], "Drama");
    // The curves, an epoch a step, are those of the file that came with them; so is the last number.
    let curve = student["metrics"]["validation/rmse"].as_array().unwrap();
    let steps: Vec<i64> = curve.iter().map(|point| point[0].as_i64().unwrap()).collect();
    assert_eq!(steps, [1, 2, 3]);
    assert!(student["metrics"]["train/loss"].as_array().unwrap().len() == 3);
    let scores = space.run(&["run", "m.yaml", "--offline", "--format", "json"]).ok().json();
    let entries = scores["metrics"]["scores"]["entries"].as_array().unwrap();
    let entry = entries.iter().find(|entry| entry["instance"] == "student[genre=Drama,method=talk]").unwrap();
    assert_eq!(student["metrics"]["test_rmse"][0][1], entry["measures"]["rmse"]);
    for file in ["model.safetensors", "config.json", "curves.parquet", "users.parquet"] {
        assert!(student["files"][file].as_u64().unwrap() > 0, "{file}");
    }
    assert!(root["files"]["resolved.json"].as_u64().unwrap() > 0 && root["files"]["scores/scores.json"].as_u64().unwrap() > 0);
    assert!(root["metrics"]["scores/test_rmse/Drama/talk"].is_array());
    // Once more: nothing is there twice.
    let again =
        track(&space, &["--mlflow", &address, "--run", document["run"].as_str().unwrap(), "--format", "json"]).ok().json();
    assert_eq!((&again["mlflow"]["made"], &again["mlflow"]["kept"]), (&0.into(), &(trainings + 1).into()));
    // What was cut off is made anew.
    let half = "import sys, mlflow; mlflow.MlflowClient(sys.argv[1]).delete_tag(sys.argv[2], 'talkflow.exported'); print('{}')";
    python(&space, half, &[&address, student["id"].as_str().unwrap()]);
    let mended =
        track(&space, &["--mlflow", &address, "--run", document["run"].as_str().unwrap(), "--format", "json"]).ok().json();
    assert_eq!((&mended["mlflow"]["made"], &mended["mlflow"]["kept"]), (&1.into(), &trainings.into()));
    // A sweep goes the same way, with its table.
    space.run(&["sweep", "m.yaml", "--offline", "--set", "seed=1,2"]).ok();
    track(&space, &["--mlflow", &address, "--experiment", "of a sweep"]).ok().says("15 MLflow runs made");
    let swept = python(&space, READ_MLFLOW, &[&address, "of a sweep"]);
    let root = swept.as_array().unwrap().iter().find(|run| run["tags"].get("talkflow.stage").is_none()).unwrap().clone();
    assert!(root["files"]["results.parquet"].as_u64().unwrap() > 0);
}

#[test]
fn a_server_that_is_not_there_or_is_another_is_told() {
    let space = made();
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    track(&space, &["--mlflow", &format!("http://127.0.0.1:{port}")]).code(1).says("cannot ask http://127.0.0.1");
    track(&space, &["--mlflow"]).code(2).says("MLFLOW_TRACKING_URI");
    track(&space, &[]).code(2).says("--tensorboard");
    track(&space, &["--mlflow", "http://127.0.0.1:1", "--offline"]).code(2).says("nothing is sent");
}

const READ_TENSORBOARD: &str = r#"
import json, os, sys
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.hparams import metadata
found = {}
for name in sorted(os.listdir(sys.argv[1])):
    events = EventAccumulator(os.path.join(sys.argv[1], name), size_guidance={"scalars": 0})
    events.Reload()
    scalars = {tag: [[e.step, e.value] for e in events.Scalars(tag)] for tag in events.Tags()["scalars"]}
    plugin = events.PluginTagToContent("hparams")
    start = metadata.parse_session_start_info_plugin_data(plugin["_hparams_/session_start_info"])
    end = metadata.parse_session_end_info_plugin_data(plugin["_hparams_/session_end_info"])
    value = lambda v: getattr(v, v.WhichOneof("kind"))
    found[name] = {"scalars": scalars, "hparams": {k: value(v) for k, v in start.hparams.items()}, "status": end.status}
print(json.dumps(found))
"#;

#[test]
fn a_run_is_in_tensorboard_as_its_users_expect() {
    needs("tensorboard");
    let space = made();
    let document = track(&space, &["--tensorboard", "tb", "--format", "json"]).ok().json();
    let folder = format!("tb/{}", document["run"].as_str().unwrap());
    let found = python(&space, READ_TENSORBOARD, &[&folder]);
    assert_eq!(found.as_object().unwrap().len(), 7);
    let student = &found["student[genre=Drama,method=talk]"];
    let curve = student["scalars"]["validation/rmse"].as_array().unwrap();
    assert_eq!(curve.iter().map(|point| point[0].as_i64().unwrap()).collect::<Vec<_>>(), [1, 2, 3]);
    let scores = space.run(&["run", "m.yaml", "--offline", "--format", "json"]).ok().json();
    let entries = scores["metrics"]["scores"]["entries"].as_array().unwrap();
    let entry = entries.iter().find(|entry| entry["instance"] == "student[genre=Drama,method=talk]").unwrap();
    let (seen, known) = (student["scalars"]["test_rmse"][0][1].as_f64().unwrap(), entry["measures"]["rmse"].as_f64().unwrap());
    assert!((seen - known).abs() < 1e-6, "{seen} {known}");
    assert_eq!((&student["hparams"]["method.talk.message_dim"], &student["hparams"]["genre"]), (&4.0.into(), &"Drama".into()));
    assert_eq!(student["status"], 1);
    // The same bytes again, and no file more.
    let bytes = |space: &Space| {
        let folders = std::fs::read_dir(space.path(&folder)).unwrap().flatten();
        let files = folders.flat_map(|folder| std::fs::read_dir(folder.path()).unwrap().flatten());
        let mut all: Vec<_> = files.map(|file| (file.path(), std::fs::read(file.path()).unwrap())).collect();
        all.sort();
        all
    };
    let before = bytes(&space);
    track(&space, &["--tensorboard", "tb", "--run", document["run"].as_str().unwrap()]).ok();
    assert_eq!(bytes(&space), before);
}
