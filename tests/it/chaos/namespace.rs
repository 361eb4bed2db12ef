//! A host of its own on this machine: a network namespace whose cable can be pulled, so that a
//! connection is half open in earnest: no FIN, no RST, nothing.

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::fd::AsFd;
use std::process::Command;
use std::sync::atomic::{AtomicU8, Ordering};
use tokio::net::TcpStream;

/// Namespaces of one test binary; the process id keeps those of several apart.
static OPENED: AtomicU8 = AtomicU8::new(0);

pub(crate) struct Namespace {
    name: String,
    link: String,
    /// Of the bridge's side of the cable: processes have to listen here, too.
    outside: IpAddr,
}

impl Namespace {
    /// The error is the system's sentence why this user may not make one.
    pub(crate) fn open() -> Result<Self, String> {
        let number = OPENED.fetch_add(1, Ordering::Relaxed);
        let id = std::process::id() % 10_000;
        let (name, link) = (format!("chaos{id}n{number}"), format!("ch{id}n{number}"));
        let octet = u8::try_from(id % 250).unwrap();
        let [outside, inside] = [1, 2].map(|host| Ipv4Addr::new(10, octet, number, host));
        let peer = format!("{link}p");
        try_ip(&["netns", "add", &name])?;
        let namespace = Self {
            name,
            link,
            outside: outside.into(),
        };
        let Self { name, link, .. } = &namespace;
        ip(&[
            "link", "add", link, "type", "veth", "peer", "name", &peer, "netns", name,
        ]);
        ip(&["addr", "add", &format!("{outside}/30"), "dev", link]);
        ip(&["link", "set", link, "up"]);
        ip(&[
            "-n",
            name,
            "addr",
            "add",
            &format!("{inside}/30"),
            "dev",
            &peer,
        ]);
        ip(&["-n", name, "link", "set", &peer, "up"]);
        Ok(namespace)
    }

    /// A connection from inside. The socket stays there, whoever uses it.
    pub(crate) async fn connect(&self, port: u16) -> TcpStream {
        let path = format!("/run/netns/{}", self.name);
        let bridge = SocketAddr::new(self.outside, port);
        let connecting = std::thread::spawn(move || {
            let inside = std::fs::File::open(path).unwrap();
            move_into_link_name_space(inside.as_fd(), Some(LinkNameSpaceType::Network)).unwrap();
            std::net::TcpStream::connect(bridge).unwrap()
        });
        let joined = tokio::task::spawn_blocking(|| connecting.join().unwrap());
        let stream = joined.await.unwrap();
        stream.set_nonblocking(true).unwrap();
        TcpStream::from_std(stream).unwrap()
    }

    /// From now on nothing gets through, and nobody is told.
    pub(crate) fn pull(&self) {
        let peer = format!("{}p", self.link);
        ip(&["-n", &self.name, "link", "set", &peer, "down"]);
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        // The cable goes with it.
        let gone = Command::new("ip")
            .args(["netns", "del", &self.name])
            .status();
        drop(gone);
    }
}

#[track_caller]
fn ip(arguments: &[&str]) {
    try_ip(arguments).unwrap();
}

#[track_caller]
fn try_ip(arguments: &[&str]) -> Result<(), String> {
    let output = Command::new("ip").args(arguments).output();
    let output = output.expect("ip is missing. Install it: sudo apt-get install -y iproute2");
    let said = String::from_utf8_lossy(&output.stderr);
    let fault = || format!("ip {}: {}", arguments.join(" "), said.trim());
    output.status.success().then_some(()).ok_or_else(fault)
}
