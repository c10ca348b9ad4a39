//! Tests of the tables and of their text.
