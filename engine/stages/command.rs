//! `command`: any program, run in a folder of its own that holds what is declared and nothing else; what it leaves there under the
//! declared names is the result. This file reads the settings and tells the story; the folder, the process and what it prints are
//! each a file of their own.

use anyhow::Context;

use crate::{
    fields::{EnvValue, EnvVar, Fields, NamedStages, Place, PlacedFile},
    stage::{Device, Stage, StageCx},
};

pub mod guard;
mod log;
pub mod metrics;
mod process;
mod redact;
mod scratch;

use log::Log;
use process::{End, Given, Line};
use redact::Redactor;
use scratch::Scratch;

/// Its settings.
#[derive(Clone, Debug)]
pub struct Command {
    run: Line,
    /// Each in a folder of its name.
    inputs: Vec<NamedStages>,
    files: Vec<PlacedFile>,
    outputs: Vec<Place>,
    metrics: Option<Place>,
    env: Vec<EnvVar>,
    exit_codes: Vec<u64>,
}

/// Reads them.
pub fn read(f: &mut Fields<'_>) -> Command {
    let run = match f.is_list("run") {
        true => {
            let words = f.words("run");
            if f.sound() && words.first().is_none_or(String::is_empty) {
                f.mistake("run", "`run` names no program", Some("write `[program, argument, argument]`, or text for a shell"));
            }
            Line::Program(words)
        }
        false => Line::Shell(f.text("run", None)),
    };
    let inputs = f.named_stages("inputs");
    let files = f.placed_files("files");
    for input in &inputs {
        if let Some(file) = files.iter().find(|file| Place::overlap(&file.place, &input.name)) {
            let message = format!("the file `{}` would lie in the folder of the input `{}`", file.place, input.name);
            f.mistake("files", message, Some("give the input another name, or the file another place: `files: { place: path }`"));
        }
    }
    let free = |place: &Place| {
        let input = inputs.iter().map(|input| &input.name);
        match input.chain(files.iter().map(|file| &file.place)).find(|taken| Place::overlap(taken, &place.path)) {
            Some(taken) => Err(format!("`{place}` is where the input `{taken}` lies, and inputs are read-only")),
            None => Ok(()),
        }
    };
    let outputs = f.places("outputs", free);
    let metrics = f.optional_place("metrics", free);
    let env = f.environment("env");
    let exit_codes = f.ints("exit_codes", Some(&[0]), 0..=255);
    if exit_codes.is_empty() {
        f.mistake("exit_codes", "with no exit code for success the stage can only fail", None);
    }
    let nul = match &run {
        Line::Shell(text) => text.contains('\0'),
        Line::Program(words) => words.iter().any(|word| word.contains('\0')),
    };
    if nul {
        f.mistake("run", "a command line cannot have a NUL character in it", None);
    }
    Command { run, inputs, files, outputs, metrics, env, exit_codes }
}

impl Command {
    /// The values that are shown nowhere.
    fn secrets(&self) -> impl Iterator<Item = &str> {
        self.env.iter().filter_map(|variable| match &variable.value {
            EnvValue::Secret(value) => Some(value.as_str()),
            _ => None,
        })
    }

    fn try_run(&self, cx: &mut StageCx<'_>, redactor: &Redactor) -> anyhow::Result<()> {
        let mut scratch = Scratch::new(cx.out).context("cannot make the folder to run in")?;
        for input in &self.inputs {
            scratch.input(&input.name, cx.inputs(&input.port.0), input.many)?;
        }
        for file in &self.files {
            scratch.copy(&file.path, &file.place).with_context(|| format!("cannot take over {}", file.path.display()))?;
        }
        scratch.seal(&self.outputs, self.metrics.as_ref())?;
        guard::start(scratch.root())?;
        let mut log = Log::new(cx.log, redactor.clone());
        let end = process::run(&self.run, &scratch, &Given { env: &self.env, gpus: cx.gpus }, &mut log, &cx.talk, &mut cx.usage)?;
        log.end()?;
        let success = match end {
            End::Exit(code) => self.exit_codes.iter().any(|known| i64::try_from(*known) == Ok(code.into())),
            End::Signal(_) | End::Stopped => false,
        };
        if !success {
            anyhow::bail!("{}", self.failure(end, &log, cx));
        }
        scratch.check_inputs()?;
        if let Some(place) = &self.metrics {
            for (name, value) in metrics::read(&scratch, place)? {
                cx.metric(&redactor.text(&name), redactor.value(value));
            }
        }
        cx.files = Some(scratch.collect(&self.outputs)?);
        Ok(())
    }

    /// What there is to say about a program that ended otherwise than it should.
    fn failure(&self, end: End, log: &Log<'_>, cx: &StageCx<'_>) -> String {
        let mut text = format!("{end}: {}", self.run);
        let lines = log.last_lines();
        match lines.is_empty() {
            true => text += "\nit printed nothing",
            false => {
                text += "\nits last lines:";
                lines.iter().for_each(|line| text += &format!("\n  {line}"));
                text += &format!("\nall of it: {}", cx.log.display());
            }
        }
        text
    }
}

impl Stage for Command {
    fn kind(&self) -> &'static str {
        "command"
    }

    fn version(&self) -> u32 {
        1
    }

    fn backend(&self, _device: Device) -> Option<String> {
        None
    }

    /// Where an input may be several results, their folders are called by their matrix values.
    fn reads_labels(&self, port: &str) -> bool {
        self.inputs.iter().any(|input| input.many && input.port.0 == port)
    }

    /// The work is another process's.
    fn computes(&self) -> bool {
        false
    }

    fn run(&self, cx: &mut StageCx<'_>) -> anyhow::Result<()> {
        let redactor = Redactor::new(self.secrets());
        self.try_run(cx, &redactor).map_err(|error| redactor.error(error))
    }
}
