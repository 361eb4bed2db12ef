//! Settings, telemetry, server, exit code; nothing else.

fn main() {}
