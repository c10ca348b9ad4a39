//! Rules of a connection, one by one.

mod finish;
