//! `talkflow sweep`: a manifest at many points, as one run in which what they have in common is done once; and its table, also of a past one.

use std::{fs::File, path::PathBuf};

use clap::Args;
use serde_json::{Map, Value, json};

use super::{
    Answer, Common, Failure, Format, ManifestArgs, Selection, answer, columns, limits::LimitArgs, load, print_for_people,
    print_json, run, say,
};
use crate::{
    exec::{self, Fate, Standing, Walk},
    history::{self, RESULTS, SWEEP},
    plan::Union,
    report::{
        points::{Points, State},
        results::{self, Made, Results},
        table, write_whole,
    },
    scores,
    selector::Selector,
    space::{self, Only},
    stages::StageSpec,
    store::{Record, Store},
};

/// Its arguments.
#[derive(Debug, Args)]
pub struct SweepArgs {
    /// The manifest.
    #[arg(required_unless_present = "show")]
    manifest: Option<PathBuf>,
    /// Change a parameter, or with several values sweep over it: `--set seed=1,2,3`, `--set 'genres=[[A,B],[C]]'`; may be repeated.
    #[arg(long = "set", value_name = "PARAM=YAML")]
    sets: Vec<String>,
    #[command(flatten)]
    selection: Selection,
    #[command(flatten)]
    limits: LimitArgs,
    /// Only points with these values: `rounds=2,seed=1..3`, `method=talk|label`, `seed!=4`, `point=1..10`; may be repeated.
    #[arg(long, value_name = "PARAM=VALUE")]
    only: Vec<String>,
    /// Only the first N points, of those that --only leaves.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    limit: Option<u32>,
    /// End with the first stage that fails.
    #[arg(long)]
    fail_fast: bool,
    /// Run nothing: show which points are there, and how much of the others is.
    #[arg(long)]
    dry_run: bool,
    /// Write the table into this folder: results.parquet, .csv, .md, .tex, comparisons.parquet, .csv, and provenance.json.
    #[arg(short, long, value_name = "DIR")]
    output: Option<PathBuf>,
    /// Show these metrics of any stage; names or globs, may be repeated [default: of the last stages the metric that matters most, of
    /// programs all].
    #[arg(short, long = "metric", value_name = "NAME")]
    metrics: Vec<String>,
    /// Show the table of a past sweep again: its run's name or the beginning of it, `last`, `last~1`.
    #[arg(long, value_name = "RUN", conflicts_with_all = ["manifest", "sets", "only", "limit", "fail_fast", "dry_run"])]
    show: Option<String>,
}

/// A point that takes part: its place in the space, and the instances it needs, by place in the plan.
type Chosen = (usize, Vec<usize>);

/// Runs it.
pub fn sweep(args: &SweepArgs, common: &Common) -> Answer {
    let metrics =
        args.metrics.iter().map(|typed| Selector::parse(typed).map_err(Failure::Wrong)).collect::<Result<Vec<_>, _>>()?;
    if let Some(run) = &args.show {
        return show(run, args, &metrics, common);
    }
    let cancel = run::on_signals()?;
    let manifest = ManifestArgs { manifest: args.manifest.clone().unwrap_or_default(), sets: args.sets.clone() };
    let union = load::sweep(&manifest, common)?;
    let marks = marks(args, &union)?;
    let mut options = load::options(&union.plan, &args.selection, common, &args.limits, !args.fail_fast)?;
    let mut wanted = vec![false; union.plan.instances.len()];
    let mut chosen: Vec<Chosen> = Vec::new();
    for place in (0..marks.len()).filter(|place| marks[*place]) {
        let needs: Vec<usize> = union.needs[place].iter().copied().filter(|index| options.wanted[*index]).collect();
        needs.iter().for_each(|index| wanted[*index] = true);
        if !needs.is_empty() {
            chosen.push((place, needs));
        }
    }
    if chosen.is_empty() {
        return Err(Failure::Wrong("nothing to run: none of the points needs these stages".to_owned()));
    }
    options.forced.iter_mut().zip(&wanted).for_each(|(forced, wanted)| *forced &= wanted);
    options.wanted = wanted;
    if args.dry_run {
        return dry_run(&union, &chosen, &options, common);
    }
    say(&opening(&union, &chosen, &options.wanted));
    let named = chosen.iter().map(|(place, needs)| (union.space.name(*place), needs.clone())).collect();
    let kept = serde_json::to_vec(&written(&union, &chosen)).map_err(|error| Failure::Failed(error.to_string()))?;
    let job = run::Job {
        plan: &union.plan,
        options: &options,
        manifest: &manifest,
        points: Some(Points::new(named, union.plan.instances.len())),
        kept: Some((SWEEP, kept)),
        seen: None,
    };
    run::perform(job, common, &cancel, |done| {
        let Some(points) = &done.points else { return Ok(()) };
        say(&failures(points));
        let made = Made { union: &union, chosen: &chosen, points, outcome: done.outcome, about: done.about };
        let results = results::collect(made, |record| read_scores(record, done.store))?;
        let kept = done.folder.join(RESULTS);
        write_whole(&kept, &parquet(&results)?)
            .map_err(|error| Failure::Failed(format!("cannot write {}: {error}", kept.display())))?;
        write(&results, &done.about.run, args, &metrics)?;
        match common.format {
            Format::Json => print_json(&document(made, &results, &metrics)),
            Format::Human => print_for_people(&results.markdown(&metrics)),
        }
    })
}

/// Shows what of each point is there, and runs nothing.
fn dry_run(union: &Union<StageSpec>, chosen: &[Chosen], options: &exec::Options, common: &Common) -> Answer {
    let store = common.open_store()?;
    let (latest, files) = (store.latest(&union.plan.name)?, store.outside_files(options.paranoid));
    let walk = Walk { plan: &union.plan, store: &store, latest: &latest, files: &files, device: options.device };
    let standings = walk.survey(&options.wanted, &options.forced, &options.places)?;
    let _ = store.remember(&files);
    let there = |place: &usize| matches!(standings.get(place), Some(Standing::Fresh(_)));
    let missing = |needs: &[usize]| needs.iter().filter(|place| !there(place)).count();
    let point = |(place, needs): &Chosen| {
        json!({
            "point": place + 1,
            "name": union.space.name(*place),
            "params": params(union, *place),
            "stages": needs.len(),
            "missing": missing(needs),
        })
    };
    let left = chosen.iter().filter(|(_, needs)| missing(needs) > 0).count();
    let stages = standings.keys().filter(|place| !there(place)).count();
    let document = json!({
        "ok": true,
        "manifest": union.plan.name,
        "cached": chosen.len() - left,
        "left": left,
        "missing": stages,
        "points": chosen.iter().map(point).collect::<Vec<_>>(),
    });
    answer(common, &document, || {
        let row = |(place, needs): &Chosen| {
            let state = match missing(needs) {
                0 => "cached".to_owned(),
                missing => format!("{missing} of {} stages to make", needs.len()),
            };
            vec![format!("{:>5}", place + 1), union.space.name(*place), state]
        };
        let rows = columns(chosen.iter().map(row).collect());
        format!(
            "{}{rows}{} points cached, {left} left, {stages} stages to make\n",
            opening(union, chosen, &options.wanted),
            chosen.len() - left
        )
    })
}

/// Shows the table of a past sweep.
fn show(run: &str, args: &SweepArgs, metrics: &[Selector], common: &Common) -> Answer {
    let store = common.existing_store()?;
    let run = history::find(&history::runs(&store)?, run).map_err(Failure::Wrong)?;
    let path = run.results();
    let file = File::open(&path).map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound => Failure::Wrong(format!("run {} is no sweep, or did not come to its end", run.id)),
        _ => Failure::Failed(format!("cannot read {}: {error}", path.display())),
    })?;
    let results = Results::from_parquet(file)
        .map_err(|error| Failure::Failed(format!("{} is not the table of a sweep: {error}", path.display())))?;
    write(&results, &run.id, args, metrics)?;
    match common.format {
        Format::Json => print_json(&with_table(json!({ "ok": true, "run": run.id }), &results, metrics)),
        Format::Human => print_for_people(&results.markdown(metrics)),
    }
}

/// The scores that a result holds, if it is an evaluation.
pub(super) fn read_scores(record: &Record, store: &Store) -> Result<Option<scores::Scores>, Failure> {
    let entry = Some(record).filter(|record| results::has_scores(record)).and_then(|record| record.files.0.get(scores::FILE));
    let Some(entry) = entry else { return Ok(None) };
    table::read(&store.proven(scores::FILE, entry)?).map(Some).map_err(Failure::Failed)
}

fn parquet(results: &Results) -> Result<Vec<u8>, Failure> {
    results.parquet().map_err(|error| Failure::Failed(format!("cannot write Parquet: {error}")))
}

/// Writes the table in all its forms, where that was asked for.
fn write(results: &Results, run: &str, args: &SweepArgs, metrics: &[Selector]) -> Answer {
    let Some(folder) = &args.output else { return Ok(()) };
    let failed =
        |path: &std::path::Path, error: std::io::Error| Failure::Failed(format!("cannot write {}: {error}", path.display()));
    std::fs::create_dir_all(folder).map_err(|error| failed(folder, error))?;
    let mut provenance = json!({ "run": run });
    if let (Some(all), Ok(Value::Object(fields))) = (provenance.as_object_mut(), serde_json::to_value(&results.provenance)) {
        all.extend(fields);
    }
    let text = |error: &dyn std::fmt::Display| Failure::Failed(error.to_string());
    let files = [
        ("results.parquet", parquet(results)?),
        ("results.csv", results.csv().map_err(|error| text(&error))?),
        ("results.md", results.markdown_file(metrics).into_bytes()),
        ("results.tex", results.latex(metrics).into_bytes()),
        ("provenance.json", serde_json::to_vec_pretty(&provenance).map_err(|error| text(&error))?),
    ];
    let mut files: Vec<(String, Vec<u8>)> = files.map(|(name, bytes)| (name.to_owned(), bytes)).to_vec();
    let sheets = results.comparisons().sheets;
    for (stage, sheet) in &sheets {
        let name = if sheets.len() > 1 { format!("comparisons.{stage}") } else { "comparisons".to_owned() };
        let parquet = results::parquet_of(&sheet.columns, results.provenance_text()).map_err(|error| text(&error))?;
        files.push((format!("{name}.parquet"), parquet));
        files.push((format!("{name}.csv"), sheet.csv().map_err(|error| text(&error))?));
    }
    for (name, bytes) in files {
        let path = folder.join(name);
        write_whole(&path, &bytes).map_err(|error| failed(&path, error))?;
    }
    Ok(())
}

/// The points that `--only` and `--limit` leave.
fn marks(args: &SweepArgs, union: &Union<StageSpec>) -> Result<Vec<bool>, Failure> {
    let mut marks = vec![args.only.is_empty(); union.space.points.len()];
    for typed in &args.only {
        let picked = Only::parse(typed).and_then(|only| only.pick(&union.space)).map_err(Failure::Wrong)?;
        marks.iter_mut().zip(picked).for_each(|(mark, picked)| *mark |= picked);
    }
    let mut left = args.limit.map_or(usize::MAX, |limit| limit as usize);
    for mark in marks.iter_mut().filter(|mark| **mark) {
        *mark = left > 0;
        left = left.saturating_sub(1);
    }
    Ok(marks)
}

/// What is about to happen: `6 of 12 points over rounds, seed; 31 stages, 54 without what they share`.
fn opening(union: &Union<StageSpec>, chosen: &[Chosen], wanted: &[bool]) -> String {
    let params: Vec<&str> = union.space.params.iter().map(|param| param.path.as_str()).collect();
    let of = match union.space.points.len() {
        all if all == chosen.len() => String::new(),
        all => format!(" of {all}"),
    };
    let (together, alone) =
        (wanted.iter().filter(|wanted| **wanted).count(), chosen.iter().map(|(_, needs)| needs.len()).sum::<usize>());
    format!("{}{of} points over {}: {together} stages, which one by one would be {alone}\n", chosen.len(), params.join(", "),)
}

/// What is kept of a sweep from its beginning: what it goes over, and which stages each point needs.
fn written(union: &Union<StageSpec>, chosen: &[Chosen]) -> Value {
    let space = &union.space;
    let point = |(place, needs): &Chosen| json!({ "point": place + 1, "name": space.name(*place), "params": params(union, *place), "stages": needs });
    json!({
        "manifest": union.manifest,
        "params": space.params.iter().map(|param| &param.path).collect::<Vec<_>>(),
        "seed": space.params.iter().find(|param| param.seed).map(|param| &param.path),
        "space": space.written,
        "points": chosen.iter().map(point).collect::<Vec<_>>(),
    })
}

/// The values of a point by parameter.
fn params(union: &Union<StageSpec>, place: usize) -> Map<String, Value> {
    let given = union.space.params.iter().zip(&union.space.points[place].0);
    given.map(|(param, given)| (param.path.clone(), space::json(&given.node))).collect()
}

/// The points that failed, and why.
fn failures(points: &Points) -> String {
    let lines: Vec<String> =
        (0..points.len()).filter_map(|point| Some(format!("  {}: {}\n", points.name(point), points.failure(point)?))).collect();
    match lines.len() {
        0 => String::new(),
        failed => format!("{failed} of {} points failed:\n{}", points.len(), lines.concat()),
    }
}

fn document(made: Made<'_>, results: &Results, metrics: &[Selector]) -> Value {
    let Made { union, chosen, points, outcome, about } = made;
    let point = |(at, (place, _)): (usize, &Chosen)| {
        json!({
            "point": place + 1,
            "name": points.name(at),
            "params": params(union, *place),
            "state": points.state(at),
            "because": points.failure(at),
        })
    };
    let all = (0..points.len()).all(|at| matches!(points.state(at), State::Done | State::Cached));
    let document = json!({
        "ok": all,
        "manifest": union.plan.name,
        "run": about.run,
        "tally": points.tally(),
        "ran": outcome.count(Fate::Ran),
        "cached": outcome.count(Fate::Cached),
        "failed": outcome.count(Fate::Failed),
        "skipped": outcome.count(Fate::Skipped),
        "seconds": outcome.seconds,
        "points": chosen.iter().enumerate().map(point).collect::<Vec<_>>(),
    });
    with_table(document, results, metrics)
}

/// A document with the table in it, whole and as people are shown it.
fn with_table(mut document: Value, results: &Results, metrics: &[Selector]) -> Value {
    document["results"] = results.json();
    document["summary"] = results.summary(metrics).json();
    let sheets = results.comparisons().sheets;
    let comparisons: Map<String, Value> = sheets.iter().map(|(stage, sheet)| (stage.clone(), sheet.json())).collect();
    document["comparisons"] = comparisons.into();
    document["provenance"] = serde_json::to_value(&results.provenance).unwrap_or_default();
    document
}
