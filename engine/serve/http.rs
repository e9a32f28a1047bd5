//! As much of HTTP as a page needs: a request is read up to the end of its head, an answer is written, and the connection ends. The head is parsed
//! by `httparse`; a client that is slow, or says too much, is cut off.

use std::{
    io::{self, Read, Write},
    net::{Shutdown, TcpStream},
    time::{Duration, Instant},
};

/// A head has to come within this time, and what is sent has to be taken within it.
const PATIENCE: Duration = Duration::from_secs(10);
/// The longest head.
const LONGEST: usize = 16 << 10;
/// The most headers.
const MOST_HEADERS: usize = 64;
/// Of what comes after the head, so much is read and thrown away, so that the answer is not lost with it.
const REST: u64 = 64 << 10;

/// What a client asks.
#[derive(Debug, PartialEq, Eq)]
pub struct Request {
    /// `GET` and others.
    pub method: String,
    /// What for.
    pub target: String,
    /// Names as they came, and values that are text.
    headers: Vec<(String, String)>,
}

/// What is answered.
#[derive(Debug)]
pub struct Answer {
    status: u16,
    headers: Vec<(&'static str, String)>,
    body: Vec<u8>,
}

impl Request {
    /// Reads one. `Ok(Err)` is what a client is answered that sent none.
    ///
    /// # Errors
    /// Where the client is gone, or says nothing.
    pub fn read(stream: &mut TcpStream) -> io::Result<Result<Self, Answer>> {
        stream.set_write_timeout(Some(PATIENCE))?;
        let end = Instant::now() + PATIENCE;
        let mut head = Vec::new();
        loop {
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(io::ErrorKind::TimedOut.into());
            }
            stream.set_read_timeout(Some(left))?;
            let mut piece = [0; 4096];
            let read = stream.read(&mut piece)?;
            if read == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            head.extend_from_slice(&piece[..read]);
            match Self::parse(&head) {
                Ok(Some(request)) => return Ok(Ok(request)),
                Ok(None) if head.len() < LONGEST => {}
                Ok(None) => return Ok(Err(Answer::plain(431, "the request is too long\n"))),
                Err(answer) => return Ok(Err(answer)),
            }
        }
    }

    /// From the bytes of a head; none where they are not all of it.
    fn parse(head: &[u8]) -> Result<Option<Self>, Answer> {
        let mut headers = [httparse::EMPTY_HEADER; MOST_HEADERS];
        let mut parsed = httparse::Request::new(&mut headers);
        match parsed.parse(head) {
            Ok(httparse::Status::Partial) => return Ok(None),
            Ok(httparse::Status::Complete(_)) => {}
            Err(httparse::Error::TooManyHeaders) => return Err(Answer::plain(431, "the request has too many headers\n")),
            Err(_) => return Err(Answer::plain(400, "this is no request\n")),
        }
        // What is no text is the value of no header that is asked for here.
        let text = |header: &httparse::Header<'_>| {
            Some((header.name.to_owned(), std::str::from_utf8(header.value).ok()?.trim().to_owned()))
        };
        Ok(Some(Self {
            method: parsed.method.unwrap_or_default().to_owned(),
            target: parsed.path.unwrap_or_default().to_owned(),
            headers: parsed.headers.iter().filter_map(text).collect(),
        }))
    }

    /// The values of a header.
    pub fn headers(&self, name: &str) -> impl Iterator<Item = &str> {
        self.headers.iter().filter(move |(own, _)| own.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }

    /// The first of them.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers(name).next()
    }
}

impl Answer {
    /// An answer of some kind of content.
    pub fn new(status: u16, kind: &str, body: Vec<u8>) -> Self {
        Self { status, headers: vec![("Content-Type", format!("{kind}; charset=utf-8"))], body }
    }

    /// A sentence.
    pub fn plain(status: u16, text: &str) -> Self {
        Self::new(status, "text/plain", text.as_bytes().to_vec())
    }

    /// With one more header. Its value is ours, without line ends.
    #[must_use]
    pub fn with(mut self, name: &'static str, value: String) -> Self {
        self.headers.push((name, value));
        self
    }

    /// The head, without the empty line that ends it.
    pub fn head(&self) -> String {
        let headers = self.headers.iter().map(|(name, value)| format!("{name}: {value}\r\n"));
        format!("HTTP/1.1 {} {}\r\nConnection: close\r\n{}", self.status, reason(self.status), headers.collect::<String>())
    }

    /// Sends it, of an answer to HEAD without its body, and ends the connection.
    ///
    /// # Errors
    /// Where the client is gone.
    pub fn send(&self, stream: &mut TcpStream, whole: bool) -> io::Result<()> {
        stream.write_all(format!("{}Content-Length: {}\r\n\r\n", self.head(), self.body.len()).as_bytes())?;
        if whole {
            stream.write_all(&self.body)?;
        }
        stream.flush()?;
        stream.shutdown(Shutdown::Write)?;
        stream.set_read_timeout(Some(Duration::from_millis(200)))?;
        io::copy(&mut stream.take(REST), &mut io::sink()).map(drop)
    }
}

/// The words for the codes that are used.
fn reason(status: u16) -> &'static str {
    match status {
        200 => "OK",
        304 => "Not Modified",
        400 => "Bad Request",
        404 => "Not Found",
        405 => "Method Not Allowed",
        421 => "Misdirected Request",
        431 => "Request Header Fields Too Large",
        503 => "Service Unavailable",
        _ => "Internal Server Error",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_is_read_whole_or_refused() {
        let whole = b"GET /a?b HTTP/1.1\r\nHost: x\r\nX: \xff\r\nhost:  y \r\n\r\nrest";
        for end in 0..whole.len() - 4 {
            assert!(matches!(Request::parse(&whole[..end]), Ok(None)), "{end}");
        }
        let request = Request::parse(whole).ok().flatten().unwrap_or_else(|| panic!("it is whole"));
        assert_eq!((request.method.as_str(), request.target.as_str()), ("GET", "/a?b"));
        assert_eq!(request.headers("Host").collect::<Vec<_>>(), ["x", "y"]);
        assert_eq!(request.header("x"), None);
        let status = |head: &[u8]| Request::parse(head).map_or_else(|answer| answer.status, |_| 0);
        assert_eq!(status(b"\x16\x03\x01\0\0\0\r\n\r\n"), 400);
        assert_eq!(status(b"GET / HTTP/1.1\r\na b\r\n\r\n"), 400);
        let many = format!("GET / HTTP/1.1\r\n{}\r\n", "A: b\r\n".repeat(MOST_HEADERS + 1));
        assert_eq!(status(many.as_bytes()), 431);
    }

    #[test]
    fn every_code_has_its_words() {
        for status in [200, 304, 400, 404, 405, 421, 431, 503] {
            assert_ne!(reason(status), reason(500), "{status}");
        }
    }
}
