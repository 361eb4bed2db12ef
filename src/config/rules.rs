//! What settings must be to each other. Each rule is one sentence, told when it is broken.

use super::address;
use super::problem::Findings;
use super::table::Settings;
use std::time::Duration;

/// Flushes that must fit into a drain.
const FLUSHES_PER_DRAIN: u32 = 4;

/// Longer than this after a phone vanished, "online" is no longer a truth.
const LONGEST_SILENCE: Duration = Duration::from_mins(10);

/// Adds a problem for every broken rule between settings.
pub(super) fn check(settings: &Settings, findings: &mut Findings) {
    let mut must = |holds: bool, variables: &[&str], sentence: &str| {
        if !holds {
            findings.tell(variables, sentence);
        }
    };
    timing(settings, &mut must);
    places(settings, &mut must);
}

/// Takes whether the rule holds, whom it concerns, and its sentence.
type Must<'a> = dyn FnMut(bool, &[&str], &str) + 'a;

fn timing(s: &Settings, must: &mut Must<'_>) {
    must(
        s.presence_flush_interval * FLUSHES_PER_DRAIN <= s.drain_timeout,
        &["PRESENCE_FLUSH_INTERVAL", "DRAIN_TIMEOUT"],
        "the flush interval must be at most a quarter of the drain timeout, or the last changes are lost at shutdown",
    );
    must(
        s.firebase_database_timeout < s.drain_timeout,
        &["FIREBASE_DATABASE_TIMEOUT", "DRAIN_TIMEOUT"],
        "the database timeout must be shorter than the drain timeout, or one slow write uses up the whole shutdown",
    );
    must(
        s.firebase_database_timeout <= s.presence_heartbeat_interval * 2,
        &["FIREBASE_DATABASE_TIMEOUT", "PRESENCE_HEARTBEAT_INTERVAL"],
        "the database timeout must be at most twice the heartbeat interval, or one slow request makes this node look dead",
    );
    must(
        s.presence_start_grace >= s.presence_grace,
        &["PRESENCE_START_GRACE", "PRESENCE_GRACE"],
        "the start grace must not be shorter than the grace: after a restart everybody has to reconnect at once",
    );
    must(
        s.ping_interval + s.ping_timeout + s.presence_grace <= LONGEST_SILENCE,
        &["PING_INTERVAL", "PING_TIMEOUT", "PRESENCE_GRACE"],
        "together they must be at most 10m: that long a vanished phone is still shown online",
    );
}

fn places(s: &Settings, must: &mut Must<'_>) {
    must(
        !address::overlap(&s.presence_path, &s.presence_nodes_path),
        &["PRESENCE_PATH", "PRESENCE_NODES_PATH"],
        "the two paths must be different, and neither may lie inside the other",
    );
    for (name, path) in [
        ("PRESENCE_PATH", &s.presence_path),
        ("PRESENCE_NODES_PATH", &s.presence_nodes_path),
    ] {
        must(
            !address::overlap(path, &s.presence_fence_path),
            &[name, "PRESENCE_FENCE_PATH"],
            "the two paths must be different, and neither may lie inside the other",
        );
    }
    let admin = s.admin_listen;
    let same_place = admin.ip() == s.host || admin.ip().is_unspecified() || s.host.is_unspecified();
    must(
        s.port == 0 || admin.port() != s.port || !same_place,
        &["PORT", "ADMIN_LISTEN"],
        "apps and operators need two different ports",
    );
}

/// dev believes every token, so nobody else may reach it.
pub(super) fn dev(settings: &Settings, findings: &mut Findings) {
    if !settings.host.is_loopback() {
        findings.tell(
            &["HOST"],
            "dev accepts anybody as anybody, so it listens on a loopback address only; for example HOST=127.0.0.1",
        );
    }
}
