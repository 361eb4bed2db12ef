//! What everything stands on: time, metrics, and the background tasks with their end.

#[cfg(feature = "sabotage")]
use super::sabotage::Sabotage;
use crate::clock::Clock;
use crate::telemetry::metrics::Metrics;
use futures_util::FutureExt;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub(super) struct Ground {
    pub(super) clock: Clock,
    pub(super) metrics: Arc<Metrics>,
    /// Ends the background tasks.
    pub(super) stop: CancellationToken,
    pub(super) tasks: TaskTracker,
    /// One of them has panicked.
    pub(super) broken: CancellationToken,
    #[cfg(feature = "sabotage")]
    pub(super) sabotage: Sabotage,
}

impl Ground {
    pub(super) fn new(clock: Clock) -> Self {
        Self {
            clock,
            metrics: Arc::new(Metrics::new()),
            stop: CancellationToken::new(),
            tasks: TaskTracker::new(),
            broken: CancellationToken::new(),
            #[cfg(feature = "sabotage")]
            sabotage: Sabotage::default(),
        }
    }

    /// Runs a task that minds the stop by itself.
    pub(super) fn run(&self, name: &'static str, task: impl Future<Output = ()> + Send + 'static) {
        let watched = self.watched(name, task);
        self.tasks
            .spawn(async move { watched.await.unwrap_or_default() });
    }

    /// Runs a task that knows no end.
    pub(super) fn run_until_stop(
        &self,
        name: &'static str,
        task: impl Future<Output = ()> + Send + 'static,
    ) {
        let stop = self.stop.clone();
        self.run(name, async move {
            stop.run_until_cancelled(task).await.unwrap_or_default();
        });
    }

    /// A task that breaks takes the process with it: one that served on without it would lie.
    pub(super) fn watched<T, F: Future<Output = T> + Send + 'static>(
        &self,
        name: &'static str,
        task: F,
    ) -> impl Future<Output = Option<T>> + Send + 'static + use<T, F> {
        let (broken, metrics) = (self.broken.clone(), Arc::clone(&self.metrics));
        async move {
            let ended = AssertUnwindSafe(task).catch_unwind().await;
            if ended.is_err() {
                metrics.panics.inc();
                tracing::error!(
                    task = name,
                    "a part of the bridge broke; it drains and ends"
                );
                broken.cancel();
            }
            ended.ok()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_task_that_panics_is_told_and_nothing_else_counts_as_broken() {
        let ground = Ground::new(Clock::system());
        ground.run("one that ends", async {});
        ground.run_until_stop("one that is stopped", std::future::pending());
        ground.stop.cancel();
        ground.tasks.close();
        ground.tasks.wait().await;
        assert!(!ground.broken.is_cancelled());
        ground.run("one that breaks", async { panic!("on purpose") });
        ground.broken.cancelled().await;
        assert_eq!(ground.metrics.panics.get(), 1);
        assert_eq!(ground.watched("mirror", async { 7 }).await, Some(7));
    }
}
