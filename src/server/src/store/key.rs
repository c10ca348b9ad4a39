//! What is stored where in Redis.

/// The hash that holds all fields, as in the talk this service comes from.
pub const HASH: &str = "currency";

/// The field behind `/`.
pub const CURRENT: &str = "current-value";
