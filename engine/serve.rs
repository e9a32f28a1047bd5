//! The page of a run over HTTP, live while the run goes on: `http` reads requests, `routes` says what there is to ask for, `events` passes a
//! run's journal on as it grows. Nothing can be changed through it, and nobody but this machine can ask unless an address says so.
//!
//! A page shows what stages printed and which parameters they had, so it is not for everybody:
//!
//! - it listens on the loopback address unless another is asked for;
//! - it answers only requests that name it by an IP address, by `localhost`, or by the name it was told: a page of somebody else's whose own
//!   name leads here (DNS rebinding) is refused;
//! - it reads no path of a request as one of the disk: a run is one of the names in the store, or unknown;
//! - what it sends may only run the scripts of this page, and only talk to where it came from.

mod events;
mod http;
mod routes;

use std::{
    net::{SocketAddr, TcpListener, TcpStream, ToSocketAddrs},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use serde_json::{Value, json};

use crate::{
    artifact::Digest,
    history::{self, Run},
    report::page::{
        Page, PageError,
        html::{Live, html, policy},
    },
    stage::Cancel,
    store::{Store, StoreError},
};
use http::{Answer, Request};
use routes::Route;

/// How often the wait for requests looks for a signal.
const SLICE: Timespec = Timespec { tv_sec: 0, tv_nsec: 100_000_000 };
/// How long open connections have at the end.
const GRACE: Duration = Duration::from_secs(2);
/// More clients than this at once are told to come again.
const MOST_CLIENTS: usize = 200;

/// What is served.
#[derive(Debug)]
pub struct Site {
    /// Where runs and results are.
    pub store: Store,
    /// Only runs of this manifest are followed.
    pub manifest: Option<String>,
    /// Only this run is shown at `/`.
    pub run: Option<String>,
    /// The name it may be called by, beside addresses and `localhost`.
    pub host: String,
    /// The last documents that were asked for, by run: what the run's folder was like then, and the document.
    kept: Mutex<Vec<(String, String, Arc<Document>)>>,
    clients: AtomicUsize,
}

/// So many documents are kept.
const KEPT: usize = 4;

/// The document of a run.
#[derive(Debug)]
struct Document {
    title: String,
    value: Value,
    /// As bytes, with a name for them.
    json: Vec<u8>,
    tag: String,
    /// How much of the journal it has seen.
    seen: u64,
}

/// A socket to listen on.
///
/// # Errors
/// Where the address is none, or is taken.
pub fn listen(host: &str, port: u16) -> std::io::Result<TcpListener> {
    let addresses: Vec<SocketAddr> = (host, port).to_socket_addrs()?.collect();
    TcpListener::bind(&addresses[..])
}

/// Whether only this machine can reach an address.
pub fn is_loopback(address: &SocketAddr) -> bool {
    address.ip().is_loopback()
}

impl Site {
    /// What is served: the last run of a manifest, or of all, or always the same.
    pub fn new(store: Store, manifest: Option<String>, run: Option<String>, host: String) -> Self {
        Self { store, manifest, run, host, kept: Mutex::new(Vec::new()), clients: AtomicUsize::new(0) }
    }

    /// Answers until a signal comes.
    ///
    /// # Errors
    /// Where requests cannot be waited for.
    pub fn serve(self: &Arc<Self>, listener: &TcpListener, cancel: &Cancel) -> std::io::Result<()> {
        // Who has gone between the wait and this is no reason to wait for the next one.
        listener.set_nonblocking(true)?;
        while cancel.signal().is_none() {
            match poll(&mut [PollFd::new(listener, PollFlags::IN)], Some(&SLICE)) {
                Ok(0) | Err(rustix::io::Errno::INTR) => continue,
                Ok(_) => {}
                Err(error) => return Err(error.into()),
            }
            let Ok((stream, _)) = listener.accept() else { continue };
            self.take(stream, cancel);
        }
        let end = Instant::now() + GRACE;
        while self.clients.load(Ordering::Relaxed) > 0 && Instant::now() < end {
            std::thread::sleep(Duration::from_millis(10));
        }
        Ok(())
    }

    /// Answers one client on a thread of its own. That a client has gone is no failure.
    fn take(self: &Arc<Self>, mut stream: TcpStream, cancel: &Cancel) {
        let (site, cancel) = (Arc::clone(self), cancel.clone());
        let busy = site.clients.fetch_add(1, Ordering::Relaxed) >= MOST_CLIENTS;
        let work = move || {
            let _ = match (stream.set_nonblocking(false).and_then(|()| Request::read(&mut stream)), busy) {
                (Err(error), _) => Err(error),
                (Ok(_), true) => {
                    let busy = plain(503, "too many clients: come again in a few seconds\n");
                    busy.with("Retry-After", "5".to_owned()).send(&mut stream, true)
                }
                (Ok(Err(refused)), false) => refused.send(&mut stream, true),
                (Ok(Ok(request)), false) => site.answer(&request, &mut stream, &cancel),
            };
            site.clients.fetch_sub(1, Ordering::Relaxed);
        };
        // Where no thread is to be had, the client is cut off.
        if std::thread::Builder::new().spawn(work).is_err() {
            self.clients.fetch_sub(1, Ordering::Relaxed);
        }
    }

    fn answer(&self, request: &Request, stream: &mut TcpStream, cancel: &Cancel) -> std::io::Result<()> {
        let whole = request.method != "HEAD";
        if let Some(refused) = self.refuse(request) {
            return refused.send(stream, whole);
        }
        let found = match Route::of(&request.target) {
            Route::Events(name, from) => match self.known(name) {
                Ok(Some(run)) => {
                    // Who was cut off says where it was.
                    let last = request.header("Last-Event-ID").and_then(|last| last.parse().ok());
                    let head = answer(200, "text/event-stream", Vec::new());
                    return if whole {
                        events::send(self, &run, last.unwrap_or(from), &head, stream, cancel)
                    } else {
                        head.send(stream, false)
                    };
                }
                Ok(None) => unknown(),
                Err(error) => failed(&error),
            },
            route => self.find(&route, request.header("If-None-Match")).unwrap_or_else(|error| failed(&error)),
        };
        found.send(stream, whole)
    }

    /// Whoever may not ask is told so.
    fn refuse(&self, request: &Request) -> Option<Answer> {
        if !["GET", "HEAD"].contains(&request.method.as_str()) {
            return Some(plain(405, "only GET and HEAD: nothing can be changed here\n").with("Allow", "GET, HEAD".to_owned()));
        }
        let mut hosts = request.headers("Host");
        let (Some(host), None) = (hosts.next(), hosts.next()) else { return Some(plain(400, "a request says one Host\n")) };
        let known = routes::is_own_name(host, &self.host);
        (!known).then(|| plain(421, "this server is not known by that name: use its address, or serve with --host NAME\n"))
    }

    /// What a path leads to.
    fn find(&self, route: &Route<'_>, tag: Option<&str>) -> Result<Answer, PageError> {
        Ok(match route {
            Route::Current => match self.current()? {
                Some(run) => self.page(&run, self.run.is_none())?,
                None => page_of(&html("talkflow", &Value::Null, Some(&Live { run: None, from: 0, follow: true }))),
            },
            Route::Run(name) => match self.known(name)? {
                Some(run) => self.page(&run, false)?,
                None => unknown(),
            },
            Route::Document(name) => match self.known(name)? {
                Some(run) => {
                    let document = self.document(&run)?;
                    let same = tag == Some(document.tag.as_str());
                    let body = if same { Vec::new() } else { document.json.clone() };
                    answer(if same { 304 } else { 200 }, "application/json", body).with("ETag", document.tag.clone())
                }
                None => unknown(),
            },
            Route::Runs => {
                let runs = self.runs()?;
                let names: Vec<Value> = runs.iter().rev().map(|run| json!(run.id)).collect();
                answer(200, "application/json", json!(names).to_string().into_bytes())
            }
            Route::Events(..) | Route::Unknown => unknown(),
        })
    }

    fn page(&self, run: &Run, follow: bool) -> Result<Answer, PageError> {
        let document = self.document(run)?;
        let live = Live { run: Some(run.id.clone()), from: document.seen, follow };
        Ok(page_of(&html(&document.title, &document.value, Some(&live))))
    }

    /// The runs that are followed, the oldest first.
    fn runs(&self) -> Result<Vec<Run>, StoreError> {
        let mut runs = history::runs(&self.store)?;
        if let Some(name) = &self.manifest {
            runs.retain(|run| run.is_of(name));
        }
        // One that is about to begin has not said yet what it is.
        runs.retain(|run| run.about().is_some());
        Ok(runs)
    }

    /// The run that is shown at `/`.
    fn current(&self) -> Result<Option<Run>, StoreError> {
        match &self.run {
            Some(name) => self.known(name),
            None => Ok(self.runs()?.pop()),
        }
    }

    /// A run by its whole name.
    fn known(&self, name: &str) -> Result<Option<Run>, StoreError> {
        Ok(history::runs(&self.store)?.into_iter().find(|run| run.id == name))
    }

    /// The document of a run, which is made once for all who ask until something happens.
    fn document(&self, run: &Run) -> Result<Arc<Document>, PageError> {
        // One at a time: the second who asks for the same gets what the first one made.
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let stamp = run.stamp();
        if let Some((.., document)) = kept.iter().find(|(id, known, _)| *id == run.id && *known == stamp) {
            return Ok(Arc::clone(document));
        }
        // What happens from here on is told once more by the events, which changes nothing.
        let seen = std::fs::metadata(run.journal()).map_or(0, |meta| meta.len());
        let page = Page::of(&self.store, run)?;
        let unwritable = |error: serde_json::Error| PageError::Unwritable(run.id.clone(), error.to_string());
        let value = serde_json::to_value(&page).map_err(unwritable)?;
        let json = serde_json::to_vec(&value).map_err(unwritable)?;
        let tag = format!("\"{}\"", Digest::of(&json).short());
        let document = Arc::new(Document { title: page.title, value, json, tag, seen });
        kept.retain(|(id, ..)| *id != run.id);
        kept.push((run.id.clone(), stamp, Arc::clone(&document)));
        if kept.len() > KEPT {
            kept.remove(0);
        }
        Ok(document)
    }
}

/// Says with every answer what it is, that nobody keeps it, and what a page may do.
fn answer(status: u16, kind: &str, body: Vec<u8>) -> Answer {
    Answer::new(status, kind, body)
        .with("Cache-Control", "no-store".to_owned())
        .with("Content-Security-Policy", format!("{}; frame-ancestors 'none'", policy(true)))
        .with("Cross-Origin-Resource-Policy", "same-origin".to_owned())
        .with("Referrer-Policy", "no-referrer".to_owned())
        .with("X-Content-Type-Options", "nosniff".to_owned())
}

fn page_of(html: &str) -> Answer {
    answer(200, "text/html", html.as_bytes().to_vec())
}

fn plain(status: u16, text: &str) -> Answer {
    answer(status, "text/plain", text.as_bytes().to_vec())
}

fn unknown() -> Answer {
    plain(404, "there is no such page: / shows the last run\n")
}

fn failed(error: &dyn std::fmt::Display) -> Answer {
    plain(500, &format!("{error}\n"))
}
