//! A terminal with a program on it: what stands on its screen, its keys, its size and its modes.

use std::num::NonZeroU16;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::process::ExitStatus;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use poolwright_testkit::wait::Seen;
use poolwright_testkit::wait_until;
use pty_process::{OwnedReadPty, OwnedWritePty, Size};
use rustix::fs::{Mode, OFlags};
use rustix::process::{Pid, Signal, kill_process};
use rustix::pty::ptsname;
use rustix::termios::{Termios, tcgetattr};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::Child;
use tokio::sync::watch;
use tokio::time::{Instant, timeout};

/// A terminal and the program that it was opened for. The program is killed when this is dropped.
#[derive(Debug)]
pub struct Terminal {
    child: Child,
    keys: OwnedWritePty,
    /// The program's side. A terminal that nobody has open is as new when it is opened again: its modes would always be right.
    side: OwnedFd,
    /// Those of before.
    modes: Termios,
    glass: Arc<Mutex<Glass>>,
    drawn: watch::Receiver<usize>,
    reading: watch::Sender<bool>,
}

/// What stands on it.
struct Glass {
    parser: vt100::Parser,
    bytes: Vec<u8>,
    frames: Vec<Frame>,
}

/// What stood on it when something had been written.
#[derive(Debug, Clone)]
pub struct Frame {
    /// When.
    pub at: Instant,
    /// Its rows.
    pub text: String,
}

impl std::fmt::Debug for Glass {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.parser.screen().contents())
    }
}

impl Terminal {
    /// Starts a program on a terminal of this size, with nothing but this environment.
    pub fn open<'a>(
        program: &Path,
        arguments: impl IntoIterator<Item = &'a str>,
        directory: &Path,
        environment: impl IntoIterator<Item = (String, String)>,
        (rows, columns): (u16, u16),
    ) -> Result<Self> {
        let (pty, inner) = pty_process::open()?;
        pty.resize(Size::new(rows, columns))?;
        let name = ptsname(&pty, Vec::new())?;
        let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC;
        let side = rustix::fs::open(name, flags, Mode::empty())?;
        let modes = tcgetattr(&side)?;
        let path = std::env::var("PATH").unwrap_or_default();
        let child = pty_process::Command::new(program)
            .args(arguments)
            .current_dir(directory)
            .env_clear()
            .env("PATH", path)
            .env("TERM", "xterm-256color")
            .envs(environment)
            .kill_on_drop(true)
            .spawn(inner)?;
        let (output, keys) = pty.into_split();
        let glass = Arc::new(Mutex::new(Glass {
            parser: vt100::Parser::new(some(rows)?, some(columns)?, 0),
            bytes: Vec::new(),
            frames: Vec::new(),
        }));
        let (tell, drawn) = watch::channel(0);
        let (reading, read) = watch::channel(true);
        tokio::spawn(watch_glass(output, Arc::clone(&glass), tell, read));
        Ok(Self {
            child,
            keys,
            side,
            modes,
            glass,
            drawn,
            reading,
        })
    }

    /// Presses these keys.
    pub async fn press(&mut self, keys: &str) -> Result<()> {
        Ok(self.keys.write_all(keys.as_bytes()).await?)
    }

    /// Makes it larger or smaller.
    pub fn resize(&self, rows: u16, columns: u16) -> Result<()> {
        let (lines, wide) = (some(rows)?, some(columns)?);
        self.on_glass(|glass| glass.parser.set_size(lines, wide));
        Ok(self.keys.resize(Size::new(rows, columns))?)
    }

    /// Whether what the program writes is taken. When it is not, the line is as good as stopped.
    pub fn take_output(&self, take: bool) {
        self.reading.send_replace(take);
    }

    /// What stands on it.
    #[must_use]
    pub fn text(&self) -> String {
        self.on_glass(|glass| glass.parser.screen().contents())
    }

    /// Everything that stood on it, oldest first.
    #[must_use]
    pub fn frames(&self) -> Vec<Frame> {
        self.on_glass(|glass| glass.frames.clone())
    }

    /// Everything that was written to it.
    #[must_use]
    pub fn written(&self) -> Vec<u8> {
        self.on_glass(|glass| glass.bytes.clone())
    }

    /// The screen as it is, for a picture.
    #[must_use]
    pub fn screen(&self) -> vt100::Screen {
        self.on_glass(|glass| glass.parser.screen().clone())
    }

    /// Waits until this stands on it.
    pub async fn shows(&self, what: &str, limit: Duration) -> Result<()> {
        self.until(&format!("it shows {what:?}"), limit, |text| {
            text.contains(what)
        })
        .await
    }

    /// Waits until what stands on it is as wanted.
    pub async fn until(
        &self,
        event: &str,
        limit: Duration,
        mut wanted: impl FnMut(&str) -> bool,
    ) -> Result<()> {
        let mut drawn = self.drawn.clone();
        let found = timeout(limit, async {
            while !wanted(&self.text()) {
                if drawn.changed().await.is_err() {
                    return false;
                }
            }
            true
        })
        .await;
        match found {
            Ok(true) => Ok(()),
            Ok(false) => bail!("the terminal was closed before {event}:\n{}", self.text()),
            Err(_) => bail!("waited {limit:?} until {event}:\n{}", self.text()),
        }
    }

    /// Sends a signal to the program.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        let pid = self.child.id().context("the program has ended")?;
        let pid = Pid::from_raw(pid.try_into()?).context("no process id")?;
        Ok(kill_process(pid, signal)?)
    }

    /// Waits for the program's end.
    pub async fn ended(&mut self, limit: Duration) -> Result<ExitStatus> {
        match timeout(limit, self.child.wait()).await {
            Ok(status) => Ok(status?),
            Err(_) => bail!("it still runs after {limit:?}:\n{}", self.text()),
        }
    }

    /// Whether its modes are those of before the program, its screen is the ordinary one and its cursor is there. Waits for the
    /// last of what was written.
    pub async fn is_as_before(&self) -> Result<()> {
        self.has_its_modes()?;
        wait_until(
            "the screen is the ordinary one",
            Duration::from_secs(5),
            async || {
                let screen = self.screen();
                match (screen.alternate_screen(), screen.hide_cursor()) {
                    (false, false) => Seen::Yes(()),
                    (alternate, hidden) => Seen::NotYet(format!(
                        "alternate screen: {alternate}, hidden cursor: {hidden}"
                    )),
                }
            },
        )
        .await
    }

    /// Whether its modes are those of before the program.
    pub fn has_its_modes(&self) -> Result<()> {
        let now = tcgetattr(&self.side)?;
        let modes = |termios: &Termios| {
            (
                termios.input_modes,
                termios.output_modes,
                termios.control_modes,
                termios.local_modes,
                format!("{:?}", termios.special_codes),
            )
        };
        let (before, now) = (modes(&self.modes), modes(&now));
        ensure!(before == now, "before: {before:?}\nnow: {now:?}");
        Ok(())
    }

    fn on_glass<T>(&self, look: impl FnOnce(&mut Glass) -> T) -> T {
        look(&mut self.glass.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

fn some(count: u16) -> Result<NonZeroU16> {
    NonZeroU16::new(count).context("a terminal has rows and columns")
}

/// Takes what is written, as long as somebody wants it.
async fn watch_glass(
    mut output: OwnedReadPty,
    glass: Arc<Mutex<Glass>>,
    tell: watch::Sender<usize>,
    mut wanted: watch::Receiver<bool>,
) {
    let mut buffer = vec![0; 16 * 1024];
    while wanted.wait_for(|wanted| *wanted).await.is_ok() {
        let read = tokio::select! {
            read = output.read(&mut buffer) => read,
            _ = wanted.changed() => continue,
        };
        // The system's word for a terminal whose other side is closed is an error.
        let Ok(count @ 1..) = read else { return };
        let frames = {
            let mut glass = glass.lock().unwrap_or_else(PoisonError::into_inner);
            let bytes = buffer.get(..count).unwrap_or_default();
            glass.parser.process(bytes);
            glass.bytes.extend_from_slice(bytes);
            let (at, text) = (Instant::now(), glass.parser.screen().contents());
            glass.frames.push(Frame { at, text });
            glass.frames.len()
        };
        tell.send_replace(frames);
    }
}
