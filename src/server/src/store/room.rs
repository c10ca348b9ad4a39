//! The limit on fields: before a write, the master is asked whether the hash has room for it.
//!
//! Nothing is locked between the question and the write, so writers at the same moment may exceed
//! the limit by their number. It guards against a client that invents fields without end, which
//! land in the memory of the master and of every replica; it is no exact quota.

use std::rc::Rc;

use super::key::HashName;
use super::master::Master;
use super::waiter::Answer;
use super::write_error::{Progress, WriteError};
use super::write_reply::{CountReply, WriteWaiter};
use crate::net::Link;
use redis_api_wire::conn::Refusal;
use redis_api_wire::resp;

/// Asks the master whether a write of `field` would leave the hash with at most `max` fields.
///
/// Both questions, `HEXISTS` and `HLEN`, leave in one write. They change nothing, so they are
/// asked again when the connection is lost, as long as the caller lets it.
///
/// # Errors
/// There is no room, or no answer; the write was not sent.
pub async fn has_room(
    master: &Master,
    hash: &HashName,
    field: &[u8],
    max: u64,
    report: &impl Fn(Progress),
) -> Result<(), WriteError> {
    loop {
        report(Progress::Waiting);
        let link = master.link().await?;
        let ask = |command: &[&[u8]]| ask(master, &link, command);
        let asked = ask(&[b"HEXISTS", hash.as_bytes(), field])
            .and_then(|exists| Ok((exists, ask(&[b"HLEN", hash.as_bytes()])?)));
        let (exists, fields) = match asked {
            Ok(answers) => answers,
            Err(Refusal::NotReady) => {
                link.admit(false);
                continue;
            }
            Err(Refusal::Full) => return Err(WriteError::Shed),
        };
        report(Progress::Checking);
        let (Some(exists), Some(fields)) =
            (known(exists.wait().await)?, known(fields.wait().await)?)
        else {
            continue;
        };
        let has_room = exists != 0 || u64::try_from(fields).is_ok_and(|fields| fields < max);
        return has_room.then_some(()).ok_or(WriteError::NoRoom(max));
    }
}

fn ask(
    master: &Master,
    link: &Link<WriteWaiter>,
    command: &[&[u8]],
) -> Result<Rc<Answer<CountReply>>, Refusal> {
    let answer = Answer::new(1);
    let waiter = WriteWaiter::Count(answer.clone());
    match link.enqueue(waiter, master.now(), |out| resp::command(out, command)) {
        Ok(()) => Ok(answer),
        Err((_, refusal)) => Err(refusal),
    }
}

/// The number, or `None` if the question is to be asked again.
fn known(count: CountReply) -> Result<Option<i64>, WriteError> {
    match count {
        CountReply::Is(number) => Ok(Some(number)),
        CountReply::Lost => Ok(None),
        CountReply::Refused { kind, text } => Err(WriteError::NotChecked { kind, text }),
        CountReply::WrongReply => Err(WriteError::WrongCount),
    }
}
