//! `talkflow check`: brings a manifest up to date, and compares its metrics with a committed baseline.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    path::{Path, PathBuf},
};

use clap::Args;
use serde_json::json;

use super::{
    Answer, Common, Failure, ManifestArgs, Selection, Written, answer, devices, limits::LimitArgs, load, print, print_for_people,
    print_json, run, say,
};
use crate::{
    artifact::{ArtifactKind, Digest},
    check::{self, Baseline, Finding, Gate, Measured, Selected, Verdict},
    exec::{Fate, Outcome},
    manifest::read_file,
    plan::{Instance, Plan},
    report::{
        check::{At, Checked, FailedStage, Located},
        table, write_whole,
    },
    scores::{self, Scores},
    selector::Name,
    source::Span,
    stage::Device,
    stages::{StageSpec, made_by},
    store::{Record, Store},
};

/// Its arguments.
#[derive(Debug, Args)]
pub struct CheckArgs {
    #[command(flatten)]
    manifest: ManifestArgs,
    /// The baseline [default: that beside the manifest: `m.baseline.json` of `m.yaml`].
    #[arg(long, value_name = "FILE")]
    baseline: Option<PathBuf>,
    /// Take what is measured now for the baseline, and show what that changes.
    #[arg(long)]
    update: bool,
    #[command(flatten)]
    limits: LimitArgs,
    /// Where to train.
    #[arg(long, default_value = "cpu", value_parser = devices())]
    device: Device,
}

/// What is checked.
struct Job<'a> {
    plan: &'a Plan<StageSpec>,
    gates: Vec<Gate>,
    /// The baseline's file.
    path: &'a Path,
    /// What is in it; nothing where it is to be made.
    baseline: Option<Baseline>,
    update: bool,
}

/// Checks it.
pub fn check(args: &CheckArgs, common: &Common) -> Answer {
    if args.update && matches!(common.written, Written::Junit | Written::Github) {
        return Err(Failure::Wrong("--update compares nothing, so there is nothing to write as `junit` or `github`".to_owned()));
    }
    let cancel = run::on_signals()?;
    let (plan, declared) = load::gated(&args.manifest, common)?;
    if declared.is_empty() && plan.instances.iter().all(|one| made_by(&one.kind) != Some(ArtifactKind::Scores)) {
        let path = plan.path.display();
        let help = "say in a section `check` which metrics of which stages are gated (docs/check.md)";
        return Err(Failure::Wrong(format!("{path} evaluates nothing, so there is nothing to compare: {help}")));
    }
    let path = args.baseline.clone().unwrap_or_else(|| plan.path.with_extension("baseline.json"));
    let baseline = read(&path, &plan, args.update)?;
    let selection = Selection { device: args.device, ..Selection::default() };
    let options = load::options(&plan, &selection, common, &args.limits, false)?;
    let job = Job { plan: &plan, gates: check::gates(declared), path: &path, baseline, update: args.update };
    let of_run = run::Job { plan: &plan, options: &options, manifest: &args.manifest, points: None, kept: None, seen: None };
    run::perform(of_run, common, &cancel, |done| job.finish(done.outcome, done.store, &done.about.run, common))
}

/// The baseline, looked at before anything runs.
fn read(path: &Path, plan: &Plan<StageSpec>, update: bool) -> Result<Option<Baseline>, Failure> {
    let bytes = match read_file(path, check::MOST_BYTES + 1) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound && update => return Ok(None),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            let (file, manifest) = (path.display(), plan.path.display());
            return Err(Failure::Wrong(format!("there is no baseline {file}: `talkflow check {manifest} --update` makes it")));
        }
        Err(error) => return Err(Failure::Wrong(format!("cannot read the baseline {}: {error}", path.display()))),
    };
    let baseline = check::read_baseline(path, &bytes).map_err(|error| Failure::Wrong(error.to_string()))?;
    if baseline.manifest != plan.name && !update {
        let (file, of, name) = (path.display(), &baseline.manifest, &plan.name);
        return Err(Failure::Wrong(format!(
            "{file} is the baseline of `{of}`, and this manifest is `{name}`: --baseline names another"
        )));
    }
    Ok(Some(baseline))
}

impl Job<'_> {
    /// Says what came of it.
    fn finish(self, outcome: &Outcome, store: &Store, run: &str, common: &Common) -> Answer {
        let stopped = outcome.signal.is_some() || outcome.unusable.is_some();
        let whole = outcome.steps.iter().all(|step| step.record.is_some());
        if stopped || !whole {
            // The exit code says what happened, which comes from the run itself.
            return write(&self.checked(outcome, run, Vec::new(), stopped), common);
        }
        let gates = self.measured(outcome, store)?;
        match (&self.baseline, self.update) {
            (Some(baseline), false) => {
                let checked = self.checked(outcome, run, check::compare(&gates, baseline), false);
                write(&checked, common)?;
                if checked.ok { Ok(()) } else { Err(Failure::Regressed) }
            }
            _ => self.renew(&gates, common),
        }
    }

    /// What each gate looks at.
    fn measured(&self, outcome: &Outcome, store: &Store) -> Result<Vec<(Gate, Selected)>, Failure> {
        let records: HashMap<&str, &Record> =
            outcome.steps.iter().filter_map(|step| Some((step.name.as_str(), step.record.as_deref()?))).collect();
        let is_scores = |one: &Instance<StageSpec>| made_by(&one.kind) == Some(ArtifactKind::Scores);
        let looked_at = |one: &&Instance<StageSpec>| {
            let name = Name::parse(&one.name);
            self.gates.iter().any(|gate| match gate.stages.is_empty() {
                true => is_scores(one),
                false => gate.stages.iter().any(|selector| selector.matches(&name)),
            })
        };
        let mut scores: HashMap<&str, Scores> = HashMap::new();
        let instances: Vec<&Instance<StageSpec>> = self.plan.instances.iter().filter(looked_at).collect();
        for one in instances.iter().filter(|one| is_scores(one)) {
            if let Some(entry) = records.get(one.name.as_str()).and_then(|record| record.files.0.get(scores::FILE)) {
                scores.insert(&one.name, table::read(&store.proven(scores::FILE, entry)?).map_err(Failure::Failed)?);
            }
        }
        let measured: Vec<Measured<'_>> = instances
            .iter()
            .map(|one| Measured {
                name: &one.name,
                stage: &one.stage,
                labels: &one.labels,
                scores: scores.get(one.name.as_str()),
                metrics: records.get(one.name.as_str()).map(|record| record.metrics.clone()).unwrap_or_default(),
                data: self.data(one, &records),
            })
            .collect();
        let one = |gate: &Gate| Ok((gate.clone(), check::measure(gate, &measured).map_err(Failure::Wrong)?));
        self.gates.iter().map(one).collect()
    }

    /// The data sets and splits that an instance rests on.
    fn data(&self, instance: &Instance<StageSpec>, records: &HashMap<&str, &Record>) -> BTreeMap<String, Digest> {
        let mut seen = BTreeSet::new();
        let mut left: Vec<usize> = instance.inputs.iter().flat_map(|input| input.from.clone()).collect();
        let mut data = BTreeMap::new();
        while let Some(place) = left.pop() {
            let Some(one) = self.plan.instances.get(place).filter(|_| seen.insert(place)) else { continue };
            left.extend(one.inputs.iter().flat_map(|input| &input.from));
            if matches!(made_by(&one.kind), Some(ArtifactKind::Data | ArtifactKind::Split))
                && let Some(record) = records.get(one.name.as_str())
            {
                data.insert(one.name.clone(), record.files.digest());
            }
        }
        data
    }

    /// Everything there is to show.
    fn checked(&self, outcome: &Outcome, run: &str, findings: Vec<Finding>, stopped: bool) -> Checked {
        let without = outcome.steps.iter().filter(|step| matches!(step.fate, Fate::Failed | Fate::Skipped));
        let failed: Vec<FailedStage> = without
            .map(|step| FailedStage {
                stage: step.name.clone(),
                reason: step.reason.clone().unwrap_or_default(),
                at: self.at(self.plan.instances.iter().find(|one| one.name == step.name).map(|one| one.at)),
            })
            .collect();
        let mut counts: BTreeMap<Verdict, usize> = BTreeMap::new();
        findings.iter().for_each(|finding| *counts.entry(finding.verdict).or_default() += 1);
        let findings: Vec<Located> = findings.into_iter().map(|finding| Located { at: self.place(&finding), finding }).collect();
        Checked {
            ok: failed.is_empty() && !stopped && findings.iter().all(|located| !located.finding.verdict.fails()),
            manifest: self.plan.name.clone(),
            file: self.plan.path.display().to_string(),
            baseline: self.path.display().to_string(),
            baseline_talkflow: self.baseline.as_ref().map(|baseline| baseline.talkflow.clone()).unwrap_or_default(),
            talkflow: env!("CARGO_PKG_VERSION").to_owned(),
            run: run.to_owned(),
            failed,
            stopped,
            gates: self.gates.iter().map(|gate| (gate.name.clone(), gate.rule.to_string())).collect(),
            counts,
            findings,
        }
    }

    /// The line of the manifest that a finding is about: that of its stage, else that of its gate.
    fn place(&self, finding: &Finding) -> At {
        let stage = finding.place.as_ref().map(|place| place.stage.as_str());
        let instance = stage.and_then(|stage| {
            let own = Name::parse(stage).stage;
            self.plan.instances.iter().find(|one| one.name == stage || one.stage == own)
        });
        let gate = || self.gates.iter().find(|gate| gate.name == finding.gate).and_then(|gate| gate.at);
        self.at(instance.map(|one| one.at).or_else(gate))
    }

    fn at(&self, span: Option<Span>) -> At {
        let sources = &self.plan.sources;
        match span.filter(|span| sources.path(span.source).is_some()) {
            Some(span) => At { file: sources.name(span.source).to_owned(), line: sources.position(span).line },
            None => At { file: self.plan.path.display().to_string(), line: 1 },
        }
    }

    /// Takes what is measured now for the baseline.
    fn renew(&self, gates: &[(Gate, Selected)], common: &Common) -> Answer {
        let next = Baseline::of(&self.plan.name, gates).map_err(Failure::Wrong)?;
        let changes = check::changes(self.baseline.as_ref(), &next);
        let bytes = next.bytes().map_err(Failure::Failed)?;
        let file = self.path.display();
        if changes.is_empty() {
            let document = json!({ "ok": true, "baseline": self.path, "written": false, "changes": [] });
            return answer(common, &document, || format!("{file} is up to date: nothing was changed\n"));
        }
        write_whole(self.path, &bytes).map_err(|error| Failure::Failed(format!("cannot write {file}: {error}")))?;
        // What can never decide is better known now than when it is needed.
        for finding in check::compare(gates, &next).iter().filter(|finding| finding.verdict.fails()) {
            let of = finding.place.as_ref().map_or_else(String::new, |place| format!(", {place}"));
            say(&format!("warning: gate {}{of}: {}\n", finding.gate, finding.said));
        }
        let document = json!({ "ok": true, "baseline": self.path, "written": true, "changes": changes });
        answer(common, &document, || {
            let lines: String = changes.iter().map(|change| format!("  {change}\n")).collect();
            format!("{file}: {} {}\n{lines}", changes.len(), if changes.len() == 1 { "change" } else { "changes" })
        })
    }
}

/// Prints what came of it, in the form that was asked for.
fn write(checked: &Checked, common: &Common) -> Answer {
    match common.written {
        Written::Human => print_for_people(&checked.human()),
        Written::Json => print_json(checked),
        Written::Junit => print(&checked.junit().map_err(Failure::Failed)?),
        Written::Markdown => print(&checked.markdown()),
        Written::Github => print(&checked.github()),
    }
}
