//! Which file a program's name stands for.

use std::env;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// The file of a path, or of a name that is looked for on PATH; `None` if it can't be run.
pub(super) fn find(name: &Path) -> Option<PathBuf> {
    if name.components().count() > 1 {
        // The child runs in another folder.
        let file = std::path::absolute(name).ok()?;
        return is_program(&file).then_some(file);
    }
    let path = env::var_os("PATH")?;
    env::split_paths(&path)
        .map(|folder| folder.join(name))
        .find(|file| is_program(file))
}

fn is_program(file: &Path) -> bool {
    file.metadata()
        .is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn program_is_looked_for() {
        assert_eq!(find(Path::new("/nowhere/redis-server")), None);
        // A folder can be "executed" as far as its mode says.
        assert_eq!(find(Path::new("/")), None);
        let shell = find(Path::new("sh")).expect("every Unix has a shell");
        assert!(shell.is_absolute());
        assert_eq!(find(&shell), Some(shell));
    }
}
