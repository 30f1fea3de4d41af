//! Signing a decision with the user's own `ssh-keygen`, which knows their agent, their hardware key and its touch; and
//! reading what was signed.

use std::fs;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use grantd_model::Statement;
use grantd_model::statement::NAMESPACE;
use grantd_wire::SignedBody;

use super::Context;
use crate::elsewhere::Sign;
use crate::exit::{Exit, Failure};

/// How a signature begins (OpenSSH, `PROTOCOL.sshsig`, "Armored format").
const BEGIN: &str = "-----BEGIN SSH SIGNATURE-----";

/// The largest file that is read here, in bytes.
const LARGEST: u64 = 1024 * 1024;

/// Signs a statement.
pub(super) fn sign(context: &mut Context<'_>, asked: &Sign) -> Result<(), Failure> {
    let text = read(&asked.file)?;
    text.parse::<Statement>().map_err(|error| Failure::new(Exit::Usage, error.to_string()))?;
    context.err_text(&text);
    let signed = with_key(&text, &asked.key)?;
    context.say(&together(&signed))
}

/// Has `ssh-keygen` sign a statement. What it asks and says goes to the terminal.
pub(super) fn with_key(statement: &str, key: &Path) -> Result<SignedBody, Failure> {
    let failed = |why: String| Failure::new(Exit::Unexpected, format!("nothing was signed: {why}"));
    let mut command = Command::new("ssh-keygen");
    command.args(["-q", "-Y", "sign", "-n", NAMESPACE, "-f"]).arg(key).stderr(Stdio::inherit());
    let output = piped(&mut command, statement).map_err(|error| failed(format!("ssh-keygen: {error}")))?;
    if !output.status.success() {
        return Err(Failure::new(
            Exit::Usage,
            format!("nothing was signed: ssh-keygen did not sign with {}", key.display()),
        ));
    }
    let signature = String::from_utf8(output.stdout).map_err(|error| failed(error.to_string()))?;
    if !signature.starts_with(BEGIN) {
        return Err(failed("ssh-keygen printed no signature".to_owned()));
    }
    Ok(SignedBody { statement: statement.to_owned(), signature })
}

/// Runs a program that reads all of its standard input before it prints anything, so that neither waits for the other.
pub(super) fn piped(command: &mut Command, input: &str) -> io::Result<Output> {
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
    let sent = child.stdin.take().map_or(Ok(()), |mut pipe| pipe.write_all(input.as_bytes()));
    let output = child.wait_with_output()?;
    // Who fails may not have read to the end; what it says matters more.
    if output.status.success() { sent.map(|()| output) } else { Ok(output) }
}

/// The statement with the signature behind it: one file to carry.
pub(super) fn together(signed: &SignedBody) -> String {
    format!("{}{}", signed.statement, signed.signature)
}

/// What was signed: a file that holds both, or a signature `X.sig` beside the statement `X`, as `ssh-keygen` leaves them.
pub(super) fn signed(path: &Path) -> Result<SignedBody, Failure> {
    let text = read(path)?;
    let none = || {
        let path = path.display();
        Failure::new(
            Exit::Usage,
            format!("{path} holds no signed decision: give what review-request or sign printed, or X.sig beside X"),
        )
    };
    let at = text.find(BEGIN).ok_or_else(none)?;
    let (statement, signature) = text.split_at_checked(at).ok_or_else(none)?;
    let statement = if statement.is_empty() {
        let name = path.to_str().and_then(|name| name.strip_suffix(".sig")).ok_or_else(none)?;
        read(&PathBuf::from(name))?
    } else {
        statement.to_owned()
    };
    statement.parse::<Statement>().map_err(|error| Failure::new(Exit::Usage, error.to_string()))?;
    Ok(SignedBody { statement, signature: signature.to_owned() })
}

/// A small file of text; `-` is standard input.
pub(super) fn read(path: &Path) -> Result<String, Failure> {
    let wrong =
        |why: &dyn std::fmt::Display| Failure::new(Exit::Usage, format!("cannot read {}: {why}", path.display()));
    let mut text = String::new();
    let read = if path == Path::new("-") {
        std::io::stdin().lock().take(LARGEST).read_to_string(&mut text)
    } else {
        fs::File::open(path).map_err(|error| wrong(&error))?.take(LARGEST).read_to_string(&mut text)
    };
    read.map_err(|error| wrong(&error))?;
    Ok(text)
}
