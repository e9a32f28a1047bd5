//! A program as a process: started, listened to, stopped with all that it started.

use std::{
    fmt, fs,
    io::{self, Read},
    os::unix::process::{CommandExt, ExitStatusExt},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::Context;
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    process::{Pid, PidfdFlags, Signal, kill_process_group, pidfd_open},
};
use wait4::Wait4;

use super::{guard, log::Log, scratch::Scratch};
use crate::{
    fields::{EnvValue, EnvVar},
    stage::{Gpu, Talk},
    store::Usage,
};

/// What is to be run.
#[derive(Clone, Debug)]
pub(super) enum Line {
    /// A text for `sh`, which ends at the first command that fails.
    Shell(String),
    /// A program and its arguments.
    Program(Vec<String>),
}

impl Line {
    fn words(&self) -> Vec<&str> {
        match self {
            Self::Shell(text) => vec!["/bin/sh", "-ec", text],
            Self::Program(words) => words.iter().map(String::as_str).collect(),
        }
    }
}

/// As a person would type it; of a long text the beginning.
impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const LONGEST: usize = 200;
        let plain = |word: &str| !word.is_empty() && word.chars().all(|c| c.is_alphanumeric() || "-_./=:,@%+".contains(c));
        let quoted = |word: &String| if plain(word) { word.clone() } else { format!("'{}'", word.replace('\'', r"'\''")) };
        let text = match self {
            Self::Shell(text) => text.trim().replace('\n', "; "),
            Self::Program(words) => words.iter().map(quoted).collect::<Vec<_>>().join(" "),
        };
        let shown: String = text.chars().take(LONGEST).collect();
        write!(f, "{shown}{}", if shown.len() < text.len() { " ..." } else { "" })
    }
}

/// How a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// With an exit code.
    Exit(i32),
    /// By a signal.
    Signal(i32),
    /// It was stopped.
    Stopped,
}

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exit(code) => write!(f, "exit code {code}"),
            Self::Signal(signal) => match signal_name(*signal) {
                Some(name) => write!(f, "killed by {name}"),
                None => write!(f, "killed by signal {signal}"),
            },
            Self::Stopped => f.write_str("stopped"),
        }
    }
}

fn signal_name(signal: i32) -> Option<&'static str> {
    Some(match signal {
        1 => "SIGHUP",
        2 => "SIGINT",
        3 => "SIGQUIT",
        4 => "SIGILL",
        6 => "SIGABRT",
        7 => "SIGBUS",
        8 => "SIGFPE",
        9 => "SIGKILL (by hand, or because memory ran out)",
        11 => "SIGSEGV",
        13 => "SIGPIPE",
        14 => "SIGALRM",
        15 => "SIGTERM",
        24 => "SIGXCPU",
        25 => "SIGXFSZ",
        31 => "SIGSYS",
        _ => return None,
    })
}

/// How often the wish to stop is looked for while nothing happens.
const BEAT: Duration = Duration::from_millis(50);
/// The same as poll wants it.
const HEARTBEAT: Timespec = Timespec { tv_sec: 0, tv_nsec: 50_000_000 };
/// How long a process that was asked to end may take.
const GRACE: Duration = Duration::from_secs(5);

/// What its environment holds beside `PATH` and folders of its own.
#[derive(Clone, Copy, Debug)]
pub(super) struct Given<'a> {
    /// What the manifest passes through or sets.
    pub env: &'a [EnvVar],
    /// The GPUs it may see; none where it was given none.
    pub gpus: &'a [Gpu],
}

/// Runs it to its end. Nothing that it started in its process group is left then.
pub(super) fn run(
    line: &Line,
    scratch: &Scratch,
    given: &Given<'_>,
    log: &mut Log<'_>,
    talk: &Talk<'_>,
    usage: &mut Usage,
) -> anyhow::Result<End> {
    let words = line.words();
    let (program, arguments) = words.split_first().context("there is no program to run")?;
    let (mut output, into) = io::pipe().context("cannot make a pipe")?;
    let mut command = Command::new(program);
    command.args(arguments).current_dir(scratch.work()).process_group(0).env_clear();
    if let Some(path) = std::env::var_os("PATH") {
        command.env("PATH", path);
    }
    command.env("HOME", scratch.root()).env("TMPDIR", scratch.root());
    let gpus: Vec<&str> = given.gpus.iter().map(|gpu| gpu.name.as_str()).collect();
    command.env("CUDA_VISIBLE_DEVICES", gpus.join(","));
    for variable in given.env {
        match &variable.value {
            EnvValue::Unset => {}
            EnvValue::Clear(value) | EnvValue::Secret(value) => drop(command.env(&variable.name, value)),
        }
    }
    command.stdin(Stdio::null()).stdout(into.try_clone()?).stderr(into);
    let child = command.spawn().with_context(|| match program.contains('/') {
        true => format!("cannot start `{program}`"),
        false => format!("cannot start `{program}`, which is looked for in PATH"),
    })?;
    // The ends that the program writes into are its own now; while we held one, its output would not end.
    drop(command);
    // Its record of memory began with ours, since it was started from here.
    let inherited = most_memory("self").unwrap_or(0);
    let mut process = Process { pid: Pid::from_child(&child), child: Some(child), seen: None };
    let end = process.listen(&mut output, log, talk);
    process.end_all();
    if !matches!(end, Ok(false)) {
        // Of one that was stopped, also what left its group.
        guard::kill_in(|folder| folder.starts_with(scratch.root()))?;
    }
    let end = end.and_then(|stopped| {
        // What was printed and not read yet; whoever left the group may keep the pipe open, and is not waited for.
        let mut buffer = vec![0; PIECE];
        while ready(&output, &Timespec::default())? {
            match output.read(&mut buffer)? {
                0 => break,
                count => log.take(&buffer[..count])?,
            }
        }
        Ok(stopped)
    });
    let used = process.reap()?;
    let record = Some(used.rusage.maxrss).filter(|record| *record > inherited);
    *usage =
        Usage { cpu_seconds: Some((used.rusage.utime + used.rusage.stime).as_secs_f64()), peak_memory: record.or(process.seen) };
    match (end?, used.status.signal()) {
        (true, _) => Ok(End::Stopped),
        (false, Some(signal)) => Ok(End::Signal(signal)),
        (false, None) => Ok(End::Exit(used.status.code().unwrap_or(-1))),
    }
}

const PIECE: usize = 64 << 10;

/// A process that leads a group.
struct Process {
    pid: Pid,
    /// Until it is reaped; so long no other group can have its number.
    child: Option<Child>,
    /// The most memory, in bytes, that it or a process it started was seen to have.
    seen: Option<u64>,
}

impl Process {
    /// Reads what it prints until it has ended; whether it was stopped.
    fn listen(&mut self, output: &mut io::PipeReader, log: &mut Log<'_>, talk: &Talk<'_>) -> io::Result<bool> {
        let ended = pidfd_open(self.pid, PidfdFlags::empty())?;
        let mut buffer = vec![0; PIECE];
        let (mut open, mut alive) = (true, true);
        let mut stopped: Option<Instant> = None;
        let mut look = Instant::now();
        loop {
            if alive && Instant::now() >= look {
                self.look_at_memory();
                look = Instant::now() + BEAT;
            }
            let (readable, over) = {
                let mut fds = Vec::with_capacity(2);
                fds.extend(alive.then(|| PollFd::new(&ended, PollFlags::IN)));
                fds.extend(open.then(|| PollFd::new(&*output, PollFlags::IN)));
                wait(&mut fds, &HEARTBEAT)?;
                let any = |fd: &PollFd<'_>| !fd.revents().is_empty();
                (open && fds.last().is_some_and(any), alive && fds.first().is_some_and(any))
            };
            alive &= !over;
            if readable {
                match output.read(&mut buffer)? {
                    0 => open = false,
                    count => log.take(&buffer[..count])?,
                }
            }
            // One that was asked to end is waited for with all that still prints for it.
            let due = stopped.is_some_and(|when| Instant::now() >= when);
            if !alive && (stopped.is_none() || !open || due) {
                return Ok(stopped.is_some());
            }
            if due {
                self.signal(Signal::KILL);
            }
            if stopped.is_none() && talk.cancelled() {
                self.signal(Signal::TERM);
                stopped = Some(Instant::now() + GRACE);
            }
        }
    }

    /// Looks at what it and the processes it started have had.
    fn look_at_memory(&mut self) {
        let mut left = vec![self.pid.as_raw_nonzero().to_string()];
        while let Some(process) = left.pop() {
            self.seen = self.seen.max(most_memory(&process));
            let children = fs::read_to_string(format!("/proc/{process}/task/{process}/children")).unwrap_or_default();
            left.extend(children.split_whitespace().map(str::to_owned));
        }
    }

    /// To all of its group.
    fn signal(&self, signal: Signal) {
        if self.child.is_some() {
            // There may be nobody left to hear it.
            let _ = kill_process_group(self.pid, signal);
        }
    }

    fn end_all(&self) {
        self.signal(Signal::KILL);
    }

    fn reap(&mut self) -> io::Result<wait4::ResUse> {
        let child = self.child.take().ok_or(io::ErrorKind::NotFound)?;
        child.wait4()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.end_all();
        let _ = self.reap();
    }
}

/// The most memory, in bytes, that a process has had since it began its program; nothing where the system does not say.
fn most_memory(process: &str) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.trim().trim_end_matches("kB").trim().parse::<u64>().ok().map(|kib| kib * 1024)
}

fn wait(fds: &mut [PollFd<'_>], limit: &Timespec) -> io::Result<usize> {
    match poll(fds, Some(limit)) {
        Err(rustix::io::Errno::INTR) => Ok(0),
        other => Ok(other?),
    }
}

fn ready(output: &io::PipeReader, limit: &Timespec) -> io::Result<bool> {
    let mut fds = [PollFd::new(output, PollFlags::IN)];
    Ok(wait(&mut fds, limit)? > 0)
}
