//! `run.json`: what was asked of a run, where it took place, by which versions, and how it ended. Written as the run begins and again
//! as it ends, so that one that was killed still says all but its end.

use std::{
    fs, io,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    thread::JoinHandle,
    time::{Duration, Instant},
};

use serde::{Deserialize, Serialize};

/// The file's name in the run's folder.
pub const FILE: &str = "run.json";
/// The file of parameters and settings beside it.
pub const RESOLVED: &str = "resolved.json";

/// The version of a run's folder: of these files and of the events.
const FORMAT: u32 = 1;

/// What `run.json` holds.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct About {
    /// The run's name.
    pub run: String,
    /// The manifest that ran.
    pub manifest: Manifest,
    /// The version of talkflow.
    pub talkflow: String,
    /// Versions of what is on disk.
    pub formats: Formats,
    /// The command line, the program's name first.
    pub command: Vec<String>,
    /// The parameters changed on it, as typed.
    pub sets: Vec<String>,
    /// Which stages were to be brought up to date.
    pub wanted: Wanted,
    /// Where it ran.
    pub host: Host,
    /// Where floats were computed.
    pub device: String,
    /// Cores that all stages together were allowed.
    pub cores: usize,
    /// The git revision of the manifest's folder; null where there is no git or no repository, or it did not answer in time.
    pub git: Option<Git>,
    /// Seconds since 1970.
    pub started: f64,
    /// Seconds since 1970; null while it goes on, and for ever where it was killed.
    pub ended: Option<f64>,
    /// The exit code; null as above.
    pub exit: Option<u8>,
    /// How many stage instances ended how; null as above.
    pub totals: Option<Totals>,
}

/// Stage instances by their place in the plan.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Wanted {
    /// Some.
    Some(Vec<usize>),
    /// All of them.
    All(All),
}

/// The word for all.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum All {
    /// `"all"`.
    All,
}

impl Wanted {
    /// Those that are marked.
    pub fn of(marks: &[bool]) -> Self {
        match marks.iter().all(|marked| *marked) {
            true => Self::All(All::All),
            false => Self::Some((0..marks.len()).filter(|place| marks[*place]).collect()),
        }
    }

    /// Whether the one at `place` is among them.
    pub fn contains(&self, place: usize) -> bool {
        match self {
            Self::All(_) => true,
            Self::Some(places) => places.binary_search(&place).is_ok(),
        }
    }
}

/// A manifest by name and file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// Its name.
    pub name: String,
    /// Its file, as typed.
    pub path: PathBuf,
}

/// Versions of what is on disk.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Formats {
    /// Of the manifest's language.
    pub manifest: u32,
    /// Of the store and its keys.
    pub store: String,
    /// Of a run's folder.
    pub run: u32,
}

impl Default for Formats {
    fn default() -> Self {
        Self { manifest: 1, store: crate::store::FORMAT.to_owned(), run: FORMAT }
    }
}

/// A machine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Host {
    /// Its name.
    pub name: String,
    /// Operating system, its release, and the architecture.
    pub system: String,
    /// The processor's model, where the system says.
    pub cpu: Option<String>,
    /// Cores that this process may use.
    pub cores: usize,
    /// Memory in bytes, where the system says.
    pub memory: Option<u64>,
}

/// How many stage instances ended how.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Totals {
    /// Did work.
    pub ran: usize,
    /// Had their result.
    pub cached: usize,
    /// Failed.
    pub failed: usize,
    /// Were not tried.
    pub skipped: usize,
}

/// A state of a git repository.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Git {
    /// The commit.
    pub revision: String,
    /// Whether files differ from it, those that git does not know included.
    pub dirty: bool,
}

impl About {
    /// Writes it into the run's folder, whole or not at all.
    ///
    /// # Errors
    /// Where the disk refuses.
    pub fn write(&self, folder: &Path) -> io::Result<()> {
        let draft = folder.join(".run.json");
        fs::write(&draft, serde_json::to_vec_pretty(self)?)?;
        fs::rename(&draft, folder.join(FILE))
    }
}

impl Host {
    /// This one.
    pub fn this() -> Self {
        let uname = rustix::system::uname();
        let text = |part: &std::ffi::CStr| part.to_string_lossy().into_owned();
        let field = |file: &str, name: &str| {
            let text = fs::read_to_string(file).ok()?;
            let line = text.lines().find(|line| line.starts_with(name))?;
            Some(line.split_once(':')?.1.trim().to_owned())
        };
        let kib = field("/proc/meminfo", "MemTotal").and_then(|text| text.trim_end_matches("kB").trim().parse::<u64>().ok());
        Self {
            name: text(uname.nodename()),
            system: format!("{} {} {}", text(uname.sysname()), text(uname.release()), text(uname.machine())),
            cpu: field("/proc/cpuinfo", "model name"),
            cores: std::thread::available_parallelism().map_or(1, usize::from),
            memory: kib.map(|kib| kib * 1024),
        }
    }
}

/// The question which revision a folder is at, being answered beside the run's work.
#[derive(Debug)]
pub struct Revision(Option<JoinHandle<Option<Git>>>);

/// git is not waited for longer than this.
const PATIENCE: Duration = Duration::from_secs(2);

impl Revision {
    /// Asks it of the folder of a manifest.
    pub fn of_manifest(path: &Path) -> Self {
        Self::ask(path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new(".")))
    }

    /// Asks git, where the folder lies in a repository.
    pub fn ask(folder: &Path) -> Self {
        let folder = folder.canonicalize().unwrap_or_else(|_| folder.to_owned());
        let in_repository = folder.ancestors().any(|folder| folder.join(".git").exists());
        Self(in_repository.then(|| std::thread::spawn(move || git(&folder))))
    }

    /// The answer; waits for it.
    pub fn answer(self) -> Option<Git> {
        self.0?.join().ok().flatten()
    }
}

fn git(folder: &Path) -> Option<Git> {
    let until = Instant::now() + PATIENCE;
    let text = says(folder, &["status", "--porcelain=v2", "--branch"], until)?;
    let (headers, changes): (Vec<&str>, Vec<&str>) = text.lines().partition(|line| line.starts_with("# "));
    // Before the first commit there is no revision.
    let revision = headers.iter().find_map(|line| line.strip_prefix("# branch.oid ")).filter(|oid| !oid.starts_with('('))?;
    Some(Git { revision: revision.to_owned(), dirty: !changes.is_empty() })
}

/// What git prints, if it ends well and in time.
fn says(folder: &Path, args: &[&str], until: Instant) -> Option<String> {
    let mut command = Command::new("git");
    command.arg("-C").arg(folder).args(args).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
    // It only looks: other git commands beside it are not kept waiting.
    let mut child = command.env("GIT_OPTIONAL_LOCKS", "0").spawn().ok()?;
    let mut out = child.stdout.take()?;
    let reader = std::thread::spawn(move || io::read_to_string(&mut out));
    loop {
        match child.try_wait() {
            Ok(Some(status)) => return reader.join().ok()?.ok().filter(|_| status.success()),
            Ok(None) if Instant::now() < until => std::thread::sleep(Duration::from_millis(2)),
            _ => {
                let _ = child.kill();
                let _ = child.wait();
                return None;
            }
        }
    }
}
