//! One thing after another that goes wrong between a bridge and its database.

use super::proxy::Cable;
use super::site::Site;
use axum::http::Method;
use presence_bridge::dev::database::{Fault, Target};
use rand::RngExt;
use rand::rngs::StdRng;
use std::time::Duration;

/// Some time after this the last write that was held back has landed.
pub(crate) const LATEST: Duration = Duration::from_secs(4);

/// Goes on until it is dropped; [`mend`] is for afterwards.
pub(crate) async fn strike(site: &Site, mut rng: StdRng) {
    loop {
        let pause = Duration::from_millis(rng.random_range(200..1_500));
        tokio::time::sleep(pause).await;
        if rng.random_bool(0.3) {
            let cable = match rng.random_range(0..4) {
                0 => Cable::Slow(Duration::from_millis(rng.random_range(5..50))),
                1 => Cable::Stalled,
                2 => Cable::Deaf,
                _ => Cable::Broken,
            };
            site.cable.set(cable);
            let lasts = Duration::from_millis(rng.random_range(50..1_500));
            tokio::time::sleep(lasts).await;
            site.cable.set(Cable::Sound);
        } else {
            let target = if rng.random_bool(0.7) {
                Target::method(Method::PATCH).under("/presence")
            } else {
                Target::any()
            };
            let times = rng.random_range(1..4);
            site.database.inject(target, times, fault(&mut rng));
        }
    }
}

pub(crate) fn mend(site: &Site) {
    site.cable.set(Cable::Sound);
    site.database.clear_faults();
}

fn fault(rng: &mut StdRng) -> Fault {
    match rng.random_range(0..9) {
        0 => Fault::Status(503, "{}".to_owned()),
        1 => Fault::Status(500, "{}".to_owned()),
        2 => Fault::Busy {
            status: 429,
            retry_after_s: 1,
        },
        3 => Fault::HangBeforeCommit,
        4 => Fault::HangAfterCommit,
        5 => Fault::ResetBeforeCommit,
        6 => Fault::ResetAfterCommit,
        7 => Fault::SlowBody,
        // Beyond the timeout, and within what the reads after doubt cover.
        _ => Fault::DelayCommit(Duration::from_millis(rng.random_range(1_100..3_500))),
    }
}
