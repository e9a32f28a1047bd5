//! `talkflow report`: a run or a sweep as one page, to be looked at in a browser, sent around and printed.

use std::path::PathBuf;

use clap::Args;
use serde_json::json;

use super::{
    Answer, Common, Failure, Format, ManifestArgs, answer, load, print_json,
    store::{bytes, count},
};
use crate::{
    history::{self, Run},
    report::{
        page::{Page, PageError},
        write_whole,
    },
    store::Store,
};

/// Which run.
#[derive(Clone, Debug, Args)]
pub struct Which {
    /// The manifest: its last run or sweep is shown.
    manifest: Option<PathBuf>,
    /// Change a parameter, where the manifest cannot be read without.
    #[arg(long = "set", value_name = "PARAM=YAML", requires = "manifest")]
    sets: Vec<String>,
    /// Show this run: its name or the beginning of it, `last`, `last~1`.
    #[arg(long, value_name = "RUN")]
    pub(super) run: Option<String>,
}

/// Its arguments.
#[derive(Debug, Args)]
pub struct ReportArgs {
    #[command(flatten)]
    which: Which,
    /// Where to write the page; with --format json it may be left out, and what would be on the page is printed.
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
}

/// Writes it.
pub fn report(args: &ReportArgs, common: &Common) -> Answer {
    if args.output.is_none() && common.format == Format::Human {
        return Err(Failure::Wrong("where is the page to be written? Say `-o report.html`".to_owned()));
    }
    let store = common.existing_store()?;
    let run = args.which.one(&store, common)?;
    let page = Page::of(&store, &run)?;
    let Some(path) = &args.output else { return print_json(&page) };
    let html = page.html().map_err(|error| Failure::Failed(format!("cannot make a page of run {}: {error}", run.id)))?;
    write_whole(path, html.as_bytes()).map_err(|error| Failure::Failed(format!("cannot write {}: {error}", path.display())))?;
    let stages = page.instances.len();
    let document = json!({ "ok": true, "file": path, "run": run.id, "stages": stages, "bytes": html.len() });
    answer(common, &document, || {
        let stages = count(stages, "stage");
        format!("{}: run {} of {}, {stages}, {}\n", path.display(), run.id, page.title, bytes(html.len() as u64))
    })
}

impl Which {
    /// The run that is meant, by a command that is about one.
    pub fn one(&self, store: &Store, common: &Common) -> Result<Run, Failure> {
        if self.manifest.is_none() && self.run.is_none() {
            return Err(Failure::Wrong("which run? Name a manifest, whose last one is shown, or say `--run last`".to_owned()));
        }
        self.find(store, common)
    }

    /// The run that is meant.
    pub fn find(&self, store: &Store, common: &Common) -> Result<Run, Failure> {
        let all = history::runs(store)?;
        let name = self.name(common)?;
        if let Some(typed) = &self.run {
            let run = history::find(&all, typed).map_err(Failure::Wrong)?;
            return match (&self.manifest, name) {
                (Some(path), Some(name)) if !run.is_of(&name) => {
                    let (path, id) = (path.display(), &run.id);
                    Err(Failure::Wrong(format!("run {id} is none of {path}: leave the manifest or --run out")))
                }
                _ => Ok(run),
            };
        }
        let found = all.into_iter().rev().find(|run| name.as_ref().is_some_and(|name| run.is_of(name)));
        found.ok_or_else(|| {
            let path = self.manifest.clone().unwrap_or_default();
            let (store, path) = (common.store.display(), path.display());
            Failure::Wrong(format!("no run of {path} is kept in {store}: `talkflow run {path}` makes one"))
        })
    }

    /// What the manifest calls itself, where one is given.
    pub fn name(&self, common: &Common) -> Result<Option<String>, Failure> {
        let Some(manifest) = &self.manifest else { return Ok(None) };
        let args = ManifestArgs { manifest: manifest.clone(), sets: self.sets.clone() };
        Ok(Some(load::load(&args, common)?.name))
    }
}

impl From<PageError> for Failure {
    fn from(error: PageError) -> Self {
        match error {
            PageError::Store(error) => Self::Store(error),
            other => Self::Failed(other.to_string()),
        }
    }
}
