//! A command of this turn that more reads may share.

use std::rc::Rc;

use super::found::{ReadError, ReadResult, ReadWaiter};
use super::waiter::{Answer, Wait};
use crate::net::Link;

/// Waiters of one command. More are shed: it bounds what a server that hangs makes us keep.
pub(super) const MAX_WAITERS: usize = 16 * 1024;

/// A command that can still be joined: not yet sent while its link's stamp stands.
pub(super) struct Joinable {
    pub answer: Rc<Answer<ReadResult>>,
    pub link: Rc<Link<ReadWaiter>>,
    pub stamp: u64,
}

impl Joinable {
    /// Whether it can be joined still.
    pub fn is_open(&self) -> bool {
        self.link.stamp() == self.stamp && self.link.is_admitted()
    }

    /// The answer, for one more who waits.
    ///
    /// # Errors
    /// There are too many.
    pub fn join(&self) -> Result<Wait<ReadResult>, ReadError> {
        if self.answer.waiters() >= MAX_WAITERS {
            return Err(ReadError::Shed);
        }
        Ok(self.answer.wait())
    }
}
