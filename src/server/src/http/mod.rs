//! HTTP: the server (generic over its service), the API's service, the yardstick, and a small
//! server for probes, scrapers and pages.

mod age;
pub mod caching;
pub mod cors;
pub mod guard;
pub mod hello;
mod host;
mod more;
mod posted;
mod response;
mod route;
pub mod server;
pub mod service;
pub mod small;
pub mod streams;
pub mod token;
