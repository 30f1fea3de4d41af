//! Parse, run, exit.
#![forbid(unsafe_code)]

use std::alloc::System;
use std::fs::File;
use std::io::{self, IsTerminal, Write};
use std::os::fd::AsFd;
use std::process::ExitCode;

use clap::Parser;
use clap::error::ErrorKind;
use zeroizing_alloc::ZeroAlloc;

use grantctl::cli::{Cli, ColorWhen};
use grantctl::client::Client;
use grantctl::exit::{Exit, Failure};
use grantctl::{Context, clock, paint, run};

/// Wipes what is freed: buffers of the HTTP client and of the JSON parser hold credentials too (promise P9).
#[global_allocator]
static ALLOCATOR: ZeroAlloc<System> = ZeroAlloc(System);

fn main() -> ExitCode {
    let (color, done) = match Cli::try_parse() {
        Ok(cli) => (cli.global.color, execute(cli)),
        Err(error) => {
            let is_exec = std::env::args_os()
                .skip(1)
                .take_while(|word| word != "--")
                .any(|word| word == "exec" || word == "break-glass");
            let done = usage(&error);
            (ColorWhen::Auto, if is_exec { done.map_err(Failure::not_started) } else { done })
        }
    };
    ExitCode::from(match done {
        Ok(()) => Exit::Ok.code(),
        Err(failure) => {
            if let Some(line) = failure.line() {
                // When standard error is gone there is nobody left to tell; the exit code still says it.
                let name = if color.on(io::stderr().is_terminal()) {
                    paint::failure("grantctl:")
                } else {
                    "grantctl:".to_owned()
                };
                let _ = io::stderr().write_all(format!("{name} {line}\n").as_bytes());
            }
            failure.exit().code()
        }
    })
}

fn execute(cli: Cli) -> Result<(), Failure> {
    let client = Client::new(cli.global.socket, cli.global.timeout).expect_owner(cli.global.expect_owner);
    // Standard output without the standard library's buffer, which would keep a copy of what passes through it.
    let mut out = File::from(
        io::stdout()
            .as_fd()
            .try_clone_to_owned()
            .map_err(|error| Failure::new(Exit::Unexpected, format!("cannot use standard output: {error}")))?,
    );
    let mut context = Context {
        client,
        json: cli.global.json,
        now: clock::now(),
        out: &mut out,
        err: &mut io::stderr(),
        out_is_terminal: io::stdout().is_terminal(),
        err_is_terminal: io::stderr().is_terminal(),
        color: cli.global.color.on(io::stdout().is_terminal()),
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::new(Exit::Unexpected, format!("cannot start: {error}")))?;
    let done = runtime.block_on(run(&mut context, cli.command));
    runtime.shutdown_background();
    done
}

/// What clap has to say: help goes to standard output, a mistake becomes one line.
fn usage(error: &clap::Error) -> Result<(), Failure> {
    let text = error.render().to_string();
    match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => {
            io::stdout().write_all(text.as_bytes()).map_err(Failure::output)
        }
        ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => {
            Err(Failure::new(Exit::Usage, "say what to do: see grantctl --help"))
        }
        _ => {
            let said = text.split("\nUsage:").next().unwrap_or_default();
            let said = said.split("\nFor more information").next().unwrap_or_default();
            let said = said.strip_prefix("error: ").unwrap_or(said);
            let words: Vec<&str> = said.split_whitespace().collect();
            Err(Failure::new(Exit::Usage, format!("{} (next: grantctl --help)", words.join(" "))))
        }
    }
}
