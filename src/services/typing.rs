//! Who is typing where. Leases are rules ([`TypingBook`]); this ends the ones that run out.

use super::ports::Announce;
use crate::clock::Clock;
use crate::domain::ids::{ChatId, ConnectionId, UserId};
use crate::domain::typing::TypingBook;
use crate::telemetry::metrics::Metrics;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

pub struct Typing {
    book: Mutex<TypingBook>,
    /// An earlier deadline than the one [`Typing::run`] waits for may have come.
    earlier: Notify,
    clock: Clock,
    metrics: Arc<Metrics>,
}

impl Typing {
    pub fn new(ttl: Duration, clock: Clock, metrics: Arc<Metrics>) -> Self {
        Self {
            book: Mutex::new(TypingBook::new(ttl)),
            earlier: Notify::new(),
            clock,
            metrics,
        }
    }

    /// Takes or renews the connection's lease. `relay` is called when the user began to type, before
    /// anybody can hear of the end.
    pub fn start(
        &self,
        chat: &ChatId,
        user: &UserId,
        connection: ConnectionId,
        relay: impl FnOnce(),
    ) {
        let mut book = self.book();
        let idle = book.next_deadline().is_none();
        if book.start(chat, user, connection, self.clock.instant()) {
            relay();
        }
        self.count(&book);
        drop(book);
        if idle {
            self.earlier.notify_one();
        }
    }

    /// Ends the connection's lease. `relay` is called when that was the user's last one in the chat.
    pub fn stop(
        &self,
        chat: &ChatId,
        user: &UserId,
        connection: ConnectionId,
        relay: impl FnOnce(),
    ) {
        let mut book = self.book();
        if book.active() == 0 {
            return;
        }
        if book.stop(chat, user, connection) {
            relay();
        }
        self.count(&book);
    }

    /// Ends leases as they run out, until `stop`.
    pub async fn run(&self, announce: &dyn Announce, stop: CancellationToken) {
        loop {
            let deadline = self.book().next_deadline();
            let expiry = async {
                match deadline {
                    Some(deadline) => tokio::time::sleep_until(deadline.into()).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = stop.cancelled() => return,
                () = self.earlier.notified() => {}
                () = expiry => {
                    // Told under the lock, so that a start just after cannot be heard before this stop.
                    let mut book = self.book();
                    for typist in book.expire(self.clock.instant()) {
                        announce.stop_typing(&typist.chat, &typist.user);
                    }
                    self.count(&book);
                }
            }
        }
    }

    fn count(&self, book: &TypingBook) {
        self.metrics
            .typing_active
            .set(i64::try_from(book.active()).unwrap_or(i64::MAX));
    }

    fn book(&self) -> MutexGuard<'_, TypingBook> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
