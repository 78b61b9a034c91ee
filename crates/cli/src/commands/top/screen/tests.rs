//! On a terminal, in a process of its own: this test once more, with another part to play.

use super::*;
use crate::commands::top::example;
use pty_process::Size;
use pty_process::blocking::{Command, open};
use rustix::fs::{Mode, OFlags};
use rustix::pty::ptsname;
use rustix::termios::{Termios, tcgetattr};
use std::io::Read;

/// Which part it has to play; none in the test itself.
const PART: &str = "POOLWRIGHT_TEST_PART";

/// What has a terminal show its other screen.
const ALTERNATE: &str = "\u{1b}[?1049h";

const NAME: &str = "commands::top::screen::tests::a_panic_leaves_the_terminal_as_it_was";

#[tokio::test]
async fn a_panic_leaves_the_terminal_as_it_was() {
    match std::env::var(PART).as_deref() {
        Err(_) => {
            for part in ["drawing", "beside"] {
                let (before, after, screen) = play(part);
                assert_eq!(modes(&before), modes(&after), "{part}");
                let text = screen.contents();
                assert!(!screen.alternate_screen(), "{part}: {text}");
                assert!(!screen.hide_cursor(), "{part}: {text}");
                assert!(text.contains("panicked at"), "{part}: {text}");
                assert!(text.contains("a mishap"), "{part}: {text}");
                assert!(!text.contains("a frame"), "{part}: {text}");
            }
        }
        Ok("drawing") => {
            let mut screen = Screen::take(frame_or_panic(1)).await.unwrap();
            loop {
                screen.draw(example::watched());
                screen.done().await.unwrap();
            }
        }
        Ok(_) => {
            let mut screen = Screen::take(frame_or_panic(usize::MAX)).await.unwrap();
            screen.draw(example::watched());
            screen.done().await.unwrap();
            panic!("a mishap");
        }
    }
}

/// Draws so many frames, and then something goes wrong.
fn frame_or_panic(frames: usize) -> impl FnMut(&State, Rect, &mut Buffer) {
    let mut drawn = 0;
    move |_, area, buffer| {
        assert!(drawn < frames, "a mishap");
        drawn += 1;
        buffer.set_string(area.x, area.y, "a frame", ratatui::style::Style::new());
    }
}

/// The terminal's modes before and after, and what stands on it in the end.
fn play(part: &str) -> (Termios, Termios, vt100::Screen) {
    let (mut pty, inner) = open().unwrap();
    pty.resize(Size::new(24, 80)).unwrap();
    let name = ptsname(&pty, Vec::new()).unwrap();
    // A terminal that nobody has open is as new when it is opened again.
    let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC;
    let side = rustix::fs::open(name, flags, Mode::empty()).unwrap();
    let before = tcgetattr(&side).unwrap();
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args([NAME, "--exact", "--nocapture"])
        .env(PART, part)
        .env("RUST_BACKTRACE", "0")
        .spawn(inner)
        .unwrap();
    let reader = std::thread::spawn(move || {
        let (mut bytes, mut buffer) = (Vec::new(), [0; 4096]);
        while let Ok(count @ 1..) = pty.read(&mut buffer) {
            bytes.extend_from_slice(&buffer[..count]);
        }
        let written = String::from_utf8_lossy(&bytes);
        assert!(written.contains(ALTERNATE), "it was never taken: {written}");
        let mut parser = vt100::Parser::default();
        parser.process(&bytes);
        parser.screen().clone()
    });
    let status = child.wait().unwrap();
    assert!(!status.success());
    let after = tcgetattr(&side).unwrap();
    drop(side);
    (before, after, reader.join().unwrap())
}

fn modes(termios: &Termios) -> String {
    format!(
        "{:?} {:?} {:?} {:?} {:?}",
        termios.input_modes,
        termios.output_modes,
        termios.control_modes,
        termios.local_modes,
        termios.special_codes
    )
}
