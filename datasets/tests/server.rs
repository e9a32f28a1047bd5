//! An HTTP server on loopback that answers each connection as a test's script says: well, badly, or not at all.

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// What one connection gets.
#[derive(Clone, Debug)]
pub(crate) enum Answer {
    /// The file, or the part asked for.
    Serve,
    /// The whole file whatever was asked for.
    IgnoreRange,
    /// The first bytes of a correct answer, then the connection is closed.
    CutAfter(usize),
    /// The first bytes of a correct answer, then silence.
    StallAfter(usize),
    /// Silence from the beginning.
    SayNothing,
    /// A length that is not that of the file.
    LieAboutLength(usize),
    /// Chunks without an end in sight and without a length.
    Endless,
    /// A whole answer without a length, ended by closing.
    NoLength(Vec<u8>),
    /// Other contents.
    Instead(Vec<u8>),
    /// This status.
    Status(u16),
    /// A part that begins elsewhere than asked for.
    WrongRange,
    /// Not HTTP.
    Garbage,
    /// Somewhere else.
    Redirect(String),
}

/// The first line of each request, and the range it asked for.
type Requests = Mutex<Vec<(String, Option<String>)>>;

/// The server; it ends with the test's process.
pub(crate) struct Server {
    pub(crate) address: &'static str,
    requests: Arc<Requests>,
}

impl Server {
    /// Serves `file`; the answers are given out one a connection, the last of them for ever.
    pub(crate) fn start(file: &[u8], answers: &[Answer]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = format!("http://{}/data.zip", listener.local_addr().unwrap());
        let requests = Arc::new(Mutex::new(Vec::new()));
        let (file, answers, seen) = (file.to_vec(), answers.to_vec(), Arc::clone(&requests));
        std::thread::spawn(move || {
            for (count, stream) in listener.incoming().enumerate() {
                let answer = answers[count.min(answers.len() - 1)].clone();
                let (file, seen) = (file.clone(), Arc::clone(&seen));
                // A client that hangs up early is what some tests are about.
                std::thread::spawn(move || {
                    let _ = serve(stream.unwrap(), &file, &answer, &seen);
                });
            }
        });
        Self { address: Box::leak(address.into_boxed_str()), requests }
    }

    pub(crate) fn requests(&self) -> usize {
        self.requests.lock().unwrap().len()
    }

    pub(crate) fn lines(&self) -> Vec<String> {
        self.requests.lock().unwrap().iter().map(|(line, _)| line.clone()).collect()
    }

    pub(crate) fn ranges(&self) -> Vec<Option<String>> {
        self.requests.lock().unwrap().iter().map(|(_, range)| range.clone()).collect()
    }
}

fn serve(mut stream: TcpStream, file: &[u8], answer: &Answer, seen: &Requests) -> std::io::Result<()> {
    let mut lines = BufReader::new(stream.try_clone()?).lines();
    let mut range;
    loop {
        let first = lines.next().transpose()?.unwrap_or_default();
        range = None;
        for line in lines.by_ref() {
            let line = line?;
            if line.is_empty() {
                break;
            }
            if let Some((name, value)) = line.split_once(": ")
                && name.eq_ignore_ascii_case("range")
            {
                range = Some(value.to_owned());
            }
        }
        let tunnel = first.starts_with("CONNECT ");
        seen.lock().unwrap().push((first, range.clone()));
        if !tunnel {
            break;
        }
        // As a proxy we are at both ends of the tunnel.
        stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n")?;
    }
    let start = range.and_then(|range| range.strip_prefix("bytes=")?.strip_suffix('-')?.parse::<usize>().ok()).unwrap_or(0);
    let head = |status: &str, length: usize| format!("HTTP/1.1 {status}\r\nContent-Length: {length}\r\nConnection: close\r\n");
    let partial = |first: usize| {
        if start == 0 {
            head("200 OK", file.len()) + "\r\n"
        } else if start >= file.len() {
            head("416 Range Not Satisfiable", 0) + "\r\n"
        } else {
            let range = format!("Content-Range: bytes {first}-{}/{}\r\n\r\n", file.len() - 1, file.len());
            head("206 Partial Content", file.len() - first) + &range
        }
    };
    let rest = &file[start.min(file.len())..];
    let mut say = |head: String, body: &[u8]| stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(body));
    match answer {
        Answer::Serve => say(partial(start), rest),
        Answer::IgnoreRange => say(head("200 OK", file.len()) + "\r\n", file),
        Answer::CutAfter(count) => say(partial(start), &rest[..*count]),
        Answer::StallAfter(count) => {
            say(partial(start), &rest[..*count])?;
            std::thread::sleep(Duration::from_secs(60));
            Ok(())
        }
        Answer::SayNothing => {
            std::thread::sleep(Duration::from_secs(60));
            Ok(())
        }
        Answer::LieAboutLength(length) => say(head("200 OK", *length) + "\r\n", file),
        Answer::Endless => {
            say("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n".to_owned(), b"")?;
            loop {
                say("400\r\n".to_owned(), &[0; 1024])?;
                say("\r\n".to_owned(), b"")?;
            }
        }
        Answer::NoLength(body) => say("HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n".to_owned(), body),
        Answer::Instead(body) => say(head("200 OK", body.len()) + "\r\n", body),
        Answer::Status(status) => say(head(&format!("{status} As Told"), 0) + "\r\n", b""),
        Answer::WrongRange => say(partial(start.saturating_sub(1)), &file[start.saturating_sub(1)..]),
        Answer::Garbage => say("SSH-2.0-OpenSSH_9.6\r\n\r\n".to_owned(), b""),
        Answer::Redirect(to) => say(format!("HTTP/1.1 302 Found\r\nLocation: {to}\r\nContent-Length: 0\r\n\r\n"), b""),
    }
}
