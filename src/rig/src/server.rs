//! The HTTP server of the rig's programs: the small one of the API's crate, with room for a room
//! full of browsers.

use std::future::Future;
use std::time::Duration;

use hyper::body::Incoming;
use hyper::{Request, Response};
use redis_api_server::small::{self, Limits};
use tokio::net::TcpListener;

pub(super) use redis_api_server::small::{Body, answer, empty};

/// Each browser needs some ten connections. A laptop that sleeps through a coffee opens new ones.
const LIMITS: Limits = Limits {
    connections: 1024,
    client_gone: Duration::from_secs(30),
};

/// Answers every request on `listener` by `respond`, for ever.
///
/// # Cancel safety
/// Dropping the future closes the listener and cuts every connection.
pub(super) async fn serve<F>(
    listener: TcpListener,
    respond: impl Fn(Request<Incoming>) -> F + Clone + Send + Sync + 'static,
) where
    F: Future<Output = Response<Body>> + Send + 'static,
{
    small::serve(LIMITS, listener, respond).await;
}
