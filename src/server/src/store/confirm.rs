//! Waiting until replicas have a write.
//!
//! The master is asked by `WAIT` for short [slices](SLICE) of time, again and again until the
//! write's deadline: so that other writes get their turn, and that it is known at the deadline how
//! many have confirmed.
//!
//! Non-goal: a choice of replicas. Redis counts any, in our case the sidecars of pods too.

use std::time::{Duration, Instant};

use super::confirmations::Connection;
use super::master::Master;
use super::write_error::{Progress, WriteError};
use super::write_reply::{WaitReply, WriteWaiter};
use crate::net::Link;

/// How long one `WAIT` may last. A server that is idle looks at its clock each 100 ms only (`hz
/// 10`), so that it may be so much more.
const SLICE: Duration = Duration::from_millis(50);

/// What is kept of a write's time for the way of the last answer.
const MARGIN: Duration = Duration::from_millis(10);

/// Waits until `wanted` replicas have what was written on this connection.
///
/// # Errors
/// Too few have it a moment before the deadline, or it can't be known.
pub async fn confirm(
    master: &Master,
    link: &Link<WriteWaiter>,
    connection: Connection,
    wanted: u64,
    deadline: Instant,
    report: &impl Fn(Progress),
) -> Result<(), WriteError> {
    let since = master.now();
    let mut confirmed = None;
    loop {
        report(Progress::Written { confirmed, wanted });
        let now = master.now();
        let left = deadline.saturating_duration_since(now);
        match confirmed {
            Some(confirmed) if left <= MARGIN => {
                let within = now - since;
                return Err(WriteError::TooFew {
                    confirmed,
                    wanted,
                    within,
                });
            }
            _ => {}
        }
        // Never 0 ms: that is no timeout at all.
        let slice = left
            .saturating_sub(MARGIN)
            .clamp(Duration::from_millis(1), SLICE);
        let answer = master
            .confirmations()
            .ask(link, connection, now, wanted, slice)
            .map_err(|why| WriteError::Unconfirmed(why.to_owned()))?;
        match answer.wait().await {
            WaitReply::Confirmed(replicas) if replicas >= wanted => return Ok(()),
            WaitReply::Confirmed(replicas) => confirmed = Some(replicas),
            WaitReply::Refused { kind, text } => {
                return Err(WriteError::WaitRefused { kind, text });
            }
            WaitReply::Lost(why) => return Err(WriteError::Unconfirmed(why)),
        }
    }
}
