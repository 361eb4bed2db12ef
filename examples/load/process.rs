//! Children pinned to a core, and what the kernel knows about them.

use crate::firebase::Surroundings;
use anyhow::{Context as _, Result, bail, ensure};
use std::fs::{self, File};
use std::net::{Ipv4Addr, SocketAddr, TcpListener as StdListener};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::process::{Child, Command};
use tokio::time::{sleep, timeout};

/// The server's core; the generator takes the other one.
const SERVER_CORE: &str = "0";
const GENERATOR_CORE: &str = "1";
/// Linux counts CPU time for user space in hundredths of a second (`USER_HZ`) on every common platform.
const TICKS_PER_SECOND: f64 = 100.0;
const START_DEADLINE: Duration = Duration::from_secs(30);

/// Which server sits in the seat.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Subject {
    Lean,
    Bridge,
}

impl Subject {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Lean => "lean",
            Self::Bridge => "bridge",
        }
    }

    /// Whether the server greets a connection with `ready`.
    pub(crate) fn greets(self) -> bool {
        self == Self::Bridge
    }
}

/// A server under test, killed when dropped.
pub(crate) struct Server {
    pub(crate) addr: SocketAddr,
    pub(crate) subject: Subject,
    pid: u32,
    child: Child,
}

impl Server {
    /// Starts a fresh process on the server's core and waits until it takes connections.
    pub(crate) async fn start(
        subject: Subject,
        around: &Surroundings,
        bridge: &Path,
    ) -> Result<Self> {
        let addr = free_addr()?;
        let log = around.directory.join(format!("{}.log", subject.name()));
        let mut command = Command::new("setpriv");
        // The kernel ends the child even if the generator is killed without a chance to tidy up.
        command.args(["--pdeathsig", "KILL", "--", "taskset", "-c", SERVER_CORE]);
        command.env_clear();
        match subject {
            Subject::Lean => {
                command.arg(std::env::current_exe()?);
                command.args(["lean", &addr.to_string()]);
            }
            Subject::Bridge => {
                ensure!(
                    bridge.exists(),
                    "{} is missing: cargo build --release",
                    bridge.display()
                );
                command
                    .arg(bridge)
                    .envs(around.bridge_settings(addr, free_addr()?));
            }
        }
        command.stdin(Stdio::null()).stdout(File::create(&log)?);
        command
            .stderr(File::options().append(true).open(&log)?)
            .kill_on_drop(true);
        let child = command
            .spawn()
            .context("setpriv and taskset come with util-linux")?;
        let pid = child.id().context("the server is gone already")?;
        let mut server = Self {
            addr,
            subject,
            pid,
            child,
        };
        if timeout(START_DEADLINE, server.until_ready()).await.is_err() {
            server.stop().await;
            bail!("{} is not ready: {}", subject.name(), tail(&log));
        }
        if let Some(status) = server.child.try_wait()? {
            bail!("{} ended with {status}: {}", subject.name(), tail(&log));
        }
        Ok(server)
    }

    async fn until_ready(&mut self) {
        while matches!(self.child.try_wait(), Ok(None)) {
            if self.ready().await.unwrap_or(false) {
                return;
            }
            sleep(Duration::from_millis(20)).await;
        }
    }

    async fn ready(&self) -> Result<bool> {
        let mut stream = TcpStream::connect(self.addr).await?;
        stream
            .write_all(b"GET /readyz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
            .await?;
        let mut head = [0; 12];
        stream.read_exact(&mut head).await?;
        // The lean server knows no such path, and whoever answers is ready.
        Ok(self.subject == Subject::Lean || head.ends_with(b"200"))
    }

    pub(crate) fn cpu_s(&self) -> Result<f64> {
        cpu_s_of(&self.pid.to_string())
    }

    /// Memory of the process that is in RAM now.
    pub(crate) fn rss_bytes(&self) -> Result<u64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid))?;
        let kib = status
            .lines()
            .find_map(|line| line.strip_prefix("VmRSS:"))
            .and_then(|rest| rest.trim().strip_suffix(" kB"))
            .context("no VmRSS")?;
        Ok(kib.parse::<u64>()? * 1024)
    }

    /// Kills the process: nothing it could still write is looked at.
    pub(crate) async fn stop(mut self) {
        self.child.kill().await.ok();
    }
}

/// CPU seconds of a process ("self" is this one), all threads, user and system.
pub(crate) fn cpu_s_of(pid: &str) -> Result<f64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    // The second field is the name in parentheses and may hold spaces.
    let (_, after) = stat.rsplit_once(')').context("a line of /proc/*/stat")?;
    let fields: Vec<&str> = after.split_whitespace().collect();
    let ticks: u32 = fields[11].parse::<u32>()? + fields[12].parse::<u32>()?;
    Ok(f64::from(ticks) / TICKS_PER_SECOND)
}

/// CPU time of the whole machine, in ticks.
#[derive(Clone, Copy)]
pub(crate) struct MachineTime {
    total: u64,
    idle: u64,
    stolen: u64,
}

impl MachineTime {
    pub(crate) fn read() -> Result<Self> {
        let stat = fs::read_to_string("/proc/stat")?;
        let line = stat.lines().next().context("/proc/stat is empty")?;
        let ticks: Vec<u64> = line
            .split_whitespace()
            .skip(1)
            .flat_map(str::parse)
            .collect();
        ensure!(ticks.len() >= 8, "/proc/stat has no steal column");
        Ok(Self {
            total: ticks[..8].iter().sum(),
            // Idle, waiting for disks, and interrupts, which belong to nobody.
            idle: ticks[3..7].iter().sum(),
            stolen: ticks[7],
        })
    }

    /// The part of the time since `earlier` that the host gave to somebody else, in percent.
    #[expect(clippy::cast_precision_loss, reason = "ticks of minutes")]
    pub(crate) fn steal_percent_since(self, earlier: Self) -> f64 {
        let total = (self.total - earlier.total).max(1);
        100.0 * (self.stolen - earlier.stolen) as f64 / total as f64
    }

    /// CPU seconds that anybody used since `earlier`, on all cores.
    #[expect(clippy::cast_precision_loss, reason = "ticks of minutes")]
    pub(crate) fn used_s_since(self, earlier: Self) -> f64 {
        let unused = |time: Self| time.idle + time.stolen;
        let used = (self.total - earlier.total) - (unused(self) - unused(earlier));
        used as f64 / TICKS_PER_SECOND
    }
}

/// Moves this process to the generator's core.
pub(crate) fn pin_generator() -> Result<()> {
    let pid = std::process::id().to_string();
    let output = std::process::Command::new("taskset")
        .args(["-a", "-c", "-p", GENERATOR_CORE, &pid])
        .output()
        .context("taskset comes with util-linux")?;
    ensure!(
        output.status.success(),
        "two cores are needed: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(())
}

/// Where cargo put the bridge: beside the `examples` directory this process came from.
pub(crate) fn default_bridge() -> Result<PathBuf> {
    let examples = std::env::current_exe()?;
    let release = examples.ancestors().nth(2).context("no target directory")?;
    Ok(release.join("presence-bridge"))
}

fn free_addr() -> Result<SocketAddr> {
    Ok(StdListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?)
}

fn tail(log: &Path) -> String {
    let text = fs::read_to_string(log).unwrap_or_default();
    let from = text.len().saturating_sub(2_000);
    String::from_utf8_lossy(&text.as_bytes()[from..]).into_owned()
}
