//! `configure`: has a cloud's clients fetch their credentials from here, as far as they can be configured to. What is
//! written holds no secret, and with `auto` no grant.

use std::env;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde_json::json;

use super::Context;
use crate::exit::{Exit, Failure};
use crate::fetch::{Configure, ConfigureAws, ConfigureExec, ConfigureGcp, ConfigureKubernetes, Written};
use crate::forms::kubernetes::VERSIONS;
use crate::owned::{MARK, has_section, quoted, replace, with_section};
use crate::words::{AUTO, GrantChoice};

/// The Azure CLI takes no managed identity without a login, and keeps that in a directory which is the command's own.
const AZ: &str = "az login --identity --allow-no-subscriptions --output none && exec az \"$@\"";
/// How the command of a credential file for Google's libraries ends, by which it is known as ours.
const EXECUTABLE: &str = " --format executable";

/// Writes or prints one client's configuration.
pub(super) fn configure(context: &mut Context<'_>, wanted: Configure) -> Result<(), Failure> {
    match wanted {
        Configure::Aws(wanted) => aws(context, wanted),
        Configure::Kubernetes(wanted) => kubernetes(context, wanted),
        Configure::Gcp(wanted) => gcp(context, wanted),
        Configure::Azure(wanted) => by_exec(context, &wanted, &["az", "azcopy", "terraform"], "front"),
    }
}

/// A profile with a `credential_process` (AWS SDKs and Tools Reference Guide, "Process credential provider").
fn aws(context: &mut Context<'_>, wanted: ConfigureAws) -> Result<(), Failure> {
    let ConfigureAws { profile, file, what } = wanted;
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    if profile.is_empty() || !profile.bytes().all(plain) {
        return Err(Failure::new(Exit::Usage, "a profile's name is letters, digits, -, _ and . here"));
    }
    let header = if profile == "default" { "[default]".to_owned() } else { format!("[profile {profile}]") };
    let words = this_command(context, "credential-process", &what)?;
    let words: Vec<String> = words.iter().map(|word| quoted(word)).collect();
    let lines = [("credential_process", words.join(" "))];
    if what.print {
        return context.say(&with_section("", &header, &lines, false).unwrap_or_default());
    }
    let path = place(file, "AWS_CONFIG_FILE", ".aws/config")?;
    let text = read(&path)?;
    let refused = |line: String| Failure::new(Exit::State, line);
    let written = with_section(&text, &header, &lines, what.force).map_err(|_| {
        let path = path.display();
        refused(format!("{header} of {path} was written by somebody else: choose another --profile, or say --force"))
    })?;
    let keys = place(None, "AWS_SHARED_CREDENTIALS_FILE", ".aws/credentials")?;
    if has_section(&read(&keys)?, &format!("[{profile}]")) && !what.force {
        let keys = keys.display();
        let line = format!(
            "{keys} has keys of the profile {profile}, which come first: take them out, choose another --profile, or \
             say --force"
        );
        return Err(refused(line));
    }
    put(&path, &written)?;
    let path = path.display();
    context.say(&format!("wrote {header} of {path} (next: AWS_PROFILE={profile} aws sts get-caller-identity)\n"))
}

/// A kubeconfig with nothing but a user, to be read beside those of the clusters ("Organizing cluster access using
/// kubeconfig files", merging).
fn kubernetes(context: &mut Context<'_>, wanted: ConfigureKubernetes) -> Result<(), Failure> {
    let ConfigureKubernetes { user, cluster, region, file, what } = wanted;
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    if user.is_empty() || user.starts_with('.') || !user.bytes().all(plain) {
        return Err(Failure::new(Exit::Usage, "a user's name is letters, digits, -, _ and . here"));
    }
    let mut words = this_command(context, "kubectl-token", &what)?;
    for (name, value) in [("--cluster", cluster), ("--region", region)] {
        words.extend(value.into_iter().flat_map(|value| [name.to_owned(), value]));
    }
    let (command, arguments) = words.split_first().ok_or_else(|| Failure::new(Exit::Unexpected, "no command"))?;
    let exec = json!({
        "apiVersion": VERSIONS[0], "command": command, "args": arguments, "interactiveMode": "Never",
        "installHint": "grantctl comes with grantd",
    });
    let config = json!({ "apiVersion": "v1", "kind": "Config", "users": [{ "name": user, "user": { "exec": exec } }] });
    // JSON is YAML, but for the first line.
    let pretty = serde_json::to_string_pretty(&config).unwrap_or_default();
    let text = format!("{MARK}\n{pretty}\n");
    if what.print {
        return context.say(&text);
    }
    let path = match file {
        Some(path) => path,
        None => home()?.join(format!(".kube/grantd-{user}.yaml")),
    };
    let found = read(&path)?;
    if !found.is_empty() && !found.starts_with(MARK) && !what.force {
        let path = path.display();
        let line = format!("{path} was written by somebody else: choose another --file, or say --force");
        return Err(Failure::new(Exit::State, line));
    }
    put(&path, &text)?;
    let path = path.display();
    context.say(&format!(
        "wrote {path} (next: export KUBECONFIG=\"${{KUBECONFIG:-$HOME/.kube/config}}:{path}\" && kubectl config \
         set-context --current --user={user})\n"
    ))
}

/// A credential file by which Google's libraries start `grantctl token` and exchange what it prints (AIP-4117); without an
/// audience, how to start clients.
fn gcp(context: &mut Context<'_>, wanted: ConfigureGcp) -> Result<(), Failure> {
    let ConfigureGcp { audience, service_account, token_url, file, what } = wanted;
    let Some(audience) = audience else {
        let wanted = ConfigureExec { what };
        return by_exec(context, &wanted, &["gcloud", "gsutil", "bq", "terraform"], "file");
    };
    if !audience.starts_with("//iam.googleapis.com/") || audience.contains(char::is_whitespace) {
        let line =
            "--audience is the full name of a provider of a workload identity pool: //iam.googleapis.com/projects/...";
        return Err(Failure::new(Exit::Usage, line));
    }
    let words = this_command(context, "token", &what)?;
    // The libraries part the command at its spaces, whatever quotes say.
    if let Some(word) = words.iter().find(|word| word.contains(char::is_whitespace)) {
        let line = format!("Google's libraries start no command with a space inside of a word: {word:?}");
        return Err(Failure::new(Exit::Usage, line));
    }
    let mut config = json!({
        "type": "external_account",
        "audience": audience,
        "subject_token_type": "urn:ietf:params:oauth:token-type:jwt",
        "token_url": token_url,
        "credential_source": {
            "executable": { "command": format!("{}{EXECUTABLE}", words.join(" ")), "timeout_millis": 30_000 },
        },
    });
    if let (Some(email), Some(members)) = (service_account, config.as_object_mut()) {
        let url =
            format!("https://iamcredentials.googleapis.com/v1/projects/-/serviceAccounts/{email}:generateAccessToken");
        members.insert("service_account_impersonation_url".to_owned(), url.into());
    }
    let text = format!("{}\n", serde_json::to_string_pretty(&config).unwrap_or_default());
    if what.print {
        return context.say(&text);
    }
    let path = match file {
        Some(path) => path,
        None => home()?.join(".config/grantd/gcp.json"),
    };
    let found = read(&path)?;
    if !found.is_empty() && !starts_us(&found) && !what.force {
        let path = path.display();
        let line = format!("{path} was written by somebody else: choose another --file, or say --force");
        return Err(Failure::new(Exit::State, line));
    }
    put(&path, &text)?;
    let path = path.display();
    context.say(&format!(
        "wrote {path} (next: export GOOGLE_APPLICATION_CREDENTIALS={path} GOOGLE_EXTERNAL_ACCOUNT_ALLOW_EXECUTABLES=1)\n"
    ))
}

/// Whether a credential file starts this program for a token.
fn starts_us(text: &str) -> bool {
    let config = serde_json::from_str::<serde_json::Value>(text).unwrap_or_default();
    let command = config.pointer("/credential_source/executable/command").and_then(serde_json::Value::as_str);
    command.is_some_and(|command| command.ends_with(EXECUTABLE))
}

/// For clients that start no command of ours for an access token: how to start them.
fn by_exec(context: &mut Context<'_>, wanted: &ConfigureExec, programs: &[&str], format: &str) -> Result<(), Failure> {
    let words = this_command(context, "exec", &wanted.what)?;
    let words: Vec<String> = words.iter().map(|word| quoted(word)).collect();
    let format = if format == "front" { String::new() } else { format!(" --format {format}") };
    context.say(
        "# There is no file to write: these clients start no command for an access token. exec hands it to them while\n\
         # they run; for a shell's profile:\n",
    )?;
    for program in programs {
        let start = if *program == "az" { format!("sh -c {} az", quoted(AZ)) } else { (*program).to_owned() };
        let line = format!("{}{format} -- {start}", words.join(" "));
        context.say(&format!("alias {program}={}\n", quoted(&line)))?;
    }
    Ok(())
}

/// This program with what chooses the daemon and the grant.
fn this_command(context: &Context<'_>, command: &str, what: &Written) -> Result<Vec<String>, Failure> {
    let program = env::current_exe()
        .map_err(|error| Failure::new(Exit::Unexpected, format!("cannot find out where grantctl is: {error}")))?;
    let text = |path: &Path| {
        let named = path.to_str().filter(|text| !text.contains(['\n', '\r'])).map(str::to_owned);
        named.ok_or_else(|| Failure::new(Exit::Usage, format!("{} cannot be written into a file", path.display())))
    };
    let mut words = vec![text(&program)?];
    for word in context.client.chosen() {
        words.push(text(Path::new(&word))?);
    }
    words.push(command.to_owned());
    let grant = match &what.grant {
        GrantChoice::Named(_) if what.resource.is_some() => {
            let line = "--resource chooses among grants: give it with --grant auto only";
            return Err(Failure::new(Exit::Usage, line));
        }
        GrantChoice::Named(id) => id.as_str(),
        GrantChoice::Auto => AUTO,
    };
    words.extend(["--grant".to_owned(), grant.to_owned()]);
    if let Some(resource) = &what.resource {
        words.extend(["--resource".to_owned(), text(Path::new(resource))?]);
    }
    Ok(words)
}

/// The file that was named, that the client would read by `variable`, or that in the home directory.
fn place(file: Option<PathBuf>, variable: &str, usual: &str) -> Result<PathBuf, Failure> {
    match file.or_else(|| env::var_os(variable).filter(|set| !set.is_empty()).map(PathBuf::from)) {
        Some(path) => Ok(path),
        None => Ok(home()?.join(usual)),
    }
}

fn home() -> Result<PathBuf, Failure> {
    let home = env::var_os("HOME").map(PathBuf::from).filter(|home| home.is_absolute());
    home.ok_or_else(|| Failure::new(Exit::Usage, "HOME is not set: say --file"))
}

fn read(path: &Path) -> Result<String, Failure> {
    match fs::read_to_string(path) {
        Ok(text) => Ok(text),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(String::new()),
        Err(error) => Err(Failure::new(Exit::Usage, format!("cannot read {}: {error}", path.display()))),
    }
}

fn put(path: &Path, text: &str) -> Result<(), Failure> {
    replace(path, text).map_err(|error| Failure::new(Exit::Usage, format!("cannot write {}: {error}", path.display())))
}
