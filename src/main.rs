//! Settings, telemetry, server, exit code; nothing else.

use presence_bridge::app::{self, Surroundings};
use presence_bridge::config::{self, Command, Config};
use presence_bridge::server;
use presence_bridge::telemetry::logs;
use std::process::ExitCode;

fn main() -> ExitCode {
    let (command, config) = match config::load() {
        Ok(loaded) => loaded,
        Err(stop) => {
            // With standard error closed there is nobody to tell; the exit code still says it.
            stop.print().unwrap_or_default();
            return ExitCode::from(stop.exit_code());
        }
    };
    if command == Command::Check {
        return ExitCode::SUCCESS;
    }
    match serve(command, &config) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_told) => ExitCode::FAILURE,
    }
}

fn serve(command: Command, config: &Config) -> anyhow::Result<()> {
    // The log ends with this guard, so a failure is told before it goes.
    let logs = logs::init(config.log_format, &config.rust_log)?;
    let around = Surroundings {
        dropped_lines: Some(logs.dropped()),
        ..Surroundings::default()
    };
    run(command, config, around).inspect_err(|error| tracing::error!("{error:#}"))
}

fn run(command: Command, config: &Config, around: Surroundings) -> anyhow::Result<()> {
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?
        .block_on(async {
            let running = match command {
                Command::Dev => app::dev::start(config, around).await?,
                Command::Run | Command::Check => app::start(config, around)?,
            };
            tracing::info!(public = %running.public, admin = %running.admin, "serving");
            let end = tokio::select! {
                asked = server::asked_to_stop() => asked.map_err(anyhow::Error::from),
                () = running.deposed() => Ok(()),
                () = running.broken() => Err(anyhow::anyhow!("a part of the bridge broke")),
            };
            tracing::info!("draining");
            let patience = running.drain_timeout();
            let drained = tokio::select! {
                drained = tokio::time::timeout(patience, running.drain()) => {
                    drained.map_err(|_| anyhow::anyhow!("the drain took longer than DRAIN_TIMEOUT"))
                }
                _ = server::asked_to_stop() => Err(anyhow::anyhow!("told to end again: the drain was not finished")),
            };
            end.and(drained)
        })
}
