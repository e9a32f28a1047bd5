//! The command line: arguments become a command, a command becomes an exit code. Each command has a file of its own under
//! `cli/`; what they share, and the one list of exit codes, is here.

use std::{
    ffi::OsString,
    io::{IsTerminal, Write},
    path::PathBuf,
    process::ExitCode,
};

use clap::{Args, CommandFactory, Parser, Subcommand, ValueEnum, builder::TypedValueParser};
use serde::Serialize;

use crate::{
    stage::{Device, Places},
    stages::command::guard,
    store::{Store, StoreError},
    visible::{self, visible},
};

mod check;
mod data;
mod diff;
mod export;
mod graph;
mod init;
mod limits;
mod load;
mod logs;
mod metrics;
mod plan;
mod predict;
mod report;
mod run;
mod schema;
mod serve;
mod show;
mod still;
mod store;
mod sweep;
mod track;
mod watch;
mod why;

/// Distil big models into small ones: a declarative, content-cached pipeline with interactive communication between teacher
/// and student.
#[derive(Debug, Parser)]
#[command(name = "talkflow", version, max_term_width = 120, propagate_version = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
    #[command(flatten)]
    common: Common,
}

/// What every command takes.
#[derive(Clone, Debug, Args)]
pub struct Common {
    /// Folder of the artifact store.
    #[arg(long, global = true, env = "TALKFLOW_STORE", default_value = ".talkflow", value_name = "DIR")]
    store: PathBuf,
    /// Folder of data sets you already have, as archives or unpacked.
    #[arg(long, global = true, env = "TALKFLOW_DATA", value_name = "DIR")]
    data: Option<PathBuf>,
    /// Folder of downloads [default: the user's cache folder].
    #[arg(long, global = true, env = "TALKFLOW_CACHE", value_name = "DIR")]
    cache: Option<PathBuf>,
    /// Never use the network.
    #[arg(long, global = true)]
    offline: bool,
    /// What to print on standard output; the last three are for `check`.
    #[arg(long = "format", global = true, value_enum, default_value_t)]
    written: Written,
    /// For whom that is.
    #[arg(skip)]
    format: Format,
}

/// What to print.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Written {
    /// For people.
    #[default]
    Human,
    /// One JSON document.
    Json,
    /// JUnit's XML, for CI systems.
    Junit,
    /// For a pull request.
    Markdown,
    /// Annotations of GitHub Actions.
    Github,
}

/// For whom to print. What only one command writes is its own concern, and for people to all others.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// For people.
    #[default]
    Human,
    /// One JSON document.
    Json,
}

/// A manifest and the parameters changed for this call.
#[derive(Clone, Debug, Args)]
pub struct ManifestArgs {
    /// The manifest.
    manifest: PathBuf,
    /// Change a parameter: `--set talk.rounds=2`; may be repeated.
    #[arg(long = "set", value_name = "PARAM=YAML")]
    sets: Vec<String>,
}

/// What decides which stages are looked at and how.
///
/// A STAGE is a name or a pattern: `student`, `student[genre=Western]`, `'sc*'`, `'*[seed=1|2,method!=talk]'`.
#[derive(Clone, Debug, Default, Args)]
pub struct Selection {
    /// Stages to bring up to date, with all they depend on [default: all]: `student`, `student[genre=Western]`, `'s*[seed=1|2]'`.
    #[arg(value_name = "STAGE")]
    stages: Vec<String>,
    /// Only this stage and what depends on it, with what these need; may be repeated.
    #[arg(long, value_name = "STAGE")]
    from: Vec<String>,
    /// Only this stage and what it depends on, nothing after it; may be repeated.
    #[arg(long, value_name = "STAGE")]
    until: Vec<String>,
    /// Run this stage although its result is there; may be repeated.
    #[arg(long, value_name = "STAGE")]
    force: Vec<String>,
    /// Where to train.
    #[arg(long, default_value = "cpu", value_parser = devices())]
    device: Device,
    /// Read every source file anew, even where its size and times have not changed.
    #[arg(long)]
    paranoid: bool,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Bring a manifest's stages up to date.
    Run(run::RunArgs),
    /// Run a manifest at many points, each with other parameters: what they have in common is done once.
    Sweep(sweep::SweepArgs),
    /// Bring a manifest up to date and compare its metrics with a committed baseline.
    Check(check::CheckArgs),
    /// Show what would run and why, without running it.
    Plan(plan::PlanArgs),
    /// Explain a stage: each part of its key that differs, old and new, and the first cause; now, or in a past run.
    Why(why::WhyArgs),
    /// Draw the graph of stages.
    Graph(graph::GraphArgs),
    /// Show past runs, a run, a stage's result, or a manifest's effective values.
    Show(show::ShowArgs),
    /// Print what a stage said while it worked.
    Logs(logs::LogsArgs),
    /// Print the metrics of runs as one tidy table, or write it as csv, JSON or Parquet.
    Metrics(metrics::MetricsArgs),
    /// Write a run or a sweep as one page, for a browser.
    Report(report::ReportArgs),
    /// Export a run or a sweep to MLflow, or as event files of TensorBoard.
    Track(track::TrackArgs),
    /// Show the last run as a page that is live while it goes on, for browsers on this machine.
    Serve(serve::ServeArgs),
    /// Compare two runs: parameters, keys, metrics, circumstances.
    Diff(diff::DiffArgs),
    /// Look into the artifact store.
    #[command(subcommand)]
    Store(store::StoreCommand),
    /// Look into data sets.
    #[command(subcommand)]
    Data(data::DataCommand),
    /// Write a result out of the store, to be used elsewhere: a model with its card, a split as csv.
    Export(export::ExportArgs),
    /// Predict ratings for a file of users and items with a model from the store.
    Predict(predict::PredictArgs),
    /// Write a first manifest.
    Init(init::InitArgs),
    /// Print the JSON Schema of manifests, for editors.
    Schema(schema::SchemaArgs),
    /// Print a completion script for a shell.
    Completions {
        /// For which shell.
        shell: clap_complete::Shell,
    },
}

/// Why a command did not do what it was asked. The one list of exit codes other than 0.
#[derive(Debug)]
pub enum Failure {
    /// 1: a stage failed, or a command could not do its work.
    Failed(String),
    /// 2: the manifest or the arguments are wrong.
    Wrong(String),
    /// 2: the manifest has mistakes, rendered already and printed as a document where one was wanted.
    Diagnosed(String),
    /// 3: the store cannot be used.
    Store(StoreError),
    /// 3: the store holds damage, listed already.
    Damaged,
    /// 4: a metric is worse than its baseline, or a gate could not tell; listed already.
    Regressed,
    /// 10: `plan --exit-code` found work.
    Work,
    /// 128 + n: a signal stopped it; nothing is half written.
    Signal(usize),
    /// 1, with everything said already.
    Told,
}

impl Failure {
    fn code(&self) -> u8 {
        match self {
            Self::Failed(_) | Self::Told => 1,
            Self::Wrong(_) | Self::Diagnosed(_) => 2,
            Self::Store(_) | Self::Damaged => 3,
            Self::Regressed => 4,
            Self::Work => 10,
            Self::Signal(signal) => 128u8.saturating_add(u8::try_from(*signal).unwrap_or(0)),
        }
    }

    /// Diagnostics come rendered, each with a beginning of its own; being stopped is no error.
    fn plain(&self) -> bool {
        matches!(self, Self::Signal(_) | Self::Diagnosed(_))
    }

    fn message(&self) -> Option<String> {
        match self {
            Self::Failed(message) | Self::Wrong(message) | Self::Diagnosed(message) => Some(message.clone()),
            Self::Store(error) => Some(error.to_string()),
            Self::Signal(_) => Some("stopped; nothing is half written, and the next run goes on from here".to_owned()),
            Self::Damaged | Self::Regressed | Self::Work | Self::Told => None,
        }
    }
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

impl From<anyhow::Error> for Failure {
    fn from(error: anyhow::Error) -> Self {
        Self::Failed(format!("{error:#}"))
    }
}

type Answer = Result<(), Failure>;

/// The word by which a run calls this binary to guard its programs; no command of the user's.
const GUARD: &str = "guard-programs";

/// Runs the command line `args`, the program's name first.
pub fn main(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    let args: Vec<OsString> = args.into_iter().collect();
    if let [_, word, folders] = &args[..]
        && word == GUARD
    {
        // Nobody is there to be told if that fails.
        return ExitCode::from(u8::from(guard::guard(folders.as_ref()).is_err()));
    }
    let mut cli = match Cli::try_parse_from(args) {
        Ok(cli) => cli,
        Err(error) => {
            // Help and version go to standard output with 0, mistakes to standard error with 2: clap knows which.
            let _ = error.print();
            return ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2));
        }
    };
    let json = cli.common.written == Written::Json;
    if json {
        cli.common.format = Format::Json;
    }
    match dispatch(cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            tell(&failure);
            if let (true, Some(message)) = (json && !failure.plain(), failure.message()) {
                let _ = print_json(&serde_json::json!({ "ok": false, "error": message }));
            }
            ExitCode::from(failure.code())
        }
    }
}

/// Says on standard error why a command did not do what it was asked.
fn tell(failure: &Failure) {
    if let Some(message) = failure.message() {
        let start = if failure.plain() { "" } else { "error: " };
        // Rendered diagnostics have colours of our own, and have been through this.
        let shown = if failure.plain() { message.as_str().into() } else { visible(&message) };
        let _ = writeln!(std::io::stderr(), "{start}{}", shown.trim_end());
    }
}

fn dispatch(cli: Cli) -> Answer {
    let common = &cli.common;
    if !matches!(cli.command, Command::Check(_)) && !matches!(common.written, Written::Human | Written::Json) {
        return Err(Failure::Wrong("of these formats, only `check` writes `junit`, `markdown` and `github`".to_owned()));
    }
    match cli.command {
        Command::Check(args) => check::check(&args, common),
        Command::Run(args) => run::run(&args, common),
        Command::Sweep(args) => sweep::sweep(&args, common),
        Command::Track(args) => track::track(&args, common),
        Command::Plan(args) => plan::plan(&args, common),
        Command::Why(args) => why::why(&args, common),
        Command::Graph(args) => graph::graph(&args, common),
        Command::Show(args) => show::show(&args, common),
        Command::Logs(args) => logs::logs(&args, common),
        Command::Metrics(args) => metrics::metrics(&args, common),
        Command::Report(args) => report::report(&args, common),
        Command::Serve(args) => serve::serve(&args, common),
        Command::Diff(args) => diff::diff(&args, common),
        Command::Store(command) => store::store(&command, common),
        Command::Data(command) => data::data(&command, common),
        Command::Export(args) => export::export(&args, common),
        Command::Predict(args) => predict::predict(&args, common),
        Command::Init(args) => init::init(&args, common),
        Command::Schema(args) => schema::schema(&args, common),
        Command::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "talkflow", &mut script);
            print(&String::from_utf8_lossy(&script))
        }
    }
}

impl Common {
    fn places(&self) -> Places {
        let cache = self.cache.clone().or_else(user_cache).unwrap_or_else(|| self.store.join("downloads"));
        Places { data: self.data.clone(), cache, offline: self.offline }
    }

    fn open_store(&self) -> Result<Store, Failure> {
        let store = Store::open(&self.store)?;
        let found = store.recovered();
        if found.read > 0 {
            let aside: String = found.damaged.iter().map(|path| format!("  set aside: {}\n", path.display())).collect();
            let note = format!(
                "note: the machine went down while this store was written to; {} files were read again, {} were not whole\n{aside}",
                found.read,
                found.damaged.len()
            );
            say(&note);
        }
        Ok(store)
    }

    /// The store, where there is one: for commands that only look.
    fn existing_store(&self) -> Result<Store, Failure> {
        match self.store.join("format").exists() {
            true => self.open_store(),
            false => Err(Failure::Wrong(format!(
                "there is no store in {}: `talkflow run` makes one, --store names another",
                self.store.display()
            ))),
        }
    }
}

/// The devices as `--device` takes them.
fn devices() -> impl TypedValueParser<Value = Device> {
    let words = clap::builder::PossibleValuesParser::new(Device::ALL.map(Device::word));
    words.map(|word| Device::ALL.into_iter().find(|device| device.word() == word).unwrap_or_default())
}

/// Where this user's programs keep what can be had again.
fn user_cache() -> Option<PathBuf> {
    let folder = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    folder("XDG_CACHE_HOME").or_else(|| folder("HOME").map(|home| home.join(".cache"))).map(|cache| cache.join("talkflow"))
}

/// Prints to standard output; a reader that has gone, such as `head`, is no failure.
fn print(text: &str) -> Answer {
    write_bytes(text.as_bytes())
}

/// Says something on standard error; that nobody is there to read it is no failure.
fn say(text: &str) {
    let _ = std::io::stderr().lock().write_all(visible(text).as_bytes());
}

/// Prints what others wrote, such as a log, in pieces: its very bytes for a file or a program, what a terminal does not obey for people.
struct Raw(Option<visible::Stream>);

impl Raw {
    fn new() -> Self {
        Self(std::io::stdout().is_terminal().then(visible::Stream::default))
    }

    fn write(&mut self, bytes: &[u8]) -> Answer {
        match &mut self.0 {
            Some(stream) => print(&stream.push(bytes)),
            None => write_bytes(bytes),
        }
    }

    fn end(&mut self) -> Answer {
        self.0.as_mut().map_or(Ok(()), |stream| print(&stream.end()))
    }

    /// All of it at once.
    fn print(bytes: &[u8]) -> Answer {
        let mut raw = Self::new();
        raw.write(bytes)?;
        raw.end()
    }
}

/// The same as `print` for what may be no text.
fn write_bytes(bytes: &[u8]) -> Answer {
    match std::io::stdout().lock().write_all(bytes) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
            Err(Failure::Failed(format!("cannot write to standard output: {error}")))
        }
        _ => Ok(()),
    }
}

fn print_json(document: &impl Serialize) -> Answer {
    match serde_json::to_string_pretty(document) {
        Ok(text) => print(&(text + "\n")),
        Err(error) => Err(Failure::Failed(format!("cannot make JSON of the answer: {error}"))),
    }
}

/// Prints `document` or, for people, `human`.
fn answer(common: &Common, document: &impl Serialize, human: impl FnOnce() -> String) -> Answer {
    match common.format {
        Format::Json => print_json(document),
        Format::Human => print_for_people(&human()),
    }
}

/// A number as people read it.
fn number(value: &serde_json::Value) -> String {
    match (value, value.as_f64()) {
        (serde_json::Value::Number(number), Some(float)) if number.is_f64() => format!("{float:.4}"),
        (serde_json::Value::String(text), _) => text.clone(),
        (serde_json::Value::Null, _) => "-".to_owned(),
        (other, _) => other.to_string(),
    }
}

/// Rows under each other, two spaces between their columns.
fn columns(rows: Vec<Vec<String>>) -> String {
    let count = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..count).map(width).collect();
    let line = |row: &Vec<String>| {
        let cells: Vec<String> = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
        cells.join("  ").trim_end().to_owned() + "\n"
    };
    rows.iter().map(line).collect()
}

/// Prints what may hold texts of others.
fn print_for_people(text: &str) -> Answer {
    print(&visible(text))
}
