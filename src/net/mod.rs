//! stub
pub mod endpoint;
pub mod tls;
