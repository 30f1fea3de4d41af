//! Telling by a program of this host: no shell, an empty environment, the event at its standard input.

use std::process::Stdio;
use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::process::Command;

use super::target::Failure;

/// Where programs that the program calls are looked for.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Runs `argv` with `body` at its standard input. It was told when the program exits with 0 in time.
pub(super) async fn run(argv: &[String], body: &str, timeout: Duration) -> Result<(), Failure> {
    let Some((program, arguments)) = argv.split_first() else { return Err(Failure::refused("there is no program")) };
    let mut command = Command::new(program);
    command
        .args(arguments)
        .env_clear()
        .env("PATH", PATH)
        .current_dir("/")
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        // Its own group, so that a terminal's signals are none of its, and dead when it is late.
        .process_group(0)
        .kill_on_drop(true);
    let mut child = command.spawn().map_err(|error| Failure::refused(format!("{program} cannot be run: {error}")))?;
    let input = child.stdin.take();
    let told = async {
        if let Some(mut input) = input {
            // A program that does not read its input to the end may still do its work.
            let _ = input.write_all(body.as_bytes()).await;
        }
        child.wait().await
    };
    match tokio::time::timeout(timeout, told).await {
        Ok(Ok(status)) if status.success() => Ok(()),
        Ok(Ok(status)) => Err(Failure::away(format!("{program} ended with {status}"))),
        Ok(Err(error)) => Err(Failure::away(format!("{program} cannot be waited for: {error}"))),
        Err(_) => Err(Failure::away(format!("{program} did not end in time and was killed"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn argv(script: &str) -> Vec<String> {
        ["/bin/sh", "-c", script].map(str::to_owned).to_vec()
    }

    #[tokio::test]
    async fn the_event_is_at_its_input_and_nothing_else_reaches_it() {
        let directory = tempfile::tempdir().unwrap();
        let out = directory.path().join("out");
        let script = format!("cat > {0}; env >> {0}", out.display());
        run(&argv(&script), "{\"x\":1}\n", Duration::from_secs(10)).await.unwrap();
        let text = std::fs::read_to_string(out).unwrap();
        let rest = text.strip_prefix("{\"x\":1}\n").unwrap();
        assert!(
            rest.lines().all(|line| ["PATH=", "PWD=", "SHLVL=", "_="].iter().any(|it| line.starts_with(it))),
            "{rest}"
        );
    }

    #[tokio::test]
    async fn whatever_is_no_success_is_told_again() {
        let failure = run(&argv("exit 3"), "", Duration::from_secs(10)).await.unwrap_err();
        assert!(failure.why.contains("exit status: 3") && !failure.refused, "{failure:?}");
        let failure = run(&["/nonexistent/page".to_owned()], "", Duration::from_secs(10)).await.unwrap_err();
        assert!(failure.why.contains("cannot be run") && failure.refused, "{failure:?}");
        run(&argv("exec <&-; exit 0"), &"x".repeat(1 << 20), Duration::from_secs(10)).await.unwrap();
    }

    #[tokio::test]
    async fn p11_one_that_hangs_is_killed() {
        let failure = run(&argv("exec sleep 1000"), "", Duration::from_millis(200)).await.unwrap_err();
        assert!(failure.why.contains("in time"), "{failure:?}");
    }
}
