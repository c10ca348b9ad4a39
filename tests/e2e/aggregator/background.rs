//! What a test serves, on a thread with a runtime of its own.

use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread::{self, JoinHandle};

use tokio::sync::oneshot;

/// It ends when this is dropped.
#[derive(Debug)]
pub struct Background {
    end: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Background {
    /// Runs what `serve` gives, which says when it listens. Clients can connect when this returns.
    pub fn start<F>(serve: impl FnOnce(SyncSender<()>) -> F + Send + 'static) -> Background
    where
        F: Future<Output = ()>,
    {
        let (end, ended) = oneshot::channel();
        let (ready, is_ready) = sync_channel(1);
        let thread = thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .expect("a runtime can be made");
            runtime.block_on(async {
                tokio::select! {
                    () = serve(ready) => {}
                    _ = ended => {}
                }
            });
        });
        is_ready.recv().expect("it listens");
        Background {
            end: Some(end),
            thread: Some(thread),
        }
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        drop(self.end.take());
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
            && !thread::panicking()
        {
            panic!("what a test serves has panicked");
        }
    }
}
