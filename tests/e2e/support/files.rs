//! Files that change while a process runs.

use std::fs;
use std::path::Path;

/// Replaces a file as a whole, as a careful operator does.
pub fn replace(path: &Path, text: &str) {
    let next = path.with_extension("next");
    fs::write(&next, text).expect("our folder is writable");
    fs::rename(&next, path).expect("our folder is writable");
}

/// What is in it.
pub fn text(path: &Path) -> String {
    fs::read_to_string(path).expect("the file is there")
}
