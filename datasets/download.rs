//! Brings one file from the network to the disk: whole, checked, or not at all.
//!
//! A download writes to `FILE.part`, goes on from there when it was cut off (HTTP range requests), compares size and checksum, and
//! renames the file into place. One process downloads a file at a time; others wait and take its result. This file knows HTTP and
//! sums, and nothing of what is downloaded.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::time::Duration;

use md5::Md5;
use sha2::{Digest, Sha256};
use ureq::http::header;

use crate::cards::Checksum;
use crate::progress::Progress;

/// How often progress is shown and a wish to stop is noticed while nothing arrives.
const TICK: Duration = Duration::from_millis(100);
/// Bytes handed over at once.
const CHUNK: usize = 1 << 16;

/// How to use the network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Network {
    /// Do not use it at all.
    pub offline: bool,
    /// How long finding the host and connecting to it may take.
    pub connect: Duration,
    /// How long nothing may arrive before the connection counts as broken.
    pub stall: Duration,
    /// How often a broken download is taken up again before giving up.
    pub retries: u32,
    /// The pause before taking it up.
    pub pause: Duration,
    /// Which proxy to use.
    pub proxy: ProxyFrom,
}

impl Default for Network {
    fn default() -> Self {
        Self {
            offline: false,
            connect: Duration::from_secs(20),
            stall: Duration::from_secs(30),
            retries: 4,
            pause: Duration::from_secs(1),
            proxy: ProxyFrom::Environment,
        }
    }
}

/// Where the proxy's address comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProxyFrom {
    /// `ALL_PROXY`, `HTTPS_PROXY`, `HTTP_PROXY` (in either case) and `NO_PROXY`.
    Environment,
    /// No proxy, whatever the environment says.
    Nowhere,
}

/// What to download.
#[derive(Clone, Copy, Debug)]
pub struct Wanted<'a> {
    /// What messages call it.
    pub name: &'a str,
    /// Where it is, tried in this order.
    pub addresses: &'a [&'a str],
    /// Its size, where known.
    pub bytes: Option<u64>,
    /// More than this is refused.
    pub limit: u64,
    /// Its sum.
    pub checksum: Checksum,
}

/// Why a file could not be fetched.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// Nobody answered: no connection, a time-out, or the network is not to be used. The only failure for which a stand-in may be used.
    #[error("cannot reach {name}: {cause}")]
    Unreachable {
        /// What was wanted.
        name: String,
        /// Each address with its failure.
        cause: String,
    },
    /// The server answered that it has no such file, or that it will not give it.
    #[error("{address}: the server answers {status}; put the file into the data folder by hand, or try later")]
    Status {
        /// The address.
        address: String,
        /// The HTTP status.
        status: u16,
    },
    /// The server answered with something that is not HTTP, or not the right host.
    #[error("{address}: {problem}")]
    Protocol {
        /// The address.
        address: String,
        /// What is wrong.
        problem: String,
    },
    /// The file is not the published one.
    #[error("{path}: wrong {algorithm}: expected {expected}, found {found}; {remedy}", path = .path.display())]
    WrongSum {
        /// The file.
        path: PathBuf,
        /// `sha256` or `md5`.
        algorithm: &'static str,
        /// The published sum.
        expected: String,
        /// The sum of the file.
        found: String,
        /// What became of the file, and what to do.
        remedy: &'static str,
    },
    /// The server offers a file of another size than the published one, or of more than the limit.
    #[error("{address}: refused: {found} bytes offered, {expected} expected")]
    WrongSize {
        /// The address.
        address: String,
        /// How many bytes there are, or a lower bound.
        found: String,
        /// How many there should be.
        expected: String,
    },
    /// The disk did not take or give a file.
    #[error("{path}: cannot {doing}: {source}", path = .path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What was being done to it.
        doing: &'static str,
        /// The system's answer.
        source: io::Error,
    },
    /// The caller asked to stop. What has arrived is kept for the next time.
    #[error("cancelled")]
    Cancelled,
}

impl FetchError {
    fn io(path: &Path, doing: &'static str) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Io { path: path.to_owned(), doing, source }
    }
}

/// Downloads `wanted` to `target`, whose folder is created; the address it came from, or `None` where another process had just brought it.
///
/// # Errors
/// [`FetchError`]. After a wrong sum or size nothing is kept; otherwise what has arrived stays as a `.part` file, from which the next try
/// goes on.
pub fn download(
    wanted: &Wanted<'_>,
    target: &Path,
    network: &Network,
    progress: &mut dyn Progress,
) -> Result<Option<String>, FetchError> {
    if network.offline {
        return Err(FetchError::Unreachable {
            name: wanted.name.to_owned(),
            cause: format!("the network is not to be used (offline) and {} is not at hand", target.display()),
        });
    }
    if let Some(folder) = target.parent() {
        std::fs::create_dir_all(folder).map_err(FetchError::io(folder, "create the folder"))?;
    }
    let _turn = wait_for_turn(wanted, target, progress)?;
    if target.is_file() {
        return Ok(None);
    }
    let mut failures = Vec::new();
    let mut last = None;
    for &address in wanted.addresses {
        match Transfer::new(wanted, address, target, network).run(progress) {
            Ok(()) => return Ok(Some(address.to_owned())),
            Err(FetchError::Unreachable { cause, .. }) => failures.push(format!("{address}: {cause}")),
            Err(error @ (FetchError::Status { .. } | FetchError::Protocol { .. } | FetchError::WrongSize { .. })) => {
                last = Some(error);
            }
            Err(error) => return Err(error),
        }
    }
    // An answer says more than silence, and forbids the stand-in.
    Err(last.unwrap_or_else(|| FetchError::Unreachable { name: wanted.name.to_owned(), cause: failures.join("; ") }))
}

/// Takes the lock of the file `target`, waiting while another process or thread has it. It is released when dropped, also by a kill.
fn wait_for_turn(wanted: &Wanted<'_>, target: &Path, progress: &mut dyn Progress) -> Result<File, FetchError> {
    let path = beside(target, "lock");
    let open = OpenOptions::new().create(true).truncate(false).write(true).open(&path);
    let lock = open.map_err(FetchError::io(&path, "create the file"))?;
    let what = format!("waiting for another process that downloads {}", wanted.name);
    loop {
        match lock.try_lock() {
            Ok(()) => return Ok(lock),
            Err(TryLockError::WouldBlock) => {
                if progress.advance(&what, 0, None).is_break() {
                    return Err(FetchError::Cancelled);
                }
                std::thread::sleep(TICK);
            }
            Err(TryLockError::Error(source)) => return Err(FetchError::io(&path, "lock the file")(source)),
        }
    }
}

/// `FILE.extension`
fn beside(target: &Path, extension: &str) -> PathBuf {
    let mut name = target.as_os_str().to_owned();
    name.push(".");
    name.push(extension);
    name.into()
}

/// What the thread that talks to the server says.
enum News {
    /// The answer has begun: contents follow from the byte `start` of the file on, whose size the server gives as `total`.
    Begin {
        start: u64,
        total: Option<u64>,
    },
    Bytes(Vec<u8>),
    /// The answer has ended as the server meant it to.
    End,
    Failed(Failure),
}

/// How talking to a server fails.
enum Failure {
    /// Worth another try: no connection, a time-out, a cut.
    Broken(String),
    /// What we have is of no use to the server: the range begins beyond its file.
    BadRange,
    Final(FetchError),
}

/// One file from one address.
struct Transfer<'a> {
    wanted: &'a Wanted<'a>,
    address: &'a str,
    target: &'a Path,
    part: PathBuf,
    network: &'a Network,
}

impl<'a> Transfer<'a> {
    fn new(wanted: &'a Wanted<'a>, address: &'a str, target: &'a Path, network: &'a Network) -> Self {
        Self { wanted, address, target, part: beside(target, "part"), network }
    }

    fn run(&self, progress: &mut dyn Progress) -> Result<(), FetchError> {
        let mut file = self.open_part()?;
        let mut resumed = self.length(&file)? > 0;
        let mut tries = 0;
        loop {
            let complete = self.wanted.bytes.is_some_and(|bytes| self.length(&file).is_ok_and(|length| length == bytes));
            let outcome = if complete { Ok(()) } else { self.receive(&mut file, progress) };
            match outcome {
                Ok(()) => {}
                Err(Failure::Final(error)) => {
                    // A file of another size begins like another file. Everything else says nothing about what we have.
                    if matches!(error, FetchError::WrongSize { .. }) {
                        self.discard()?;
                    }
                    return Err(error);
                }
                Err(Failure::BadRange) => {
                    self.restart(&mut file)?;
                    resumed = false;
                    tries += 1;
                    if tries > self.network.retries {
                        return Err(self.protocol("the server refuses every range".to_owned()));
                    }
                    continue;
                }
                Err(Failure::Broken(cause)) => {
                    tries += 1;
                    if tries > self.network.retries {
                        let kept = self.length(&file)?;
                        let cause = if kept > 0 {
                            format!("{cause} ({kept} bytes are kept; the next try goes on from there)")
                        } else {
                            cause
                        };
                        return Err(FetchError::Unreachable { name: self.wanted.name.to_owned(), cause });
                    }
                    self.rest(progress)?;
                    resumed = true;
                    continue;
                }
            }
            file.sync_all().map_err(FetchError::io(&self.part, "write the file"))?;
            match check(&self.part, self.wanted.checksum, progress) {
                // Pieces of two different files: once more, from the beginning.
                Err(FetchError::WrongSum { .. }) if resumed => {
                    self.restart(&mut file)?;
                    resumed = false;
                }
                Err(FetchError::WrongSum { algorithm, expected, found, .. }) => {
                    self.discard()?;
                    let remedy = "the file was deleted: the server sends something else than was published";
                    return Err(FetchError::WrongSum { path: self.target.to_owned(), algorithm, expected, found, remedy });
                }
                Err(error) => return Err(error),
                Ok(()) => {
                    return std::fs::rename(&self.part, self.target)
                        .map_err(FetchError::io(self.target, "put the file into place"));
                }
            }
        }
    }

    /// Asks for what is missing and appends it. The talking is done by a thread of its own, so that a silent server keeps nobody from stopping.
    fn receive(&self, file: &mut File, progress: &mut dyn Progress) -> Result<(), Failure> {
        let have = self.length(file).map_err(Failure::Final)?;
        let (sender, receiver) = sync_channel(8);
        let request = Request { address: self.address.to_owned(), have, network: self.network.clone() };
        let thread = std::thread::Builder::new().name("download".to_owned()).spawn(move || request.run(&sender));
        thread.map_err(|e| Failure::Final(FetchError::io(self.target, "start a thread for downloading")(e)))?;
        self.collect(&receiver, file, progress)
    }

    fn collect(&self, news: &Receiver<News>, file: &mut File, progress: &mut dyn Progress) -> Result<(), Failure> {
        let what = format!("downloading {}", self.wanted.name);
        let failed = |source| Failure::Final(FetchError::io(&self.part, "write the file")(source));
        let most = self.wanted.bytes.unwrap_or(self.wanted.limit);
        let mut length = self.length(file).map_err(Failure::Final)?;
        loop {
            if progress.advance(&what, length, self.wanted.bytes).is_break() {
                return Err(Failure::Final(FetchError::Cancelled));
            }
            match news.recv_timeout(TICK) {
                Ok(News::Begin { start, total }) => {
                    if let Some(total) =
                        total.filter(|&total| total > most || self.wanted.bytes.is_some_and(|bytes| bytes != total))
                    {
                        return Err(Failure::Final(self.wrong_size(total.to_string())));
                    }
                    file.set_len(start).and_then(|()| file.seek(SeekFrom::Start(start))).map_err(failed)?;
                    length = start;
                }
                Ok(News::Bytes(bytes)) => {
                    length += bytes.len() as u64;
                    if length > most {
                        return Err(Failure::Final(self.wrong_size(format!("more than {most}"))));
                    }
                    file.write_all(&bytes).map_err(failed)?;
                }
                Ok(News::End) => match self.wanted.bytes {
                    Some(bytes) if length < bytes => {
                        return Err(Failure::Broken(format!("the answer ended after {length} of {bytes} bytes")));
                    }
                    _ => return Ok(()),
                },
                Ok(News::Failed(failure)) => return Err(failure),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return Err(Failure::Broken("the connection ended".to_owned())),
            }
        }
    }

    /// Pauses before another try.
    fn rest(&self, progress: &mut dyn Progress) -> Result<(), FetchError> {
        let what = format!("downloading {}: the connection broke, trying again", self.wanted.name);
        let mut left = self.network.pause;
        loop {
            if progress.advance(&what, 0, None).is_break() {
                return Err(FetchError::Cancelled);
            }
            if left.is_zero() {
                return Ok(());
            }
            let nap = left.min(TICK);
            std::thread::sleep(nap);
            left -= nap;
        }
    }

    fn open_part(&self) -> Result<File, FetchError> {
        let open = OpenOptions::new().create(true).truncate(false).read(true).write(true).open(&self.part);
        let mut file = open.map_err(FetchError::io(&self.part, "create the file"))?;
        // What is longer than the file can ever be is not the beginning of it.
        if self.length(&file)? > self.wanted.bytes.unwrap_or(self.wanted.limit) {
            self.restart(&mut file)?;
        }
        Ok(file)
    }

    fn length(&self, file: &File) -> Result<u64, FetchError> {
        file.metadata().map(|metadata| metadata.len()).map_err(FetchError::io(&self.part, "read the file's size"))
    }

    fn restart(&self, file: &mut File) -> Result<(), FetchError> {
        file.set_len(0).and_then(|()| file.rewind()).map_err(FetchError::io(&self.part, "empty the file"))
    }

    fn discard(&self) -> Result<(), FetchError> {
        std::fs::remove_file(&self.part).map_err(FetchError::io(&self.part, "delete the file"))
    }

    fn wrong_size(&self, found: String) -> FetchError {
        let expected = match self.wanted.bytes {
            Some(bytes) => bytes.to_string(),
            None => format!("at most {}", self.wanted.limit),
        };
        FetchError::WrongSize { address: self.address.to_owned(), found, expected }
    }

    fn protocol(&self, problem: String) -> FetchError {
        FetchError::Protocol { address: self.address.to_owned(), problem }
    }
}

/// One question to a server, owned by the thread that asks it.
struct Request {
    address: String,
    /// Bytes we have already.
    have: u64,
    network: Network,
}

impl Request {
    /// Tells the answer to `news`; ends early once nobody listens.
    fn run(&self, news: &SyncSender<News>) {
        let last = match self.ask(news) {
            Ok(()) => News::End,
            Err(failure) => News::Failed(failure),
        };
        // Nobody listens any more where the caller has given up.
        let _ = news.send(last);
    }

    fn ask(&self, news: &SyncSender<News>) -> Result<(), Failure> {
        let mut config = ureq::Agent::config_builder()
            .http_status_as_error(false)
            // A redirect must not lead from a protected address to an open one.
            .https_only(self.address.starts_with("https://"))
            .user_agent(concat!("talkflow/", env!("CARGO_PKG_VERSION")))
            .timeout_resolve(Some(self.network.connect))
            .timeout_connect(Some(self.network.connect))
            .timeout_recv_response(Some(self.network.stall))
            .timeout_per_read(Some(self.network.stall));
        if self.network.proxy == ProxyFrom::Nowhere {
            config = config.proxy(None);
        }
        let agent: ureq::Agent = config.build().into();
        let mut request = agent.get(&self.address);
        if self.have > 0 {
            request = request.header(header::RANGE, format!("bytes={}-", self.have));
        }
        let response = request.call().map_err(|e| self.failure(e))?;
        let start = match response.status().as_u16() {
            // The whole file, whether or not a part was asked for.
            200 => 0,
            206 => self.range_start(response.headers()).ok_or(Failure::BadRange)?,
            416 => return Err(Failure::BadRange),
            status => return Err(Failure::Final(FetchError::Status { address: self.address.clone(), status })),
        };
        let total = response.body().content_length().and_then(|length| length.checked_add(start));
        let mut body = response.into_body().into_with_config().limit(u64::MAX).reader();
        if news.send(News::Begin { start, total }).is_err() {
            return Ok(());
        }
        loop {
            let mut bytes = vec![0; CHUNK];
            let read = body.read(&mut bytes).map_err(|e| Failure::Broken(format!("the connection broke: {e}")))?;
            bytes.truncate(read);
            if read == 0 || news.send(News::Bytes(bytes)).is_err() {
                return Ok(());
            }
        }
    }

    /// Where a partial answer begins; `None` where it is not what was asked for.
    fn range_start(&self, headers: &header::HeaderMap) -> Option<u64> {
        let range = headers.get(header::CONTENT_RANGE)?.to_str().ok()?;
        let start = range.strip_prefix("bytes ")?.split('-').next()?.parse().ok()?;
        (start == self.have).then_some(start)
    }

    fn failure(&self, error: ureq::Error) -> Failure {
        use ureq::Error;
        let address = || self.address.clone();
        match error {
            Error::Timeout(_) | Error::HostNotFound | Error::ConnectionFailed | Error::ConnectProxyFailed(_) => {
                Failure::Broken(error.to_string())
            }
            // A certificate that does not fit comes as this kind: somebody answers, but not the one who was meant.
            Error::Io(error) if error.kind() == io::ErrorKind::InvalidData => {
                Failure::Final(FetchError::Protocol { address: address(), problem: error.to_string() })
            }
            Error::Io(error) => Failure::Broken(error.to_string()),
            Error::StatusCode(status) => Failure::Final(FetchError::Status { address: address(), status }),
            // An answer that is no HTTP, a redirect to an open address.
            error => Failure::Final(FetchError::Protocol { address: address(), problem: error.to_string() }),
        }
    }
}

/// Compares the sum of a file with the published one.
///
/// # Errors
/// [`FetchError::WrongSum`] with both sums; the file is left alone. [`FetchError::Io`], [`FetchError::Cancelled`].
pub fn check(path: &Path, checksum: Checksum, progress: &mut dyn Progress) -> Result<(), FetchError> {
    let found = match checksum {
        Checksum::Sha256(_) => sum::<Sha256>(path, progress)?,
        Checksum::Md5(_) => sum::<Md5>(path, progress)?,
    };
    if found == checksum.hex() {
        return Ok(());
    }
    Err(FetchError::WrongSum {
        path: path.to_owned(),
        algorithm: checksum.algorithm(),
        expected: checksum.hex().to_owned(),
        found,
        remedy: "it is not the published file: delete it, or fetch it anew",
    })
}

/// The sum of a file in hexadecimal.
fn sum<D: Digest>(path: &Path, progress: &mut dyn Progress) -> Result<String, FetchError> {
    let mut file = File::open(path).map_err(FetchError::io(path, "open the file"))?;
    let total = file.metadata().map_err(FetchError::io(path, "read the file's size"))?.len();
    let what = format!("checking {}", path.display());
    let (mut hash, mut buffer, mut done) = (D::new(), vec![0; 1 << 20], 0);
    loop {
        let read = file.read(&mut buffer).map_err(FetchError::io(path, "read the file"))?;
        if read == 0 {
            break;
        }
        hash.update(&buffer[..read]);
        done += read as u64;
        if progress.advance(&what, done, Some(total)).is_break() {
            return Err(FetchError::Cancelled);
        }
    }
    Ok(hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect())
}
