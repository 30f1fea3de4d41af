//! Files of other programs that hold something of ours: what is ours is marked, what is not is left alone, and a file is
//! replaced as a whole or not at all.

use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// By which a section or a file is known as ours.
pub(crate) const MARK: &str = "# grantctl configure wrote this and keeps it current";

/// A section is there, and is somebody else's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Foreign;

/// An INI file with `lines` in the section `header`, e.g. `[profile grantd]`. Of a section of ours, only lines with the
/// names of `lines` are replaced, so that what a person added stays; of a foreign one nothing is, unless by `force`, which
/// replaces all of it.
pub(crate) fn with_section(text: &str, header: &str, lines: &[(&str, String)], force: bool) -> Result<String, Foreign> {
    let all: Vec<&str> = text.lines().collect();
    let ours: Vec<String> = lines.iter().map(|(name, value)| format!("{name} = {value}")).collect();
    let Some(start) = all.iter().position(|line| is_header(line, header)) else {
        let gap = if text.is_empty() || text.ends_with("\n\n") { "" } else { "\n" };
        let end = if text.is_empty() || text.ends_with('\n') { "" } else { "\n" };
        return Ok(format!("{text}{end}{gap}{header}\n{MARK}\n{}\n", ours.join("\n")));
    };
    let (before, rest) = all.split_at(start.saturating_add(1));
    let length = rest.iter().position(|line| line.starts_with('[')).unwrap_or(rest.len());
    let (section, after) = rest.split_at(length);
    let is_ours = section.iter().any(|line| line.trim() == MARK);
    if !is_ours && !force {
        return Err(Foreign);
    }
    let kept = section.iter().filter(|line| {
        let name = line.split('=').next().unwrap_or_default().trim();
        let blank = line.trim().is_empty();
        blank || (is_ours && line.trim() != MARK && !lines.iter().any(|(ours, _)| *ours == name))
    });
    let mut written: Vec<String> = before.iter().map(|line| (*line).to_owned()).collect();
    written.push(MARK.to_owned());
    written.extend(ours);
    written.extend(kept.chain(after).map(|line| (*line).to_owned()));
    Ok(written.join("\n") + "\n")
}

/// Whether a file has the section `header`.
pub(crate) fn has_section(text: &str, header: &str) -> bool {
    text.lines().any(|line| is_header(line, header))
}

/// Clients pass over white space within the brackets, and comments after them.
fn is_header(line: &str, header: &str) -> bool {
    let words = |text: &str| text.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
    let inside = |text: &str| text.strip_prefix('[')?.split_once(']').map(|(inside, _)| words(inside));
    inside(line).is_some_and(|found| inside(header) == Some(found))
}

/// Puts a file in place in one step, with the mode of the one that was there, else 0600. A link is followed: what it leads
/// to is replaced. Directories above it are made, for the user alone.
pub(crate) fn replace(path: &Path, contents: &str) -> io::Result<()> {
    let path = match fs::canonicalize(path) {
        Ok(found) => found,
        Err(error) if error.kind() == io::ErrorKind::NotFound => path.to_owned(),
        Err(error) => return Err(error),
    };
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    DirBuilder::new().recursive(true).mode(0o700).create(parent)?;
    let mode = fs::metadata(&path).map_or(0o600, |found| found.permissions().mode() & 0o777);
    let fresh = beside(&path);
    let written = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&fresh).and_then(|mut file| {
        file.write_all(contents.as_bytes())?;
        file.set_permissions(fs::Permissions::from_mode(mode))?;
        file.sync_all()?;
        fs::rename(&fresh, &path)
    });
    if written.is_err() {
        let _ = fs::remove_file(&fresh);
    }
    written
}

fn beside(path: &Path) -> PathBuf {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    path.with_file_name(format!(".{name}.grantctl-{}", std::process::id()))
}

/// A word as a POSIX shell, and what splits like one, reads it back.
pub(crate) fn quoted(word: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_./:=@,+".contains(&byte);
    if !word.is_empty() && word.bytes().all(plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', "'\\''"))
}

#[cfg(test)]
#[path = "owned_tests.rs"]
mod tests;
