//! axum with fred, as their documentation writes it: one client, which pipelines, and the value as
//! JSON.

use axum::extract::State;
use axum::http::{HeaderName, StatusCode, header::ACCESS_CONTROL_ALLOW_ORIGIN};
use axum::routing::get;
use axum::{Json, Router};
use fred::prelude::*;
use serde::Serialize;

#[derive(Serialize)]
struct Answer {
    current: f64,
}

type Reply = ([(HeaderName, &'static str); 1], Json<Answer>);

async fn read(State(redis): State<Client>) -> Result<Reply, StatusCode> {
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
        return Err("usage: axum-fred LISTEN REDIS".into());
    };
    let config = Config::from_url(&format!("redis://{address}/"))?;
    let redis = Builder::from_config(config).build()?;
    redis.init().await?;
    let app = Router::new().route("/", get(read)).with_state(redis);
    let listener = tokio::net::TcpListener::bind(listen).await?;
    Ok(axum::serve(listener, app).await?)
}
