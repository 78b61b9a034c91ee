//! One worker: its start, its channel, its output and its end.
//!
//! What a worker says goes to the dispatcher in order, and its exit last: after everything it said and
//! wrote, so that the report of a failure has its last words.

use crate::descriptors::SoftLimit;
use crate::environment;
use crate::event::{Event, LAST_WORDS, MAX_OUTPUT_LINE, Stream};
use crate::inheritance::Inheritance;
use crate::lines::BoundedLines;
use crate::listener::Held;
use crate::memory;
use crate::notify::{Heard, NotifySocket};
use crate::probe;
use crate::shim;
use crate::spawner::Spawner;
use crate::spec::{AppSpec, FleetSpec};
use poolwright_topology::channel::{self, ChannelError, FromWorker, ToWorker};
use poolwright_topology::handover::{Exit, Readiness, WorkerEvent, WorkerId};
use rustix::process::{Pid, Signal, kill_process_group};
use std::collections::VecDeque;
use std::ffi::OsString;
use std::io;
use std::os::unix::net::UnixStream as StdUnixStream;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::process::Child;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

/// How long after a worker's exit its pipes are still read. They end with the worker unless it left a
/// child behind that holds them; nobody waits for such a child's lifetime.
const LINGER: Duration = Duration::from_millis(500);

/// What an attendant tells the dispatcher.
#[derive(Debug)]
pub(crate) enum Told {
    /// Something that may decide the slot's future.
    Happened(WorkerEvent),
    /// A line that is no message.
    BadLine(ChannelError),
    /// Lines of output that the caller has not been told of to the worker's end.
    OutputDropped(u64),
    /// What the program says it is doing.
    Status(String),
    /// The first process that is not of the worker's and spoke for it.
    Stranger(i32),
}

/// Where an attendant's news go.
#[derive(Debug, Clone)]
pub(crate) struct Ears {
    /// To the dispatcher; bounded, so that a worker that floods its channel waits.
    pub(crate) dispatcher: mpsc::Sender<(WorkerId, Told)>,
    /// To the caller; output only, and never waited for.
    pub(crate) caller: mpsc::Sender<Event>,
}

/// A running worker, as the dispatcher holds it. Dropping it kills it with what it started.
#[derive(Debug)]
pub(crate) struct Worker {
    /// Its process and process group.
    pub(crate) pid: u32,
    group: Option<Pid>,
    to_worker: mpsc::Sender<ToWorker>,
    last_words: Arc<Mutex<VecDeque<String>>>,
    /// SIGKILL was sent to it: its end by that signal is nobody else's doing.
    killed: Arc<AtomicBool>,
}

impl Worker {
    /// Starts a worker and everything that attends to it.
    ///
    /// Not cancel safe: a worker that was started is killed.
    pub(crate) async fn start(
        spawner: &Spawner,
        fleet: &FleetSpec,
        app: &AppSpec,
        worker: &WorkerId,
        held: Option<&Held>,
        ears: Ears,
    ) -> io::Result<Self> {
        let (ours, theirs) = StdUnixStream::pair()?;
        ours.set_nonblocking(true)?;
        let (from_worker, to_worker) = UnixStream::from_std(ours)?.into_split();
        let inheritance = Inheritance {
            channel: theirs.into(),
            listener: held.map(Held::hand_down).transpose()?,
        };
        let notify = (app.ready == Readiness::Notify)
            .then(|| NotifySocket::bind(&fleet.state_dir, worker))
            .transpose()?;
        let accepted = held.filter(|_| app.ready == Readiness::Accepting);
        let accepted = accepted.map(Held::inode).transpose()?;
        let mut command = command(&fleet.shim, app, spawner.soft_limit())?;
        let notified = notify.as_ref().map(NotifySocket::path);
        environment::apply(
            &mut command,
            app,
            &worker.slot,
            inheritance.listener.is_some(),
            notified,
        );
        command.stdin(inheritance.into_stdin()?);
        let before = memory::Before::now();
        let child = spawner.spawn(command).await?;
        let pid = child
            .id()
            .ok_or_else(|| io::Error::other("the process was gone at once"))?;
        let group = i32::try_from(pid).ok().and_then(Pid::from_raw);
        let last_words = Arc::new(Mutex::new(VecDeque::with_capacity(LAST_WORDS)));
        // One message in a worker's life; more room than it can take.
        let (messages, queue) = mpsc::channel(4);
        tokio::spawn(write_channel(to_worker, queue));
        let killed = Arc::new(AtomicBool::new(false));
        let attendant = Attendant {
            worker: worker.clone(),
            ears,
            dropped: AtomicU64::new(0),
            last_words: Arc::clone(&last_words),
            killed: Arc::clone(&killed),
            before,
        };
        let sign = match (app.probed_port(), accepted, notify, group) {
            (Some(port), _, _, _) => Sign::Listens { group: pid, port },
            (None, Some(inode), _, _) => Sign::Accepts { group: pid, inode },
            (None, None, Some(socket), Some(group)) => Sign::Notifies { group, socket },
            _ => Sign::Channel,
        };
        let attendant = Arc::new(attendant);
        tokio::spawn(attend(attendant, child, group, from_worker, sign));
        Ok(Self {
            pid,
            group,
            to_worker: messages,
            last_words,
            killed,
        })
    }

    /// Sends a message. One that cannot be sent belongs to a worker whose exit is on its way.
    pub(crate) fn send(&self, message: ToWorker) {
        self.to_worker.try_send(message).ok();
    }

    /// Signals the worker and the processes it started. One that is gone already is as wanted.
    pub(crate) fn signal(&self, signal: Signal) {
        if signal == Signal::KILL {
            self.killed.store(true, Ordering::Relaxed);
        }
        signal_group(self.group, signal);
    }

    /// The last lines on its standard error so far.
    pub(crate) fn last_words(&self) -> Vec<String> {
        let words = self.last_words.lock();
        words
            .unwrap_or_else(PoisonError::into_inner)
            .iter()
            .cloned()
            .collect()
    }
}

impl Drop for Worker {
    /// After the worker's exit its group is empty already, and this finds nobody.
    fn drop(&mut self) {
        self.signal(Signal::KILL);
    }
}

fn signal_group(group: Option<Pid>, signal: Signal) {
    if let Some(group) = group {
        kill_process_group(group, signal).ok();
    }
}

fn command(shim: &[OsString], app: &AppSpec, limit: SoftLimit) -> io::Result<Command> {
    let (program, args) = shim
        .split_first()
        .ok_or_else(|| io::Error::other("the shim's command line is empty"))?;
    let mut command = Command::new(program);
    command
        .args(args)
        .args(shim::leading_args(limit))
        .args(&app.command)
        .current_dir(&app.cwd)
        // A group of its own: signals reach what the worker started, and a terminal's Ctrl-C does not
        // reach the workers past the supervisor.
        .process_group(0)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    Ok(command)
}

/// By what a worker is seen to serve.
enum Sign {
    /// It says so on its channel, and nothing else counts.
    Channel,
    /// A process of the group listens on the port.
    Listens { group: u32, port: u16 },
    /// A process of the group waits for connections on the held socket.
    Accepts { group: u32, inode: u64 },
    /// A process of the group says so on the socket.
    Notifies { group: Pid, socket: NotifySocket },
}

struct Attendant {
    worker: WorkerId,
    ears: Ears,
    dropped: AtomicU64,
    last_words: Arc<Mutex<VecDeque<String>>>,
    killed: Arc<AtomicBool>,
    before: memory::Before,
}

/// From a worker's start to its end.
async fn attend(
    attendant: Arc<Attendant>,
    mut child: Child,
    group: Option<Pid>,
    from_worker: OwnedReadHalf,
    sign: Sign,
) {
    let pid = child.id();
    let mut readers = JoinSet::new();
    readers.spawn(read_channel(Arc::clone(&attendant), from_worker));
    if let Some(stdout) = child.stdout.take() {
        readers.spawn(read_output(Arc::clone(&attendant), stdout, Stream::Stdout));
    }
    if let Some(stderr) = child.stderr.take() {
        readers.spawn(read_output(Arc::clone(&attendant), stderr, Stream::Stderr));
    }
    let status = tokio::select! {
        status = child.wait() => status,
        () = watch_for(&attendant, sign) => child.wait().await,
    };
    // What the worker started and left behind has no slot to be in.
    signal_group(group, Signal::KILL);
    let drained = async { while readers.join_next().await.is_some() {} };
    if tokio::time::timeout(LINGER, drained).await.is_err() {
        readers.shutdown().await;
    }
    let dropped = attendant.dropped.swap(0, Ordering::Relaxed);
    if dropped > 0 {
        attendant.tell(Told::OutputDropped(dropped)).await;
    }
    let mut exit = status.map_or(Exit::Code(-1), how);
    let by_others = !attendant.killed.load(Ordering::Relaxed);
    if exit == Exit::Signal(Signal::KILL.as_raw()) && by_others && attendant.before.ran_out(pid) {
        exit = Exit::OutOfMemory;
    }
    attendant
        .tell(Told::Happened(WorkerEvent::Exited(exit)))
        .await;
}

fn how(status: ExitStatus) -> Exit {
    match status.signal() {
        Some(signal) => Exit::Signal(signal),
        None => Exit::Code(status.code().unwrap_or(-1)),
    }
}

/// Looks for the sign as long as it makes sense; waits for ever when there is none to look for.
async fn watch_for(attendant: &Attendant, sign: Sign) {
    match sign {
        Sign::Channel => std::future::pending().await,
        Sign::Listens { group, port } => {
            probe::listens(group, port).await;
            attendant.tell(Told::Happened(WorkerEvent::SeenReady)).await;
        }
        Sign::Accepts { group, inode } => {
            probe::accepts(group, inode).await;
            attendant.tell(Told::Happened(WorkerEvent::SeenReady)).await;
        }
        Sign::Notifies { group, socket } => listen_to(attendant, group, &socket).await,
    }
}

async fn listen_to(attendant: &Attendant, group: Pid, socket: &NotifySocket) {
    let mut met = false;
    // A socket that cannot be read is one on which nothing is heard any more.
    while let Ok(heard) = socket.heard(group).await {
        let notice = match heard {
            Heard::Own(notice) => notice,
            Heard::Stranger(pid) => {
                if !std::mem::replace(&mut met, true) {
                    attendant.tell(Told::Stranger(pid)).await;
                }
                continue;
            }
        };
        if let Some(status) = notice.status {
            attendant.tell(Told::Status(status)).await;
        }
        if notice.ready {
            attendant.tell(Told::Happened(WorkerEvent::SeenReady)).await;
        }
        if notice.stopping {
            let draining = WorkerEvent::Said(FromWorker::Draining);
            attendant.tell(Told::Happened(draining)).await;
        }
    }
}

async fn read_channel(attendant: Arc<Attendant>, from_worker: OwnedReadHalf) {
    let mut lines = BoundedLines::new(from_worker, channel::MAX_LINE);
    // A broken channel ends as a closed one does.
    while let Ok(Some(line)) = lines.next().await {
        let told = if line.bytes > channel::MAX_LINE {
            Told::BadLine(ChannelError::TooLong { bytes: line.bytes })
        } else {
            match FromWorker::from_line(&line.text) {
                Ok(message) => Told::Happened(WorkerEvent::Said(message)),
                Err(error) => Told::BadLine(error),
            }
        };
        attendant.tell(told).await;
    }
}

async fn write_channel(mut to_worker: OwnedWriteHalf, mut queue: mpsc::Receiver<ToWorker>) {
    while let Some(message) = queue.recv().await {
        let line = channel::to_line(&message);
        if to_worker.write_all(line.as_bytes()).await.is_err() {
            return;
        }
    }
}

async fn read_output<R: AsyncRead + Unpin>(attendant: Arc<Attendant>, source: R, stream: Stream) {
    let mut lines = BoundedLines::new(source, MAX_OUTPUT_LINE);
    while let Ok(Some(line)) = lines.next().await {
        attendant.heard(stream, line.text);
    }
}

impl Attendant {
    /// The dispatcher is only gone when the supervisor is.
    async fn tell(&self, told: Told) {
        let news = (self.worker.clone(), told);
        self.ears.dispatcher.send(news).await.ok();
    }

    /// Passes a line on if the caller has room for it, and counts it if not. A worker must not be held
    /// up by whoever watches it: a full pipe would stop its request handlers.
    fn heard(&self, stream: Stream, line: String) {
        if stream == Stream::Stderr {
            let mut words = self
                .last_words
                .lock()
                .unwrap_or_else(PoisonError::into_inner);
            if words.len() == LAST_WORDS {
                words.pop_front();
            }
            words.push_back(line.clone());
        }
        self.report_dropped();
        let event = Event::Output {
            slot: self.worker.slot.clone(),
            stream,
            line,
        };
        if self.ears.caller.try_send(event).is_err() {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn report_dropped(&self) {
        let lines = self.dropped.swap(0, Ordering::Relaxed);
        if lines == 0 {
            return;
        }
        let event = Event::OutputDropped {
            slot: self.worker.slot.clone(),
            lines,
        };
        if self.ears.caller.try_send(event).is_err() {
            self.dropped.fetch_add(lines, Ordering::Relaxed);
        }
    }
}
