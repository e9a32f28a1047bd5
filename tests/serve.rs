//! `talkflow serve` over loopback, as a browser asks it, and as one that means no good.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::TcpStream,
    process::{Child, Command, Stdio},
    time::Duration,
};

use crate::space::Space;

const ONE: &str = "talkflow: 1\nname: m\nstages:\n  a:\n    command: { run: 'echo secret-free; true' }\n";

/// A server that ends with the test.
struct Served {
    child: Child,
    address: String,
    run: String,
}

impl Served {
    fn of(space: &Space, args: &[&str]) -> Self {
        let all = [&["serve", "--port", "0"], args].concat();
        let mut child = space.command(&all).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let address = line
            .trim()
            .strip_prefix("http://")
            .and_then(|rest| rest.strip_suffix('/'))
            .unwrap_or_else(|| panic!("{line}"))
            .to_owned();
        let runs = space.path(".talkflow/runs");
        let mut runs: Vec<String> =
            std::fs::read_dir(runs).unwrap().map(|run| run.unwrap().file_name().into_string().unwrap()).collect();
        runs.sort();
        Self { child, address, run: runs.pop().unwrap_or_default() }
    }

    /// Sends bytes and reads the whole answer.
    fn raw(&self, request: &str) -> String {
        let mut stream = TcpStream::connect(&self.address).unwrap();
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).unwrap();
        String::from_utf8_lossy(&answer).into_owned()
    }

    fn ask(&self, method: &str, path: &str, host: &str) -> String {
        self.raw(&format!("{method} {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n"))
    }

    fn get(&self, path: &str) -> String {
        self.ask("GET", path, &self.address)
    }

    fn signal(&mut self, signal: &str) -> Option<i32> {
        assert!(Command::new("kill").args([signal, &self.child.id().to_string()]).status().unwrap().success());
        self.child.wait().unwrap().code()
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn status(answer: &str) -> &str {
    answer.split(' ').nth(1).unwrap_or(answer)
}

fn ran() -> Space {
    let space = Space::with(ONE);
    space.run(&["run", "m.yaml"]).ok();
    space
}

#[test]
fn the_page_its_document_and_nothing_else_is_there() {
    let space = ran();
    let served = Served::of(&space, &[]);
    assert!(served.address.starts_with("127.0.0.1:"));
    let page = served.get("/");
    assert_eq!(status(&page), "200");
    for header in [
        "Content-Security-Policy: default-src 'none'; script-src 'sha256-",
        "X-Content-Type-Options: nosniff",
        "frame-ancestors 'none'",
        "text/html; charset=utf-8",
    ] {
        assert!(page.contains(header), "{header}: {}", &page[..900]);
    }
    assert!(page.contains(&format!(r#"{{"run":"{}","from":"#, served.run)) && page.contains("\"follow\":true"));
    let own = format!("/run/{}", served.run);
    assert_eq!(status(&served.get(&own)), "200");
    let document = served.get(&format!("{own}/page.json"));
    assert!(document.contains("secret-free") && document.contains("\"outcome\":\"done\""), "{document}");
    let tag = document.lines().find_map(|line| line.strip_prefix("ETag: ")).unwrap();
    let again = served.raw(&format!(
        "GET {own}/page.json HTTP/1.1\r\nHost: {}\r\nIf-None-Match: {tag}\r\nConnection: close\r\n\r\n",
        served.address
    ));
    assert_eq!(status(&again), "304");
    assert!(served.get("/runs.json").ends_with(&format!("[\"{}\"]", served.run)));
    // A head without a body.
    let head = served.ask("HEAD", "/", &served.address);
    assert_eq!((status(&head), head.contains("<html")), ("200", false));
    for path in [
        "/run/../../../etc/passwd",
        "/run/%2e%2e/%2e%2e/m.yaml",
        "/../m.yaml",
        "/run/lost",
        "/run/..",
        "/run//events",
        "/.talkflow/format",
        "/page.css",
        "//",
    ] {
        assert_eq!(status(&served.get(path)), "404", "{path}");
    }
}

#[test]
fn nothing_can_be_changed_and_names_of_others_are_refused() {
    let space = ran();
    let before = space.results();
    let served = Served::of(&space, &[]);
    for method in ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "CONNECT"] {
        let answer = served.ask(method, "/", &served.address);
        assert_eq!(status(&answer), "405", "{method}");
        assert!(answer.contains("Allow: GET, HEAD"));
    }
    for host in ["elsewhere.example", "127.0.0.1.elsewhere.example", "elsewhere.example:80"] {
        for path in ["/", "/runs.json", &format!("/run/{}/events", served.run)] {
            assert_eq!(status(&served.ask("GET", path, host)), "421", "{host}{path}");
        }
    }
    assert_eq!(status(&served.ask("GET", "/", "localhost:1")), "200");
    assert_eq!(status(&served.raw("GET / HTTP/1.1\r\nConnection: close\r\n\r\n")), "400");
    assert_eq!(
        status(&served.raw("GET / HTTP/1.1\r\nHost: localhost\r\nHost: elsewhere.example\r\nConnection: close\r\n\r\n")),
        "400"
    );
    // What is no HTTP at all harms nobody else.
    drop(TcpStream::connect(&served.address).unwrap().write_all(b"\x16\x03\x01\x00\xff\xff\0\0"));
    assert_eq!(status(&served.get("/")), "200");
    assert_eq!(before, space.results());
}

/// The lines of a stream of events until one holds a text.
fn until(stream: &mut impl BufRead, text: &str) -> Vec<String> {
    let mut lines = Vec::new();
    loop {
        let mut line = String::new();
        assert!(stream.read_line(&mut line).unwrap() > 0, "`{text}` did not come: {lines:#?}");
        let found = line.contains(text);
        lines.push(line);
        if found {
            return lines;
        }
    }
}

fn events(served: &Served, path: &str, headers: &str) -> BufReader<TcpStream> {
    let mut stream = TcpStream::connect(&served.address).unwrap();
    // Fails the test where nothing comes, however slow the machine is.
    stream.set_read_timeout(Some(Duration::from_secs(120))).unwrap();
    stream.write_all(format!("GET {path} HTTP/1.1\r\nHost: {}\r\n{headers}\r\n", served.address).as_bytes()).unwrap();
    BufReader::new(stream)
}

#[test]
fn events_come_as_they_happen_to_all_who_listen() {
    // The stage waits for a file, so the run goes on until the test says so.
    let space = Space::with(
        "talkflow: 1\nname: m\nstages:\n  a:\n    command: { run: 'until [ -e \"$GO\" ]; do sleep 0.1; done', env: { GO: \"${env.GO}\" } }\n  b:\n    command: { run: 'true', inputs: { a: a } }\n",
    );
    space.write("done.yaml", ONE);
    space.run(&["run", "done.yaml"]).ok();
    let served = Served::of(&space, &[]);
    let mut first = events(&served, &format!("/run/{}/events", served.run), "");
    let told = until(&mut first, "event: end");
    assert!(
        told.iter().any(|line| line.starts_with("data: {\"at\":") && line.contains("\"event\":\"run_finished\"")),
        "{told:#?}"
    );
    let id: Vec<&str> = told.iter().filter_map(|line| line.strip_prefix("id: ")).collect();
    let mut run = space
        .command(&["run", "m.yaml"])
        .env("GO", space.path("go"))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    // Whoever looks at the old run hears of the new one.
    let newer = until(&mut first, "event: newer");
    assert!(!newer.iter().any(|line| line.starts_with("data: {")), "{newer:#?}");
    let mut name = String::new();
    first.read_line(&mut name).unwrap();
    let now = format!("/run/{}/events", name.trim().strip_prefix("data: ").unwrap());
    let mut many: Vec<_> = (0..20).map(|_| events(&served, &now, "")).collect();
    for stream in &mut many {
        until(stream, "\"event\":\"started\"");
    }
    space.write("go", "");
    for stream in &mut many {
        let told = until(stream, "event: end");
        assert_eq!(told.iter().filter(|line| line.contains("\"event\":\"finished\"")).count(), 2, "{told:#?}");
    }
    assert!(run.wait().unwrap().success());
    // Who was cut off goes on where it was.
    let mut again = events(&served, &format!("/run/{}/events", served.run), &format!("Last-Event-ID: {}\r\n", id[0].trim()));
    let told = until(&mut again, "event: end");
    assert_eq!(told.iter().filter(|line| line.starts_with("id: ")).count(), id.len() - 1, "{told:#?}");
}

#[test]
fn it_ends_when_asked_to_and_says_what_it_cannot_do() {
    let space = ran();
    for signal in ["-INT", "-TERM"] {
        let mut served = Served::of(&space, &[]);
        let _listening = events(&served, &format!("/run/{}/events", served.run), "");
        assert_eq!(served.signal(signal), Some(0), "{signal}");
    }
    let served = Served::of(&space, &[]);
    let port = served.address.rsplit(':').next().unwrap();
    space.run(&["serve", "--port", port]).code(1).says("is taken: --port names another");
    space.run(&["serve", "--run", "lost"]).code(2).says("knows no run `lost`");
    space.run(&["serve", "--host", "no such host"]).code(1).says("cannot listen on no such host:8720");
    Space::new().run(&["serve"]).code(2).says("there is no store");
    // Two at once, each with its own store, and one that follows a manifest which has not run.
    let other = ran();
    other.write("later.yaml", "talkflow: 1\nname: later\nstages:\n  a:\n    command: { run: 'true' }\n");
    let beside = Served::of(&other, &["later.yaml"]);
    assert_eq!((status(&served.get("/")), status(&beside.get("/"))), ("200", "200"));
    assert!(beside.get("/").contains(r#"{"run":null,"from":0,"follow":true}"#));
    assert!(beside.get("/runs.json").ends_with("[]"));
    other.run(&["run", "later.yaml"]).ok();
    assert!(beside.get("/").contains(r#""title":"later""#));
    // Where everybody can look, it says so.
    let mut open = other
        .command(&["serve", "--host", "0.0.0.0", "--port", "0"])
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut said = String::new();
    BufReader::new(open.stderr.take().unwrap()).read_line(&mut said).unwrap();
    assert!(said.starts_with("warning: everybody who can reach 0.0.0.0:"), "{said}");
    assert!(Command::new("kill").args(["-INT", &open.id().to_string()]).status().unwrap().success());
    open.wait().unwrap();
}
