//! Reading Rust source as text: what is code, and which paths it names.

/// The line of the byte at `at`, from 1 on.
pub fn line_of(code: &str, at: usize) -> usize {
    code[..at].matches('\n').count() + 1
}

/// Where `needle` stands, not within a longer identifier.
pub fn words(code: &str, needle: &str) -> Vec<usize> {
    let is_ident = |c: char| c.is_alphanumeric() || c == '_';
    let starts_ident = needle.starts_with(is_ident);
    let ends_ident = needle.ends_with(is_ident);
    code.match_indices(needle)
        .filter(|(at, _)| !(starts_ident && code[..*at].ends_with(is_ident)))
        .filter(|(at, _)| !(ends_ident && code[at + needle.len()..].starts_with(is_ident)))
        .map(|(at, _)| at)
        .collect()
}

/// Every path of the crate that `module` names, by `crate::` and by `super::`, from the root on.
pub fn crate_paths(code: &str, module: &[String]) -> Vec<(usize, Vec<String>)> {
    // Borders between crates are the compiler's: only paths of the file's own crate count.
    let root = &module[..1];
    let mut found: Vec<_> = paths(code, "crate")
        .into_iter()
        .map(|(at, path)| (at, [root, &path].concat()))
        .collect();
    for (at, tail) in paths(code, "super") {
        let ups = 1 + tail.iter().take_while(|name| *name == "super").count();
        let mut path = module[..module.len().saturating_sub(ups)].to_vec();
        path.extend_from_slice(&tail[ups - 1..]);
        found.push((at, path));
    }
    found
}

/// Every path below `root::`, `use` trees spread out: `std::{env, fs::File}` gives `env` and
/// `fs::File`.
pub fn paths(code: &str, root: &str) -> Vec<(usize, Vec<String>)> {
    let mut found = Vec::new();
    for at in words(code, root) {
        // The tail of a longer path is not a root (`super::super`, `other::std`).
        if code[..at].ends_with("::") && !code[..at].ends_with("{::") {
            continue;
        }
        if let Some(rest) = code[at + root.len()..].strip_prefix("::") {
            let start = code.len() - rest.len();
            tree(code, start, &mut Vec::new(), &mut found);
        }
    }
    found
}

/// Reads one `use` tree from `at` on, below `prefix`, and gives where it ends.
fn tree(
    code: &str,
    mut at: usize,
    prefix: &mut Vec<String>,
    found: &mut Vec<(usize, Vec<String>)>,
) -> usize {
    let depth = prefix.len();
    loop {
        at += code[at..].len() - code[at..].trim_start().len();
        if code[at..].starts_with('{') {
            at += 1;
            loop {
                at = tree(code, at, prefix, found);
                at += code[at..].find([',', '}']).unwrap_or(code.len() - at);
                let closed = !code[at..].starts_with(',');
                at = (at + 1).min(code.len());
                let rest = code[at..].trim_start();
                if closed || rest.is_empty() {
                    break;
                }
                if rest.starts_with('}') {
                    at = code.len() - rest.len() + 1;
                    break;
                }
            }
            break;
        }
        let is_ident = |c: char| c.is_alphanumeric() || c == '_';
        let name: String = code[at..].chars().take_while(|&c| is_ident(c)).collect();
        let start = at;
        at += name.len();
        if !name.is_empty() && name != "self" {
            prefix.push(name);
        }
        if !code[at..].starts_with("::") {
            found.push((start, prefix.clone()));
            break;
        }
        at += 2;
    }
    prefix.truncate(depth);
    at
}

/// The source with comments and the insides of literals as blanks; all bytes keep their places.
pub fn masked(source: &str) -> String {
    let bytes = source.as_bytes();
    let mut out = bytes.to_vec();
    let mut at = 0;
    while at < bytes.len() {
        let rest = &bytes[at..];
        let end = if rest.starts_with(b"//") {
            at + rest.iter().position(|&b| b == b'\n').unwrap_or(rest.len())
        } else if rest.starts_with(b"/*") {
            at + block_comment(rest)
        } else if let Some(len) = raw_string(rest).filter(|_| !after_ident(bytes, at)) {
            at + len
        } else if rest[0] == b'"' {
            at + quoted(rest, b'"')
        } else if rest[0] == b'\'' && is_char_literal(rest) {
            at + quoted(rest, b'\'')
        } else {
            at += 1;
            continue;
        };
        for byte in &mut out[at..end] {
            if *byte != b'\n' {
                *byte = b' ';
            }
        }
        at = end;
    }
    String::from_utf8(out).expect("whole literals were blanked")
}

fn after_ident(bytes: &[u8], at: usize) -> bool {
    at > 0 && (bytes[at - 1].is_ascii_alphanumeric() || bytes[at - 1] == b'_')
}

/// The length of the block comment at the start; they nest.
fn block_comment(rest: &[u8]) -> usize {
    let (mut at, mut depth) = (0, 0);
    while at < rest.len() {
        if rest[at..].starts_with(b"/*") {
            depth += 1;
            at += 2;
        } else if rest[at..].starts_with(b"*/") {
            depth -= 1;
            at += 2;
            if depth == 0 {
                break;
            }
        } else {
            at += 1;
        }
    }
    at
}

/// The length of the raw string at the start: `r"…"`, `br#"…"#`.
fn raw_string(rest: &[u8]) -> Option<usize> {
    let prefix = rest
        .iter()
        .take_while(|b| matches!(b, b'b' | b'c' | b'r'))
        .count();
    if prefix > 2 || !rest[..prefix].ends_with(b"r") {
        return None;
    }
    let hashes = rest[prefix..].iter().take_while(|&&b| b == b'#').count();
    if rest.get(prefix + hashes) != Some(&b'"') {
        return None;
    }
    let start = prefix + hashes + 1;
    let mut end = vec![b'"'];
    end.resize(1 + hashes, b'#');
    let inside = rest[start..]
        .windows(end.len())
        .position(|window| window == end)?;
    Some(start + inside + end.len())
}

/// The length of the literal at the start, which `quote` opens and closes.
fn quoted(rest: &[u8], quote: u8) -> usize {
    let mut at = 1;
    while at < rest.len() && rest[at] != quote {
        at += if rest[at] == b'\\' { 2 } else { 1 };
    }
    (at + 1).min(rest.len())
}

/// Tells `'a'` from the lifetime `'a`.
fn is_char_literal(rest: &[u8]) -> bool {
    let text = String::from_utf8_lossy(&rest[1..rest.len().min(16)]).into_owned();
    let mut chars = text.chars();
    match chars.next() {
        Some('\\') => true,
        Some(_) => chars.next() == Some('\''),
        None => false,
    }
}

/// Blanks every item under `#[cfg(test)]`: to the end of its braces, or to its semicolon.
pub fn blank_tests(code: &mut String) {
    let mut from = 0;
    while let Some(found) = code[from..].find("#[cfg(test)]") {
        let start = from + found;
        let open = code[start..]
            .find(['{', ';'])
            .map_or(code.len(), |at| start + at);
        let mut end = open;
        let mut depth = 0;
        for (at, c) in code[open..].char_indices() {
            depth += match c {
                '{' => 1,
                '}' => -1,
                _ => 0,
            };
            if depth == 0 {
                end = open + at + 1;
                break;
            }
        }
        let blank: String = code[start..end]
            .bytes()
            .map(|b| if b == b'\n' { '\n' } else { ' ' })
            .collect();
        code.replace_range(start..end, &blank);
        from = end;
    }
}
