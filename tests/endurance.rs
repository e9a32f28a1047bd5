//! SIGKILL of the whole process group at 200 random moments, over programs and trainings; after each a normal run, which has to
//! end with the bytes of an undisturbed one. Takes minutes: `cargo test --release --test endurance`.
#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "a test that cannot go on may panic, and says how far it is")]

use std::{
    os::unix::process::{CommandExt, ExitStatusExt},
    process::Stdio,
    time::{Duration, Instant},
};

#[expect(dead_code, reason = "the main tests use all of it")]
mod space;

use space::{METHODS, Space, small};

const KILLS: usize = 200;

/// Programs beside the trainings: one that writes slowly, one that reads it, one of two inputs, and one a file.
const PROGRAMS: &str = r#"  slow:
    command:
      run: |
        for n in 1 2 3 4 5 6 7 8; do echo "line $n" >> words; sleep 0.01; done
      outputs: [words]
  sorted:
    command: { run: "sort -r slow/words > sorted; cat sorted sorted > twice", inputs: { slow: slow }, outputs: [sorted, twice] }
  counted:
    command: { run: "cat slow/words sorted/twice | wc -l > count", inputs: { slow: slow, sorted: sorted }, outputs: [count] }
  each:
    matrix: { word: [one, two, three] }
    command: { run: "echo ${matrix.word} > word; cat counted/count >> word", inputs: { counted: counted }, outputs: [word] }
"#;

#[test]
fn two_hundred_kills_and_each_next_run_ends_with_the_bytes_of_an_undisturbed_one() {
    // A training that writes checkpoints all the time is killed while it does.
    let manifest = small(METHODS).replace("    pretrain:\n", "    pretrain:\n      checkpoint_seconds: 0\n") + PROGRAMS;
    let whole = Space::with(&manifest);
    let clock = Instant::now();
    whole.document(&[]);
    let length = u64::try_from(clock.elapsed().as_micros()).unwrap();
    let expected = whole.results();
    let space = Space::with(&manifest);
    let (mut killed, mut tried, mut state) = (0, 0, 0x9E37_79B9_7F4A_7C15_u64);
    while killed < KILLS {
        tried += 1;
        assert!(tried < 3 * KILLS, "only {killed} of {tried} runs were still at work when killed");
        let _ = std::fs::remove_dir_all(space.path(".talkflow"));
        // Up to three kills in a row before a run may end; they count as one.
        let mut hit = false;
        for _ in 0..1 + tried % 3 {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let mut command = space.command(&["run", "m.yaml", "--offline"]);
            let mut child = command.process_group(0).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
            std::thread::sleep(Duration::from_micros((state >> 33) % length));
            let group = rustix::process::Pid::from_child(&child);
            rustix::process::kill_process_group(group, rustix::process::Signal::KILL).unwrap();
            // One that had ended is not waited for yet: the signal went nowhere.
            hit |= child.wait().unwrap().signal() == Some(9);
        }
        killed += usize::from(hit);
        space.document(&[]);
        assert_eq!(space.results(), expected, "after {killed} kills");
        space.run(&["store", "verify"]).ok();
        space.nothing_to_do(&[]);
        if tried % 20 == 0 {
            println!("{killed} kills in {} s", clock.elapsed().as_secs());
        }
    }
    println!("{killed} kills in {} s, each with a run after it", clock.elapsed().as_secs());
}
