//! `run` on a real terminal: a pseudo-terminal whose other end is read by an emulator of one.

use std::{
    fs,
    io::Read,
    num::NonZero,
    os::fd::OwnedFd,
    process::{Child, Stdio},
    sync::mpsc,
    time::{Duration, Instant},
};

use rustix::{
    pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt},
    termios::{Winsize, tcsetwinsize},
};

use crate::space::Space;

/// The terminal's end that a user looks at.
struct Terminal {
    master: fs::File,
    output: mpsc::Receiver<Vec<u8>>,
    emulator: vt100::Parser,
    raw: Vec<u8>,
}

impl Terminal {
    /// Opens one, and starts the binary with standard error on it.
    fn start(space: &Space, args: &[&str], variables: &[(&str, &str)], columns: u16, rows: u16) -> (Self, Child) {
        Self::open(space, args, variables, (columns, rows), false)
    }

    /// The same with standard output on it too.
    fn whole(space: &Space, args: &[&str]) -> (Self, Child) {
        Self::open(space, args, &[("TERM", "xterm")], (100, 24), true)
    }

    fn open(
        space: &Space,
        args: &[&str],
        variables: &[(&str, &str)],
        (columns, rows): (u16, u16),
        with_stdout: bool,
    ) -> (Self, Child) {
        let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        grantpt(&master).unwrap();
        unlockpt(&master).unwrap();
        let name = ptsname(&master, Vec::new()).unwrap().into_string().unwrap();
        let slave: OwnedFd = fs::File::options().read(true).write(true).open(name).unwrap().into();
        let master = fs::File::from(master);
        let mut reader = master.try_clone().unwrap();
        let (sender, output) = mpsc::channel();
        let mut terminal = Self { master, output, emulator: vt100::Parser::new(size(rows), size(columns), 0), raw: Vec::new() };
        terminal.resize(columns, rows);
        let mut command = space.command(args);
        let stdout = if with_stdout { Stdio::from(slave.try_clone().unwrap()) } else { Stdio::null() };
        command.envs(variables.iter().copied()).stdout(stdout).stderr(slave);
        let child = command.spawn().unwrap();
        // The last of the child's ends is closed with this, so that reading ends when the child does.
        drop(command);
        std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok(n @ 1..) = reader.read(&mut buffer) {
                if sender.send(buffer[..n].to_vec()).is_err() {
                    break;
                }
            }
        });
        (terminal, child)
    }

    fn resize(&mut self, columns: u16, rows: u16) {
        tcsetwinsize(&self.master, Winsize { ws_col: columns, ws_row: rows, ws_xpixel: 0, ws_ypixel: 0 }).unwrap();
        self.emulator.screen_mut().set_size(size(rows), size(columns));
    }

    fn rows(&self) -> Vec<String> {
        let (_, columns) = self.emulator.screen().size();
        self.emulator.screen().rows(0, columns.get()).map(|row| row.trim_end().to_owned()).collect()
    }

    /// Reads until the screen is as wanted.
    #[track_caller]
    fn until(&mut self, wanted: impl Fn(&[String]) -> bool) -> Vec<String> {
        let begun = Instant::now();
        while !wanted(&self.rows()) {
            assert!(begun.elapsed() < Duration::from_secs(120), "the screen stays\n{}", self.rows().join("\n"));
            if let Ok(bytes) = self.output.recv_timeout(Duration::from_millis(100)) {
                self.emulator.process(&bytes);
                self.raw.extend(bytes);
            }
        }
        self.rows()
    }

    /// Reads all there is to come.
    fn rest(&mut self) -> Vec<String> {
        while let Ok(bytes) = self.output.recv() {
            self.emulator.process(&bytes);
            self.raw.extend(bytes);
        }
        self.rows()
    }
}

fn size(n: u16) -> NonZero<u16> {
    NonZero::new(n).unwrap()
}

const MANY: usize = 200;

fn many() -> Space {
    let seeds: Vec<String> = (1..=MANY).map(|seed| seed.to_string()).collect();
    let seeds = seeds.join(", ");
    Space::with(&format!(
        "talkflow: 1\nname: many\nstages:\n  ratings:\n    matrix: {{ seed: [{seeds}] }}\n    resources: {{ cores: 1 }}\n    dataset: {{ name: \
         movielens/synthetic, users: 60, items: 80, ratings: 900, seed: \"${{matrix.seed}}\" }}\n"
    ))
}

/// Holds the leases of all stages, as another process that makes them would.
fn hold(space: &Space) -> Vec<fs::File> {
    let plan = space.run(&["plan", "m.yaml", "--format", "json"]).ok().json();
    let keys = plan["stages"].as_array().unwrap().iter().map(|stage| stage["key"].as_str().unwrap().to_owned());
    let lock = |key: String| {
        let lease = fs::File::create(space.path(&format!(".talkflow/leases/{key}"))).unwrap();
        lease.lock().unwrap();
        lease
    };
    keys.map(lock).collect()
}

#[test]
fn two_hundred_stages_fit_any_screen_while_it_is_resized() {
    let space = many();
    let leases = hold(&space);
    assert_eq!(leases.len(), MANY);
    let (mut terminal, mut child) =
        Terminal::start(&space, &["run", "m.yaml", "-j", "200", "--offline"], &[("TERM", "xterm")], 80, 24);
    let shows = |rows: &[String], text: &str| rows.iter().any(|row| row.contains(text));
    for (columns, rows) in [(80, 24), (20, 10), (60, 40), (120, 7), (80, 24)] {
        terminal.resize(columns, rows);
        let more = format!("... and {} more", MANY - (usize::from(rows) - 3));
        let screen = terminal.until(|screen| shows(screen, &more) && shows(screen, "0/200 done"));
        let bars = screen.iter().filter(|row| row.contains("s rat")).count();
        assert_eq!(bars, usize::from(rows) - 3, "{columns} by {rows}:\n{}", screen.join("\n"));
        // One total, one line for the rest, and nothing that is left of another size.
        assert_eq!(screen.iter().filter(|row| row.contains(" done")).count(), 1, "{}", screen.join("\n"));
        assert_eq!(screen.iter().filter(|row| row.contains("... and")).count(), 1, "{}", screen.join("\n"));
        if columns >= 60 {
            assert!(shows(&screen, "0/200 done, 200 running") && shows(&screen, "ratings[seed=1] "), "{}", screen.join("\n"));
        }
    }
    drop(leases);
    let screen = terminal.rest();
    assert!(child.wait().unwrap().success());
    assert!(shows(&screen, "200 ran, 0 cached in "), "{}", screen.join("\n"));
    assert!(!shows(&screen, "done") && !shows(&screen, "more"), "bars are left:\n{}", screen.join("\n"));
    // Each stage's line went by, whole.
    let ended = screen.iter().filter(|row| row.contains("ratings[seed=") && row.ends_with("(first run)")).count();
    assert!(ended >= 20, "{}", screen.join("\n"));
    space.nothing_to_do(&[]);
}

#[test]
fn colours_and_what_is_left_come_by_what_stages_took_before_unless_colours_are_not_wanted() {
    let space = many();
    let one = ["run", "m.yaml", "ratings[seed=1]", "--offline"];
    space.run(&one).ok();
    // Another key of the same instance, held by somebody else.
    space.write("m.yaml", &space.read("m.yaml").replace("users: 60", "users: 61"));
    for (variables, coloured) in [(&[("TERM", "xterm")][..], true), (&[("TERM", "xterm"), ("NO_COLOR", "1")], false)] {
        let lease = hold(&space);
        let (mut terminal, mut child) = Terminal::start(&space, &one, variables, 100, 24);
        terminal.until(|screen| screen.iter().any(|row| row.contains("s left  another process is making this")));
        terminal.until(|screen| screen.iter().any(|row| row.contains("0/1 done, 1 running, about 0s left")));
        drop(lease);
        terminal.rest();
        assert!(child.wait().unwrap().success());
        let raw = String::from_utf8_lossy(&terminal.raw);
        assert!(raw.contains("\x1b[?2026h") && raw.contains("\x1b[36m[") == coloured, "{raw}");
        space.write("m.yaml", &space.read("m.yaml").replace("users: 61", "users: 62"));
    }
}

#[test]
fn what_cannot_move_its_cursor_gets_plain_lines() {
    let space = many();
    let run = ["run", "m.yaml", "ratings[seed=1]", "--offline"];
    for variables in [&[("TERM", "dumb")][..], &[]] {
        let (mut terminal, mut child) = Terminal::start(&space, &run, variables, 80, 24);
        let screen = terminal.rest();
        assert!(child.wait().unwrap().success());
        assert!(screen.iter().any(|row| row.contains("ratings[seed=1]")), "{}", screen.join("\n"));
        assert!(!terminal.raw.contains(&0x1b), "{}", String::from_utf8_lossy(&terminal.raw));
    }
    let piped = space.command(&run).env("TERM", "xterm").output().unwrap();
    assert!(piped.status.success() && !piped.stderr.contains(&0x1b), "{}", String::from_utf8_lossy(&piped.stderr));
}

#[test]
fn what_a_program_prints_is_shown_and_not_obeyed() {
    let space = Space::with(
        "talkflow: 1\nname: c\nstages:\n  good:\n    command: { run: \"sh print.sh; echo 1 > out\", files: [print.sh], outputs: [out] }\n  \
         bad:\n    command: { run: \"sh print.sh; exit 3\", files: [print.sh] }\n  worse:\n    command: { run: \"sh print.sh; exit 4\", files: [print.sh] }\n",
    );
    // Renames the window, clears the screen, goes to its corner, turns the direction of writing.
    let printed = "before\x1b]0;owned\x07\x1b[2J\x1b[H\u{9b}2J\u{202e}after\u{e9}\r\n";
    space.write("print.sh", &format!("cat <<'END'\n{printed}END\nsleep 0.5\n"));
    let (mut terminal, mut child) = Terminal::whole(&space, &["run", "m.yaml", "--keep-going"]);
    terminal.rest();
    assert_eq!(child.wait().unwrap().code(), Some(1));
    let raw = String::from_utf8(terminal.raw).unwrap();
    assert!(raw.contains("exit code 3") && raw.contains("2 stages failed") && raw.matches("after\u{e9}").count() >= 2, "{raw}");
    for obeyed in ["\x1b]", "\x07", "\x1b[2J", "\u{9b}", "\u{202e}"] {
        assert!(!raw.contains(obeyed), "{obeyed:?} in {raw:?}");
    }
    for args in [&["logs", "good"][..], &["logs", "-f", "good"], &["logs", "bad"], &["logs", "-f", "bad"]] {
        let (mut terminal, mut child) = Terminal::whole(&space, args);
        terminal.rest();
        assert!(child.wait().unwrap().success());
        let raw = String::from_utf8(terminal.raw).unwrap();
        let shown = "before\\u{1b}]0;owned\\u{7}\\u{1b}[2J\\u{1b}[H\\u{9b}2J\\u{202e}after\u{e9}\r\n";
        assert!(raw.starts_with(shown) && !raw.contains('\x1b'), "{args:?}: {raw:?}");
        // A file or a program gets what was printed.
        assert!(space.run(args).ok().stdout.starts_with(printed), "{args:?}");
    }
    // Data that is printed is no less strange.
    space.write("m.yaml", &crate::space::small("bias_only: bias_only"));
    space.document(&["teacher"]);
    space.write("pairs.csv", "user,item\n\x1b[2J,1\n");
    let predict = ["predict", "teacher", "--input", "pairs.csv"];
    let (mut terminal, mut child) = Terminal::whole(&space, &predict);
    terminal.rest();
    assert!(child.wait().unwrap().success() && !terminal.raw.contains(&0x1b), "{:?}", String::from_utf8_lossy(&terminal.raw));
    assert!(space.run(&predict).ok().stdout.contains("\n\x1b[2J,1,"));
}

#[test]
fn of_a_sweep_the_screen_says_how_its_points_stand_and_what_is_left() {
    let space = Space::with(
        "talkflow: 1\nparams: { seed: 1 }\nsweep: { seeds: 3 }\nstages:\n  a:\n    command: { run: 'sleep 1; echo \"$SEED\" > f', outputs: [f], \
         env: { SEED: \"${seed}\" } }\n",
    );
    let (mut terminal, mut child) = Terminal::start(&space, &["sweep", "m.yaml", "-j", "1"], &[("TERM", "xterm")], 100, 24);
    terminal.until(|rows| rows.iter().any(|row| row.contains("s left; points: 1 done, 0 cached, 2 left")));
    let rows = terminal.rest();
    assert!(child.wait().unwrap().success());
    assert!(rows.iter().any(|row| row.contains("point  seed=2  (2 of 3 there; 1 left, about ")), "{rows:#?}");
    assert!(rows.iter().any(|row| row == "points: 3 done, 0 cached, 0 left"), "{rows:#?}");
}
