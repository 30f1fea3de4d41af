//! Which git commit a bundle's directory is a checkout of, read without git. It is said in the records and decides nothing:
//! what was in force is told by the digest alone, for a checkout may have been changed.

use std::path::Path;

use super::seal::is_commit;

/// The most names that lead to one another.
const HOPS: usize = 4;

/// The commit that `.git` in `dir`, or in the directory above, has checked out (gitrepository-layout(5)).
pub(super) fn commit(dir: &Path, read: &dyn Fn(&Path) -> Result<String, String>) -> Option<String> {
    [Some(dir), dir.parent()].into_iter().flatten().find_map(|dir| head(&dir.join(".git"), read))
}

fn head(git: &Path, read: &dyn Fn(&Path) -> Result<String, String>) -> Option<String> {
    let mut text = read(&git.join("HEAD")).ok()?;
    for _ in 0..HOPS {
        let found = text.trim();
        if is_commit(found) {
            return Some(found.to_owned());
        }
        let name = found.strip_prefix("ref: ").filter(|name| is_ref(name))?.to_owned();
        text = match read(&git.join(&name)) {
            Ok(text) => text,
            Err(_) => packed(&read(&git.join("packed-refs")).ok()?, &name)?,
        };
    }
    None
}

/// Nothing that leads out of the repository.
fn is_ref(name: &str) -> bool {
    name.starts_with("refs/") && !name.split('/').any(|part| part.is_empty() || part == "." || part == "..")
}

/// The commit of a name in `packed-refs`: lines of a digest, a blank and a name (git-pack-refs(1)).
fn packed(text: &str, wanted: &str) -> Option<String> {
    text.lines().find_map(|line| line.split_once(' ').filter(|(_, name)| *name == wanted).map(|(at, _)| at.to_owned()))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

    fn of(files: &[(&str, &str)]) -> Option<String> {
        let files: BTreeMap<&str, &str> = files.iter().copied().collect();
        let read =
            |path: &Path| files.get(path.to_str().unwrap()).map(|text| (*text).to_owned()).ok_or_else(String::new);
        commit(Path::new("/etc/grantd/policy"), &read)
    }

    #[test]
    fn the_commit_is_found_where_git_writes_it() {
        let at = format!("{COMMIT}\n");
        let head = "ref: refs/heads/main\n";
        assert_eq!(of(&[("/etc/grantd/policy/.git/HEAD", &at)]).as_deref(), Some(COMMIT));
        assert_eq!(
            of(&[("/etc/grantd/.git/HEAD", head), ("/etc/grantd/.git/refs/heads/main", &at)]).as_deref(),
            Some(COMMIT)
        );
        let packed = format!("# pack-refs with: peeled\n{COMMIT} refs/heads/main\n");
        let found = of(&[("/etc/grantd/.git/HEAD", head), ("/etc/grantd/.git/packed-refs", &packed)]);
        assert_eq!(found.as_deref(), Some(COMMIT));
    }

    #[test]
    fn what_is_no_checkout_has_no_commit() {
        for head in ["", "hello", "ref: ../../shadow", "ref: refs/../../shadow", "ref: refs/heads/gone"] {
            assert_eq!(of(&[("/etc/grantd/policy/.git/HEAD", head)]), None, "{head}");
        }
        let circle =
            [("/etc/grantd/policy/.git/HEAD", "ref: refs/a"), ("/etc/grantd/policy/.git/refs/a", "ref: refs/a")];
        assert_eq!(of(&circle), None);
        assert_eq!(of(&[]), None);
    }
}
