//! No program outlives talkflow, however that ends: by SIGKILL it cannot end anything itself. So before its first program a run starts
//! a guard, the same binary in a process group of its own, which waits for the run to be gone and then kills whatever runs in the
//! run's folders, whoever started it.

use std::{
    ffi::OsStr,
    fs, io,
    io::Read,
    os::unix::{ffi::OsStrExt, process::CommandExt},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::OnceLock,
    time::Duration,
};

use rustix::process::{Pid, Signal, kill_process};

/// The binary that guards, and the word that makes it do so.
static BINARY: OnceLock<(PathBuf, &'static str)> = OnceLock::new();
/// The pipe that the guard listens to: it ends with this process.
static GUARD: OnceLock<Result<io::PipeWriter, String>> = OnceLock::new();

/// How often the guard looks again, since a program may start others while it is killed.
const ROUNDS: usize = 200;
const PAUSE: Duration = Duration::from_millis(5);

/// Says which binary guards this process's programs when it is called with `word` and a path. Without it there is no guard.
pub fn by(binary: PathBuf, word: &'static str) {
    // The first one to say it counts; there is one binary.
    let _ = BINARY.set((binary, word));
}

/// Starts the guard, the first time it is called. `folder` is one that a program will run in.
pub(super) fn start(folder: &Path) -> io::Result<()> {
    let Some((binary, word)) = BINARY.get() else { return Ok(()) };
    let started = GUARD.get_or_init(|| {
        let spawn = || -> io::Result<io::PipeWriter> {
            let (end, ours) = io::pipe()?;
            let mut command = Command::new(binary);
            command.arg(word).arg(ours_in(folder)).current_dir("/").process_group(0);
            command.stdin(end).stdout(Stdio::null()).stderr(Stdio::null()).spawn()?;
            Ok(ours)
        };
        spawn().map_err(|error| error.to_string())
    });
    match started {
        Ok(_) => Ok(()),
        Err(error) => Err(io::Error::other(format!("cannot start the guard of programs: {error}"))),
    }
}

/// What the folders of all programs of this process begin with.
fn ours_in(folder: &Path) -> PathBuf {
    folder.with_file_name(format!("{}-", std::process::id()))
}

/// What the guard does: waits for its standard input to end, and kills what is left.
///
/// # Errors
/// Where processes cannot be looked at.
pub fn guard(prefix: &Path) -> io::Result<()> {
    io::stdin().read_to_end(&mut Vec::new())?;
    for _ in 0..ROUNDS {
        if kill_in(|folder| folder.as_os_str().as_bytes().starts_with(prefix.as_os_str().as_bytes()))? == 0 {
            return Ok(());
        }
        std::thread::sleep(PAUSE);
    }
    Ok(())
}

/// Kills every process that runs in such a folder, or was started there; how many there were.
pub(super) fn kill_in(ours: impl Fn(&Path) -> bool) -> io::Result<usize> {
    let mut killed = 0;
    for entry in fs::read_dir("/proc")?.flatten() {
        let number = entry.file_name().to_str().and_then(|name| name.parse::<i32>().ok());
        let Some(pid) = number.filter(|number| *number as u32 != std::process::id()).and_then(Pid::from_raw) else { continue };
        if runs_in(&entry.path(), &ours) && kill_process(pid, Signal::KILL).is_ok() {
            killed += 1;
        }
    }
    Ok(killed)
}

/// By its current folder, or by the variables it was started with. Another user's process cannot be looked at, and is none of ours.
fn runs_in(process: &Path, ours: &impl Fn(&Path) -> bool) -> bool {
    // One that has ended and waits for its parent has neither.
    if fs::read_link(process.join("cwd")).is_ok_and(|folder| ours(&folder)) {
        return true;
    }
    let environment = fs::read(process.join("environ")).unwrap_or_default();
    let variables = environment.split(|byte| *byte == 0);
    let mut values = variables.filter_map(|variable| variable.strip_prefix(b"HOME=").or(variable.strip_prefix(b"TMPDIR=")));
    values.any(|value| ours(Path::new(OsStr::from_bytes(value))))
}
