//! stub
#![deny(unsafe_code)]
pub mod config;
pub mod conn;
pub mod http;
pub mod local;
pub mod metrics;
pub mod net;
pub mod resp;
pub mod store;
pub mod turn;
pub mod worker;
