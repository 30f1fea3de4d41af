//! `issuer show`, `issuer rotate`, `issuer publish`.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::Path;

use grantd_wire::{IssuerDocuments, IssuerList, IssuerView, PublishedRequest, RotateRequest};
use jiff::Timestamp;

use super::Context;
use crate::cli::Issuer;
use crate::exit::{Exit, Failure};
use crate::print::{Facts, Table, absolute};

/// Does what is asked of an issuer.
pub(super) async fn issuer(context: &mut Context<'_>, asked: Issuer) -> Result<(), Failure> {
    match asked {
        Issuer::Show => {
            let answer = context.client.get::<_, IssuerList>("/v1/issuers", &()).await?;
            context.answer(&answer, |list, now| match list.issuers.is_empty() {
                true => "grantd.toml configures no issuer\n".to_owned(),
                false => list.issuers.iter().map(|issuer| shown(issuer, now)).collect::<Vec<_>>().join("\n"),
            })
        }
        Issuer::Rotate { issuer, leaked } => {
            let path = format!("/v1/issuers/{}/rotate", issuer.as_str());
            let answer = context.client.post::<_, IssuerView>(&path, &RotateRequest { leaked }).await?;
            context.answer(&answer, shown)
        }
        Issuer::Publish { directory, issuer, draft } => {
            let base = format!("/v1/issuers/{}", issuer.as_str());
            let found = context.client.get::<_, IssuerDocuments>(&format!("{base}/documents"), &()).await?.value;
            for document in &found.documents {
                // It comes from the daemon, and all the same leads nowhere but below the directory.
                let inside =
                    Path::new(&document.path).components().all(|part| matches!(part, std::path::Component::Normal(_)));
                let path = directory.join(&document.path);
                let written = if inside {
                    serde_json::to_vec_pretty(&document.content)
                        .map_err(io::Error::other)
                        .and_then(|text| replace(&path, &text))
                } else {
                    Err(io::Error::other("it is no path below the directory"))
                };
                written.map_err(|error| {
                    Failure::new(Exit::Unexpected, format!("cannot write {}: {error}", path.display()))
                })?;
            }
            if draft {
                context.note("the daemon goes on as if nothing were published: run it without --draft when it is");
                return Ok(());
            }
            let keys = found.issuer.keys.iter().map(|key| key.id.clone()).collect();
            let answer =
                context.client.post::<_, IssuerView>(&format!("{base}/published"), &PublishedRequest { keys }).await?;
            context.answer(&answer, shown)
        }
    }
}

/// Puts a file for everybody to read in its place as a whole: nobody ever reads half of it.
fn replace(path: &Path, text: &[u8]) -> io::Result<()> {
    use std::os::unix::fs::PermissionsExt;

    let directory = path.parent().ok_or_else(|| io::Error::other("it is in no directory"))?;
    fs::create_dir_all(directory)?;
    let mut staged = path.as_os_str().to_owned();
    staged.push(format!(".{}", std::process::id()));
    let written = (|| {
        let mut file = OpenOptions::new().write(true).create_new(true).open(&staged)?;
        file.write_all(text)?;
        file.write_all(b"\n")?;
        file.set_permissions(fs::Permissions::from_mode(0o644))?;
        file.sync_all()?;
        fs::rename(&staged, path)?;
        File::open(directory)?.sync_all()
    })();
    if written.is_err() {
        let _ = fs::remove_file(&staged);
    }
    written
}

fn shown(issuer: &IssuerView, now: Timestamp) -> String {
    let mut facts = Facts::titled(&issuer.name);
    facts.fact("url", &issuer.url);
    facts.fact("keys", &issuer.source);
    facts.fact("published", if issuer.published { "yes, as an administrator said" } else { "not as they are now" });
    let mut table = Table::new(["KEY", "ALGORITHM", "STATE", "SINCE"]);
    for key in &issuer.keys {
        let since = match (&key.signs_since, &key.signs_from, &key.published_until) {
            (Some(at), ..) => format!("signs since {}", absolute(at, now)),
            (_, Some(at), _) => format!("signs from {}", absolute(at, now)),
            (.., Some(at)) => format!("to be published until {}", absolute(at, now)),
            _ => "waits to be published".to_owned(),
        };
        table.row([key.id.clone(), key.algorithm.clone(), key.state.clone(), since]);
    }
    facts.raw(&table.text("  "));
    if !issuer.published {
        facts.fact("next", format!("grantctl issuer publish DIR --issuer {}", issuer.name));
    }
    facts.text()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_published_file_is_whole_and_for_everybody() {
        use std::os::unix::fs::PermissionsExt;

        let place = std::env::temp_dir().join(format!("grantctl-publish-{}", std::process::id()));
        let path = place.join(".well-known/jwks.json");
        for text in ["{}", "{\"keys\":[]}"] {
            replace(&path, text.as_bytes()).unwrap();
            assert_eq!(fs::read_to_string(&path).unwrap(), format!("{text}\n"));
        }
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o644);
        assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1, "nothing is left beside it");
        fs::remove_dir_all(place).unwrap();
    }
}
