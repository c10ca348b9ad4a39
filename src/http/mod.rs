//! stub
pub mod admin;
