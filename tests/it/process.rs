//! The real binary as a process of its own, told apart by what it prints.

use crate::phone::{Phone, soon};
use presence_bridge::clock::Clock;
use presence_bridge::dev::accounts::AccountsStandIn;
use rustix::process::{Pid, Signal, kill_process};
use std::net::SocketAddr;
use std::process::{ExitStatus, Output, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::process::{Child, Command};
use tokio::sync::watch;
use tokio::task::JoinHandle;

const BINARY: &str = env!("CARGO_BIN_EXE_presence-bridge");

/// Ports that no other test can have.
pub(crate) const FREE_PORTS: [(&str, &str); 4] = [
    ("PORT", "0"),
    ("ADMIN_LISTEN", "127.0.0.1:0"),
    ("DEV_AUTH_PORT", "0"),
    ("DEV_DATABASE_PORT", "0"),
];

/// The binary, or a shell that becomes it, with nothing but these variables and `PATH`.
pub(crate) fn command(program: &str, environment: &[(&str, &str)]) -> Command {
    let mut command = Command::new(program);
    command
        .env_clear()
        .env("PATH", "/usr/bin:/bin")
        .envs(environment.iter().copied())
        .current_dir(env!("CARGO_TARGET_TMPDIR"))
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    command
}

/// Runs the binary to its end.
pub(crate) async fn run(arguments: &[&str], environment: &[(&str, &str)]) -> Output {
    let mut command = command(BINARY, &FREE_PORTS);
    command.envs(environment.iter().copied());
    soon("the binary's end", command.args(arguments).output())
        .await
        .unwrap()
}

/// Everything that was printed so far.
#[derive(Clone)]
struct Page {
    text: Arc<Mutex<String>>,
    news: watch::Sender<()>,
    /// Where it is not, the pipes fill up.
    is_read: watch::Sender<bool>,
}

impl Page {
    async fn fill(self, mut from: impl AsyncRead + Unpin) {
        let mut chunk = [0; 4096];
        let mut is_read = self.is_read.subscribe();
        loop {
            is_read.wait_for(|is_read| *is_read).await.unwrap();
            let length = tokio::select! {
                read = from.read(&mut chunk) => read,
                _ = is_read.changed() => continue,
            };
            let Ok(length @ 1..) = length else { return };
            let text = String::from_utf8_lossy(&chunk[..length]).into_owned();
            self.text.lock().unwrap().push_str(&text);
            self.news.send_replace(());
        }
    }
}

pub(crate) struct Process {
    child: Child,
    page: Page,
    reading: [JoinHandle<()>; 2],
    pub public: SocketAddr,
    pub admin: SocketAddr,
}

impl Process {
    /// Starts `presence-bridge` with these arguments and waits until it serves.
    pub(crate) async fn start(arguments: &[&str], environment: &[(&str, &str)]) -> Self {
        let mut all = Vec::from(FREE_PORTS);
        all.extend(environment);
        let mut command = command(BINARY, &all);
        Self::of(command.args(arguments)).await
    }

    /// The same, at the end of a shell's line such as `ulimit -n 160; exec`.
    pub(crate) async fn after(line: &str, argument: &str, environment: &[(&str, &str)]) -> Self {
        let script = format!("{line} {BINARY} {argument}");
        let mut shell = command("/bin/sh", &FREE_PORTS);
        shell.envs(environment.iter().copied());
        Self::of(shell.args(["-c", &script])).await
    }

    async fn of(command: &mut Command) -> Self {
        let mut child = command.spawn().unwrap();
        let page = Page {
            text: Arc::default(),
            news: watch::Sender::new(()),
            is_read: watch::Sender::new(true),
        };
        let (out, err) = (child.stdout.take().unwrap(), child.stderr.take().unwrap());
        let mut process = Self {
            child,
            reading: [
                tokio::spawn(page.clone().fill(out)),
                tokio::spawn(page.clone().fill(err)),
            ],
            page,
            public: SocketAddr::from(([0; 4], 0)),
            admin: SocketAddr::from(([0; 4], 0)),
        };
        process.until("serving").await;
        process.public = process.address("public");
        process.admin = process.address("admin");
        process
    }

    pub(crate) fn printed(&self) -> String {
        self.page.text.lock().unwrap().clone()
    }

    /// From here to its end nobody reads what it prints.
    pub(crate) fn stop_reading(&self) {
        self.page.is_read.send_replace(false);
    }

    /// Until a whole line with this was printed.
    pub(crate) async fn until(&self, text: &str) {
        let mut news = self.page.news.subscribe();
        let printed = tokio::time::timeout(crate::phone::DEADLINE, async {
            let is_there = |page: String| {
                let tail = page.split_once(text).map(|(_, tail)| tail.contains('\n'));
                tail.unwrap_or_default()
            };
            while !is_there(self.printed()) {
                news.changed().await.unwrap();
            }
        });
        assert!(printed.await.is_ok(), "no {text:?} in {}", self.printed());
    }

    /// The first address printed after `mark`.
    pub(crate) fn address(&self, mark: &str) -> SocketAddr {
        let printed = self.printed();
        let (_, rest) = printed.split_once(mark).unwrap();
        let rest = rest.trim_start_matches(|c: char| !c.is_ascii_digit());
        let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.' && c != ':');
        rest[..end.unwrap_or(rest.len())].parse().unwrap()
    }

    /// As the system calls it.
    pub(crate) fn id(&self) -> i32 {
        i32::try_from(self.child.id().unwrap()).unwrap()
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(Pid::from_raw(self.id()).unwrap(), signal).unwrap();
    }

    /// Until the process has ended by itself, within `patience`; with everything it printed.
    pub(crate) async fn ended(mut self, patience: Duration) -> (ExitStatus, String) {
        let status = tokio::time::timeout(patience, self.child.wait()).await;
        let status = status.unwrap_or_else(|_| panic!("still there: {}", self.printed()));
        self.page.is_read.send_replace(true);
        for reading in &mut self.reading {
            soon("the rest of what it prints", reading).await.unwrap();
        }
        (status.unwrap(), self.printed())
    }

    pub(crate) async fn connect(&self, accounts: &AccountsStandIn, user: &str) -> Phone {
        let token = accounts.id_token(user).unwrap();
        Phone::connect(self.public, &token).await.unwrap()
    }
}

/// Signs in whom the processes of `presence-bridge dev` let in.
pub(crate) fn accounts() -> AccountsStandIn {
    AccountsStandIn::new("demo-presence-bridge", Clock::system())
}
