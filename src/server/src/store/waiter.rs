//! An answer that many requests wait for.

use std::cell::RefCell;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

/// Filled once, read by everyone who waits. On one thread only.
pub struct Answer<T> {
    state: RefCell<State<T>>,
}

enum State<T> {
    Waiting(Vec<Waker>),
    Done(T),
}

impl<T: Clone> Answer<T> {
    /// An unanswered one with room for `expected` waiters.
    pub fn new(expected: usize) -> Rc<Self> {
        Rc::new(Answer {
            state: RefCell::new(State::Waiting(Vec::with_capacity(expected))),
        })
    }

    /// Fills it and wakes all who wait. A second filling is ignored.
    pub fn resolve(&self, value: T) {
        let mut state = self.state.borrow_mut();
        if let State::Waiting(wakers) = &mut *state {
            let wakers = std::mem::take(wakers);
            *state = State::Done(value);
            drop(state);
            wakers.into_iter().for_each(Waker::wake);
        }
    }

    /// How many have waited so far; 0 once it is answered.
    pub fn waiters(&self) -> usize {
        match &*self.state.borrow() {
            State::Waiting(wakers) => wakers.len(),
            State::Done(_) => 0,
        }
    }

    /// A future of the answer.
    pub fn wait(self: &Rc<Self>) -> Wait<T> {
        Wait {
            answer: self.clone(),
            seat: None,
        }
    }
}

/// Waits for an [`Answer`].
///
/// # Cancel safety
/// Dropping it leaves its waker behind: the task is woken once for nothing. The command's place in
/// the connection's queue is not touched.
pub struct Wait<T> {
    answer: Rc<Answer<T>>,
    /// Where our waker is. Each idle connection has room for one of these.
    seat: Option<u32>,
}

impl<T: Clone> Future for Wait<T> {
    type Output = T;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<T> {
        let answer = self.answer.clone();
        match &mut *answer.state.borrow_mut() {
            State::Done(value) => return Poll::Ready(value.clone()),
            State::Waiting(wakers) => {
                match self.seat.and_then(|seat| wakers.get_mut(seat as usize)) {
                    Some(waker) => waker.clone_from(cx.waker()),
                    None => {
                        self.seat = u32::try_from(wakers.len()).ok();
                        wakers.push(cx.waker().clone());
                    }
                }
            }
        }
        Poll::Pending
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::Wake;

    use super::*;

    #[derive(Default)]
    struct Count(AtomicUsize);

    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn poll<T: Clone>(wait: &mut Wait<T>, count: &Arc<Count>) -> Poll<T> {
        let waker = Waker::from(count.clone());
        Pin::new(wait).poll(&mut Context::from_waker(&waker))
    }

    #[test]
    fn everyone_who_waits_is_woken_once_and_gets_the_answer() {
        let answer = Answer::new(0);
        let counts: Vec<_> = (0..3).map(|_| Arc::new(Count::default())).collect();
        let mut waits: Vec<_> = (0..3).map(|_| answer.wait()).collect();
        for (wait, count) in waits.iter_mut().zip(&counts) {
            assert_eq!(poll(wait, count), Poll::Pending);
            assert_eq!(
                poll(wait, count),
                Poll::Pending,
                "a second poll takes no second seat"
            );
        }
        assert_eq!(answer.waiters(), 3);
        drop(waits.remove(0));
        answer.resolve(7);
        answer.resolve(8);
        for (wait, count) in waits.iter_mut().zip(&counts[1..]) {
            assert_eq!(count.0.load(Ordering::Relaxed), 1);
            assert_eq!(poll(wait, count), Poll::Ready(7));
        }
        assert_eq!(
            poll(&mut answer.wait(), &counts[0]),
            Poll::Ready(7),
            "late comers too"
        );
        assert_eq!(answer.waiters(), 0);
    }
}
