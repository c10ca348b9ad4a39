//! stub
pub mod endpoint;
