//! axum with redis-rs, as their documentation writes it: a multiplexed connection in the state,
//! cloned per request, and the value as JSON.

use axum::extract::State;
use axum::http::{HeaderName, StatusCode, header::ACCESS_CONTROL_ALLOW_ORIGIN};
use axum::routing::get;
use axum::{Json, Router};
use redis::AsyncCommands;
use redis::aio::MultiplexedConnection;
use serde::Serialize;

#[derive(Serialize)]
struct Answer {
    current: f64,
}

type Reply = ([(HeaderName, &'static str); 1], Json<Answer>);

async fn read(State(mut redis): State<MultiplexedConnection>) -> Result<Reply, StatusCode> {
    let current = redis
        .hget("currency", "current-value")
        .await
        .map_err(|_| StatusCode::BAD_GATEWAY)?;
    Ok((
        [(ACCESS_CONTROL_ALLOW_ORIGIN, "*")],
        Json(Answer { current }),
    ))
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let (Some(listen), Some(address)) = (arguments.next(), arguments.next()) else {
        return Err("usage: axum-redis LISTEN REDIS".into());
    };
    let client = redis::Client::open(format!("redis://{address}/"))?;
    let redis = client.get_multiplexed_async_connection().await?;
    let app = Router::new().route("/", get(read)).with_state(redis);
    let listener = tokio::net::TcpListener::bind(listen).await?;
    Ok(axum::serve(listener, app).await?)
}
