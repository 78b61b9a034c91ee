//! What the tests run as processes of their own: the shim, and a supervisor to be signalled and killed.
//! (The workers are shell scripts, so that nothing of this crate is on their side of the channel.)

use poolwright_supervisor::{
    AppSpec, FleetSpec, NoBackends, Policy, Readiness, SlotVariables, StopSignal, Supervisor, shim,
};
use rustix::cmsg_space;
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};
use socket2::{Domain, Socket, Type};
use std::ffi::OsString;
use std::io::{self, IoSlice, Read};
use std::mem::MaybeUninit;
use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

fn main() -> ExitCode {
    let mut args = std::env::args_os().skip(1);
    let role = args.next().unwrap_or_default();
    match role.to_str() {
        Some("shim") => {
            let error = shim::exec(args);
            say(&error.to_string());
            ExitCode::from(error.exit_code())
        }
        Some("supervise") => supervise(args),
        Some("listen") => listen(),
        Some("accept") => accept(),
        Some("notify") => notify(args.next().unwrap_or_default()),
        _ => {
            say(&format!("no such role: {}", role.display()));
            ExitCode::FAILURE
        }
    }
}

/// A foreign program: binds where `HOST` and `PORT` say, beside its likes, and speaks no channel.
fn listen() -> ExitCode {
    let variable = |name| std::env::var(name).unwrap_or_default();
    let Ok(address) = format!("{}:{}", variable("HOST"), variable("PORT")).parse::<SocketAddr>()
    else {
        return ExitCode::FAILURE;
    };
    let bound = Socket::new(Domain::IPV4, Type::STREAM, None).and_then(|socket| {
        socket.set_reuse_port(true)?;
        socket.bind(&address.into())?;
        socket.listen(16)?;
        Ok(socket)
    });
    serve(bound)
}

/// A foreign program that is handed its listening socket, as standard input, and says nothing.
fn accept() -> ExitCode {
    serve(io::stdin().as_fd().try_clone_to_owned().map(Socket::from))
}

fn serve(socket: io::Result<Socket>) -> ExitCode {
    match socket {
        Ok(socket) => loop {
            if socket.accept().is_err() {
                return ExitCode::FAILURE;
            }
        },
        Err(error) => {
            say(&error.to_string());
            ExitCode::FAILURE
        }
    }
}

/// What `systemd-notify` does: says the words on `NOTIFY_SOCKET`, and stays until they have been heard.
fn notify(words: OsString) -> ExitCode {
    let said = std::env::var_os("NOTIFY_SOCKET")
        .ok_or_else(|| io::Error::other("no NOTIFY_SOCKET"))
        .and_then(|path| {
            let socket = UnixDatagram::unbound()?;
            socket.connect(path)?;
            socket.send(words.as_encoded_bytes())?;
            let (mut ours, theirs) = UnixStream::pair()?;
            let mut space = [MaybeUninit::uninit(); cmsg_space!(ScmRights(1))];
            let mut control = SendAncillaryBuffer::new(&mut space);
            let descriptors = [theirs.as_fd()];
            control.push(SendAncillaryMessage::ScmRights(&descriptors));
            let barrier = [IoSlice::new(b"BARRIER=1")];
            sendmsg(&socket, &barrier, &mut control, SendFlags::empty())?;
            drop(theirs);
            // Ends when the other side has let go of what it was sent.
            ours.read_to_end(&mut Vec::new())
        });
    match said {
        Ok(_) => ExitCode::SUCCESS,
        Err(error) => {
            say(&error.to_string());
            ExitCode::FAILURE
        }
    }
}

/// Runs two workers of the script in the second argument over the state directory in the first;
/// every event goes to standard output as a line, the outcome last.
#[tokio::main]
async fn supervise(mut args: impl Iterator<Item = OsString>) -> ExitCode {
    let state_dir = args.next().unwrap_or_default();
    let script = args.next().unwrap_or_default();
    let Some(spec) = spec(state_dir, script) else {
        return ExitCode::FAILURE;
    };
    let (events, mut heard) = tokio::sync::mpsc::channel(64);
    let printer = tokio::spawn(async move {
        while let Some(event) = heard.recv().await {
            print(&format!("{event:?}"));
        }
    });
    let outcome = match Supervisor::bind(spec) {
        Ok(supervisor) => supervisor.run(Arc::new(NoBackends), events).await,
        Err(error) => Err(error),
    };
    printer.await.ok();
    print(&format!("{outcome:?}"));
    ExitCode::SUCCESS
}

fn spec(state_dir: OsString, script: OsString) -> Option<FleetSpec> {
    let app = AppSpec {
        name: "web".parse().ok()?,
        command: vec!["sh".into(), "-c".into(), script.into_string().ok()?],
        cwd: state_dir.clone().into(),
        env: Vec::new(),
        withheld: Vec::new(),
        slot_env: SlotVariables::default(),
        instances: 2,
        listen: Some(([127, 0, 0, 1], 0).into()),
        ready: Readiness::Channel,
        ready_timeout: Duration::from_secs(10),
        drain_timeout: Duration::from_secs(30),
        stop_signal: StopSignal::Term,
        instance_var: None,
        pools: [("db".to_owned(), 2)].into(),
        executor: true,
    };
    Some(FleetSpec {
        apps: vec![app],
        shim: vec![std::env::current_exe().ok()?.into(), "shim".into()],
        state_dir: state_dir.into(),
        policy: Policy::default(),
    })
}

#[expect(
    clippy::print_stderr,
    reason = "a program that stands in for the command line"
)]
fn say(words: &str) {
    eprintln!("{words}");
}

#[expect(
    clippy::print_stdout,
    reason = "a program that stands in for the command line"
)]
fn print(words: &str) {
    println!("{words}");
}
