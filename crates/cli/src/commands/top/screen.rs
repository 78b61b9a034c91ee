//! The terminal: taken, drawn on, and given back as it was, whatever happens.
//!
//! A thread draws, one frame at a time. A line that is slow or stopped holds up that thread and nobody else: pictures, keys and signals
//! are taken meanwhile, and the frame after it is the newest one. [`Screen::leave`] waits for it a moment and no longer.
//!
//! What was changed of the terminal is changed back in one place, [`give_back`]: at the end, before the process is stopped, and
//! in a panic of any thread, before its message is printed.

use super::state::State;
use crossterm::cursor::Show;
use crossterm::execute;
use crossterm::terminal::{
    EnterAlternateScreen, LeaveAlternateScreen, disable_raw_mode, enable_raw_mode,
};
use ratatui::Terminal;
use ratatui::backend::{Backend, CrosstermBackend};
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use std::io::{self, BufWriter};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::Duration;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::time::timeout;

/// Room for a whole frame of a large terminal: it is written in one piece.
const FRAME: usize = 64 * 1024;

/// How long a frame that is being written is waited for at the end.
const PATIENCE: Duration = Duration::from_secs(2);

/// Whether the terminal is ours.
static TAKEN: AtomicBool = AtomicBool::new(false);

/// The terminal, taken.
#[derive(Debug)]
pub(super) struct Screen {
    jobs: Option<mpsc::Sender<Job>>,
    done: UnboundedReceiver<io::Result<()>>,
    /// Jobs that were given and are not done.
    open: usize,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug)]
enum Job {
    Take,
    Draw(Box<State>),
    GiveBack,
}

impl Screen {
    /// Takes the terminal, to be drawn on so. Cancel safe: it is given back when this is dropped.
    pub(super) async fn take(
        draw: impl FnMut(&State, Rect, &mut Buffer) + Send + 'static,
    ) -> io::Result<Self> {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            give_back().ok();
            before(panic);
        }));
        let (jobs, todo) = mpsc::channel();
        let (tell, done) = unbounded_channel();
        let thread = std::thread::Builder::new()
            .name("draw".to_owned())
            .spawn(move || work(&todo, &tell, draw))?;
        let mut screen = Self {
            jobs: Some(jobs),
            done,
            open: 0,
            thread: Some(thread),
        };
        screen.give(Job::Take);
        screen.done().await?;
        Ok(screen)
    }

    /// Whether the last frame is written.
    pub(super) const fn is_idle(&self) -> bool {
        self.open == 0
    }

    /// Draws this, while others go on.
    pub(super) fn draw(&mut self, state: State) {
        self.give(Job::Draw(Box::new(state)));
    }

    /// Takes the terminal again, after somebody else had it; the next frame is written in full.
    pub(super) fn retake(&mut self) {
        self.give(Job::Take);
    }

    /// What became of the oldest frame that is not written yet. Cancel safe. Never ready when there is none.
    pub(super) async fn done(&mut self) -> io::Result<()> {
        if self.open == 0 {
            return std::future::pending().await;
        }
        match self.done.recv().await {
            Some(outcome) => {
                self.open -= 1;
                outcome
            }
            None => self.panicked(),
        }
    }

    /// Gives the terminal back. A line that takes nothing any more keeps what stands on it; its modes are restored.
    pub(super) async fn leave(&mut self) {
        self.give(Job::GiveBack);
        let all = async {
            while self.open > 0 {
                self.done().await.ok();
            }
        };
        if timeout(PATIENCE, all).await.is_err() {
            disable_raw_mode().ok();
        }
    }

    fn give(&mut self, job: Job) {
        // A thread that panicked is noticed by `done`.
        if let Some(jobs) = &self.jobs {
            jobs.send(job).ok();
            self.open += 1;
        }
    }

    /// The thread ended before its work did: its panic goes on here.
    fn panicked(&mut self) -> io::Result<()> {
        self.open = 0;
        self.jobs = None;
        match self.thread.take().map(JoinHandle::join) {
            Some(Err(panic)) => std::panic::resume_unwind(panic),
            _ => Err(io::Error::other("nobody draws any more")),
        }
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        if TAKEN.load(Ordering::SeqCst) && self.open == 0 {
            give_back().ok();
        }
    }
}

fn work(
    todo: &mpsc::Receiver<Job>,
    tell: &UnboundedSender<io::Result<()>>,
    mut draw: impl FnMut(&State, Rect, &mut Buffer),
) {
    let out = BufWriter::with_capacity(FRAME, io::stdout());
    let mut terminal = match Terminal::new(CrosstermBackend::new(out)) {
        Ok(terminal) => terminal,
        Err(error) => {
            tell.send(Err(error)).ok();
            return;
        }
    };
    for job in todo {
        let outcome = match job {
            Job::Take => take().and_then(|()| forget(&mut terminal)),
            Job::Draw(state) => terminal
                .draw(|frame| {
                    let area = frame.area();
                    draw(&state, area, frame.buffer_mut());
                })
                .map(drop),
            Job::GiveBack => give_back(),
        };
        if tell.send(outcome).is_err() {
            return;
        }
    }
}

/// Clears the screen; the next frame is written in full. (`Terminal::clear` would ask the terminal where its cursor is, and wait for
/// an answer that a slow line brings late and the keys' reader takes away.)
fn forget<B: Backend>(terminal: &mut Terminal<B>) -> Result<(), B::Error> {
    let size = terminal.size()?;
    terminal.resize(Rect::new(0, 0, size.width, size.height))
}

fn take() -> io::Result<()> {
    TAKEN.store(true, Ordering::SeqCst);
    // Whoever had it meanwhile may have left it in other modes, which raw ones are measured from.
    disable_raw_mode()?;
    enable_raw_mode()?;
    execute!(io::stdout(), EnterAlternateScreen)
}

/// Everything that was changed, if it was.
fn give_back() -> io::Result<()> {
    if !TAKEN.swap(false, Ordering::SeqCst) {
        return Ok(());
    }
    disable_raw_mode()?;
    execute!(io::stdout(), LeaveAlternateScreen, Show)
}

#[cfg(test)]
mod tests;
