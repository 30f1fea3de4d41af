//! The templates of `config/ci` as a CI system runs them: real node, real bash and the real AWS CLI, as a real user, below
//! a process that is to the job what the runner's worker is.
#![forbid(unsafe_code)]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that breaks must say so"
)]

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use grantd_testkit::{aws_environment, repository_root, spawn_on_keeper};
use grantd_tests::{Credentials, User, World};
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use serde_json::{Value, json};

/// What a job's environment has of the cloud: where it is, and an identity that must not be used.
fn ambient(world: &World) -> BTreeMap<String, String> {
    let bin = aws_environment().unwrap().join("bin");
    let pairs = [
        (
            "PATH",
            format!("{}:{}:/usr/local/bin:/usr/bin:/bin", world.scene.path().join("bin").display(), bin.display()),
        ),
        ("HOME", world.scene.home(User::Alice).display().to_string()),
        ("LANG", "C.UTF-8".to_owned()),
        ("GRANTD_SOCKET", world.scene.socket().display().to_string()),
        ("AWS_ENDPOINT_URL", world.stack.url()),
        ("AWS_MAX_ATTEMPTS", "1".to_owned()),
        ("AWS_ACCESS_KEY_ID", "AKIAAMBIENT000000000".to_owned()),
        ("AWS_SECRET_ACCESS_KEY", "ambient".to_owned()),
    ];
    pairs.map(|(name, value)| (name.to_owned(), value)).into()
}

fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}

/// What a step printed and how it ended.
#[derive(Debug)]
struct Step {
    status: i32,
    output: String,
}

/// A shell under the name of the runner's worker, which runs one step after the other below itself.
struct Worker {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
    place: PathBuf,
    environment: BTreeMap<String, String>,
    state: BTreeMap<String, String>,
}

impl Worker {
    /// With the action where a runner unpacks it, and the files through which steps speak to it.
    fn start(world: &World, named: &str) -> Self {
        let place = world.scene.home(User::Alice).join(named);
        let worker = world.scene.bin("Runner.Worker");
        if !worker.exists() {
            fs::copy(fs::canonicalize("/bin/sh").unwrap(), &worker).unwrap();
            let action = world.scene.path().join("action");
            assert!(
                Command::new("cp")
                    .arg("-r")
                    .arg(repository_root().join("config/ci/github"))
                    .arg(&action)
                    .status()
                    .unwrap()
                    .success()
            );
            assert!(Command::new("chmod").args(["-R", "a+rX"]).arg(&action).status().unwrap().success());
        }
        let mut command = world.alice().command(&worker);
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = spawn_on_keeper(command).unwrap();
        let input = child.stdin.take().unwrap();
        let output = BufReader::new(child.stdout.take().unwrap());
        let mut environment = ambient(world);
        let temp = place.join("_temp");
        for (name, value) in [
            ("RUNNER_TEMP", temp.as_path()),
            ("GITHUB_ENV", &place.join("env")),
            ("GITHUB_OUTPUT", &place.join("output")),
            ("GITHUB_STATE", &place.join("state")),
            ("GITHUB_REPOSITORY", Path::new("acme/shop")),
            ("GITHUB_RUN_ID", Path::new("4711")),
            ("GITHUB_RUN_ATTEMPT", Path::new("2")),
            ("GITHUB_JOB", Path::new("export")),
            ("GITHUB_WORKFLOW", Path::new("nightly")),
            ("GITHUB_ACTIONS", Path::new("true")),
        ] {
            environment.insert(name.to_owned(), value.display().to_string());
        }
        let mut worker = Self { child, input, output, place, environment, state: BTreeMap::new() };
        let made = worker.run("mkdir -p \"$RUNNER_TEMP\"", &[]);
        assert_eq!(made.status, 0, "{made:?}");
        worker
    }

    /// Runs a command line as a step of the job.
    fn run(&mut self, command: &str, more: &[(&str, &str)]) -> Step {
        let mut line = "env -i".to_owned();
        let more = more.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        let steps = ["env", "output", "state"].map(|file| self.place.join(file).display().to_string());
        for (name, value) in self.environment.clone().into_iter().chain(more) {
            line += &format!(" {}", quoted(&format!("{name}={value}")));
        }
        let log = self.place.join("log").display().to_string();
        let empty = steps.map(|file| format!(": >{}; ", quoted(&file))).concat();
        let first = format!("mkdir -p {}; {empty}", quoted(&self.place.display().to_string()));
        writeln!(self.input, "{first}{line} sh -c {} >{log} 2>&1; echo $?", quoted(command), log = quoted(&log))
            .unwrap();
        let mut status = String::new();
        self.output.read_line(&mut status).unwrap();
        let output = fs::read_to_string(&log).unwrap();
        let status = status.trim().parse().unwrap_or_else(|_| panic!("the worker died at {command}: {output}"));
        for (name, value) in file_of_runner(&self.place.join("env")) {
            self.environment.insert(name, value);
        }
        for (name, value) in file_of_runner(&self.place.join("state")) {
            self.state.insert(format!("STATE_{name}"), value);
        }
        Step { status, output }
    }

    /// Runs the action's `main`, and gives its outputs.
    fn main(&mut self, world: &World, inputs: &[(&str, &str)]) -> (Step, BTreeMap<String, String>) {
        let file = world.scene.path().join("action/main.js").display().to_string();
        let inputs: Vec<(String, &str)> =
            inputs.iter().map(|(n, v)| (format!("INPUT_{}", n.to_uppercase()), *v)).collect();
        let inputs: Vec<(&str, &str)> = inputs.iter().map(|(name, value)| (name.as_str(), *value)).collect();
        let step = self.run(&format!("exec node {}", quoted(&file)), &inputs);
        let outputs = file_of_runner(&self.place.join("output"));
        (step, outputs)
    }

    /// Runs the action's `post` with what `main` saved for it.
    fn post(&mut self, world: &World) -> Step {
        let file = world.scene.path().join("action/post.js").display().to_string();
        let state = self.state.clone();
        let state: Vec<(&str, &str)> = state.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        self.run(&format!("exec node {}", quoted(&file)), &state)
    }

    /// What `credential_process` of the exported profile gives, as a step could keep it for itself.
    fn credentials(&mut self) -> Credentials {
        let step = self.run("$(sed -n 's/^credential_process = //p' \"$AWS_CONFIG_FILE\")", &[("NOTHING", "else")]);
        assert_eq!(step.status, 0, "{step:?}");
        let line = step.output.lines().find(|line| line.starts_with('{')).unwrap_or_else(|| panic!("{step:?}"));
        Credentials::from_json(&serde_json::from_str::<Value>(line).unwrap()).unwrap()
    }

    /// The worker alone: what it started lives on, as with a killed runner.
    fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        let _ = killpg(Pid::from_raw(i32::try_from(self.child.id()).unwrap()), Signal::SIGKILL);
        let _ = self.child.wait();
    }
}

/// Reads `NAME<<END`, lines, `END` as the runner does (GitHub Docs, "Workflow commands", environment files).
fn file_of_runner(path: &Path) -> BTreeMap<String, String> {
    let text = fs::read_to_string(path).unwrap_or_default();
    let mut lines = text.lines();
    let mut values = BTreeMap::new();
    while let Some(first) = lines.next() {
        let (name, end) = first.split_once("<<").unwrap_or_else(|| panic!("not a value: {text}"));
        let value: Vec<&str> = lines.by_ref().take_while(|line| *line != end).collect();
        values.insert(name.to_owned(), value.join("\n"));
    }
    values
}

/// The one session of this world ends because its anchor did, and not by its time; its credential is refused then.
fn ends_with_its_anchor(world: &World, credentials: &Credentials) {
    let issued = world.audited("lease.issued");
    assert_eq!(issued.len(), 1);
    let lease = issued[0]["lease"].as_str().unwrap();
    world.wait_for_lease(lease, "revoked");
    assert_eq!(world.lease(lease)["reason"], "anchor_exited");
    assert!(!world.can_read(credentials, "alpha"));
}

const READ: [(&str, &str); 4] =
    [("resource", "alpha"), ("can", "object-storage:read"), ("for", "20m"), ("region", "eu-west-1")];

#[test]
fn the_action_serves_a_job_and_takes_back_what_it_took() {
    let world = World::new();
    let mut job = Worker::start(&world, "job");
    let mut beside = Worker::start(&world, "beside");
    let (step, outputs) = job.main(&world, &READ);
    assert_eq!(step.status, 0, "{step:?}");
    let (step, others) = beside.main(&world, &READ);
    assert_eq!(step.status, 0, "{step:?}");
    let grant = outputs["grant"].clone();
    assert_ne!(grant, others["grant"], "each job has a grant of its own");
    assert_eq!(
        (outputs["profile"].as_str(), job.environment["AWS_PROFILE"].as_str()),
        ("grantd-alpha", "grantd-alpha")
    );
    assert_eq!(job.environment["AWS_ACCESS_KEY_ID"], "");

    let read = job.run("aws s3 cp s3://alpha/hello.txt -", &[]);
    assert_eq!((read.status, read.output.contains("hello from alpha")), (0, true), "{read:?}");
    let other = job.run("aws s3 cp s3://beta/hello.txt -", &[]);
    assert!(
        other.status != 0 && (other.output.contains("AccessDenied") || other.output.contains("Forbidden")),
        "{other:?}"
    );
    let (mine, theirs) = (job.credentials(), beside.credentials());
    assert!(world.can_read(&mine, "alpha"));

    // One session, tied to the worker itself: neither to a step nor to node.
    let leases = world.root().curl("GET", &format!("/v1/leases?all=true&grant={grant}"), None).body["leases"].clone();
    assert_eq!(leases.as_array().unwrap().len(), 1, "{leases}");
    assert_eq!((&leases[0]["anchor"], &leases[0]["anchor_pid"]), (&json!("process"), &json!(job.child.id())));
    let shown = world.root().curl("GET", &format!("/v1/grants/{grant}"), None).body;
    assert_eq!(shown["task"], json!({ "system": "github", "run": "acme/shop/4711", "attempt": "2", "job": "export" }));
    assert_eq!(shown["justification"], "GitHub Actions: nightly, job export of acme/shop/4711");
    assert_eq!(shown["duration_seconds"], 1200);

    let directory = PathBuf::from(&job.state["STATE_directory"]);
    assert!(directory.join("config").exists());
    let step = job.post(&world);
    assert_eq!((step.status, step.output.contains("completed")), (0, true), "{step:?}");
    world.wait_for_lease(leases[0]["id"].as_str().unwrap(), "revoked");
    assert!(!world.can_read(&mine, "alpha"));
    assert!(world.can_read(&theirs, "alpha"), "the job beside was ended too");
    assert!(!directory.exists());
    // Once more, as after a post step that was interrupted: a grant that is over is no failure.
    let again = job.post(&world);
    assert_eq!((again.status, again.output.contains("is ended")), (0, true), "{again:?}");
}

#[test]
fn a_killed_worker_ends_what_its_job_took_without_the_post_step() {
    let world = World::new();
    let mut job = Worker::start(&world, "job");
    let (step, outputs) = job.main(&world, &READ);
    assert_eq!(step.status, 0, "{step:?}");
    let credentials = job.credentials();
    assert!(world.can_read(&credentials, "alpha"));
    job.kill();
    ends_with_its_anchor(&world, &credentials);
    let grant = world.root().curl("GET", &format!("/v1/grants/{}", outputs["grant"]), None).body;
    assert_eq!(grant["state"], "active", "the README says that the grant lives on");
}

#[test]
fn a_grant_that_was_requested_before_is_used_and_left_to_whoever_made_it() {
    let world = World::new();
    let grant = world.grant(&world.alice(), "alpha");
    let (neighbour, _) = World::vended(&world.vend(&world.alice(), &grant, json!({})));
    let mut job = Worker::start(&world, "job");
    let (step, outputs) = job.main(&world, &[("grant", &grant), ("ttl", "4m")]);
    assert_eq!((step.status, &outputs["grant"]), (0, &grant), "{step:?}");
    let credentials = job.credentials();
    assert!(world.can_read(&credentials, "alpha"));
    let step = job.post(&world);
    assert_eq!((step.status, step.output.contains("1 of the sessions")), (0, true), "{step:?}");
    let leases = world.root().curl("GET", "/v1/leases?all=true&ended=true", None).body["leases"].clone();
    let (mine, _): (Vec<_>, Vec<_>) =
        leases.as_array().unwrap().iter().partition(|lease| lease["id"] != neighbour.as_str());
    world.wait_for_lease(mine[0]["id"].as_str().unwrap(), "revoked");
    assert!(!world.can_read(&credentials, "alpha"));
    assert_eq!(world.lease(&neighbour)["state"], "active");
    assert_eq!(world.root().curl("GET", &format!("/v1/grants/{grant}"), None).body["state"], "active");
}

#[test]
fn a_refusal_fails_the_step_with_its_reason_and_leaves_nothing_behind() {
    let world = World::new();
    let mut job = Worker::start(&world, "job");
    let before = job.environment.clone();
    let refused = |job: &mut Worker, inputs: &[(&str, &str)], words: &[&str]| {
        let (step, outputs) = job.main(&world, inputs);
        assert_eq!((step.status, outputs.len()), (1, 0), "{step:?}");
        let error = step.output.lines().find(|line| line.starts_with("::error title=grantd::")).unwrap_or_default();
        assert!(words.iter().all(|word| error.contains(word)), "{words:?}: {step:?}");
        let post = job.post(&world);
        assert_eq!(post.status, 0, "{post:?}");
    };
    refused(&mut job, &[("resource", "vault"), ("can", "object-storage:read")], &["vault", "tier critical"]);
    refused(&mut job, &[("resource", "alpha"), ("can", "read")], &["can", "object-storage:read"]);
    refused(&mut job, &[("grant", "grant-aaaaaaaaaaaaaaaaaaaaaaaaaa")], &["grant-aaaaaaaaaaaaaaaaaaaaaaaaaa"]);
    assert_eq!(job.environment, before, "nothing is exported");
    assert_eq!(fs::read_dir(&before["RUNNER_TEMP"]).unwrap().count(), 0);
    assert!(world.audited("grant.request").is_empty() && world.audited("lease.intent").is_empty());

    // Without a worker above it nobody could tell the end of the job.
    let main = world.scene.path().join("action/main.js").display().to_string();
    let mut alone = world.alice();
    for (name, value) in before.iter().chain([
        (&"INPUT_RESOURCE".to_owned(), &"alpha".to_owned()),
        (&"INPUT_CAN".to_owned(), &"object-storage:read".to_owned()),
    ]) {
        alone = alone.env(name, value);
    }
    let finished = alone.run("node", &[&main]);
    assert!(!finished.success() && finished.stdout.contains("no Runner.Worker process"), "{finished}");
    assert!(world.audited("grant.request").is_empty());
}

/// A GitLab job with the shell executor: its scripts as the template has them, each in a shell of its own.
struct GitLab {
    scripts: Value,
    exports: String,
}

impl GitLab {
    fn job(world: &World, more: &[(&str, &str)]) -> Self {
        let template = repository_root().join("config/ci/gitlab/grantd.gitlab-ci.yml");
        let code = "import json, sys, yaml; print(json.dumps(yaml.safe_load(sys.stdin)['.grantd']))";
        let mut command = Command::new(aws_environment().unwrap().join("bin/python"));
        command.args(["-c", code]).stdin(fs::File::open(template).unwrap());
        let scripts: Value = serde_json::from_slice(&command.output().unwrap().stdout).unwrap();
        let project = world.scene.home(User::Alice).join("builds/acme/shop");
        let mut variables: BTreeMap<String, String> = ambient(world);
        let fixed = [
            ("CI_PROJECT_DIR", project.to_str().unwrap()),
            ("CI_PROJECT_PATH", "acme/shop"),
            ("CI_PIPELINE_ID", "12"),
            ("CI_JOB_ID", "345"),
            ("CI_JOB_NAME", "export: [eu, \"1\"]"),
            ("GRANTD_REGION", "eu-west-1"),
        ];
        let template = scripts["variables"].as_object().unwrap();
        variables.extend(template.iter().map(|(name, value)| (name.clone(), value.as_str().unwrap().to_owned())));
        variables.extend(fixed.iter().chain(more).map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
        let exports = variables.iter().map(|(name, value)| format!("export {name}={}\n", quoted(value))).collect();
        Self { scripts, exports }
    }

    /// One stage of the job, written as GitLab Runner's bash writer does: everything in one `eval` at the end of a pipe.
    fn stage(&self, world: &World, parts: &[&str], script: &str) -> Child {
        let lines = parts.iter().flat_map(|part| self.scripts[*part].as_array().unwrap());
        let lines = lines.map(|line| line.as_str().unwrap().to_owned()).chain([script.to_owned()]);
        let body = self.exports.clone() + &lines.collect::<Vec<_>>().join("\n");
        let text = format!("set -eo pipefail\nset +o noclobber\n: | eval {}\nexit 0\n", quoted(&body));
        let mut command = world.alice().command("bash");
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = spawn_on_keeper(command).unwrap();
        child.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
        child
    }

    fn finished(child: Child) -> (bool, String) {
        let output = child.wait_with_output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
        (output.status.success(), text)
    }
}

const JOB: [(&str, &str); 2] = [("GRANTD_RESOURCE", "alpha"), ("GRANTD_CAN", "object-storage:read")];

#[test]
fn the_gitlab_template_serves_a_job_and_takes_back_what_it_took() {
    let world = World::new();
    let job = GitLab::job(&world, &JOB);
    let keep = world.scene.home(User::Alice).join("kept.json");
    let script = format!(
        "aws s3 cp s3://alpha/hello.txt -\naws s3 cp s3://beta/hello.txt - || true\n\
         grantctl credential-process auto >{}\nenv | grep ^AWS_ACCESS && exit 3; true",
        keep.display()
    );
    let (success, output) = GitLab::finished(job.stage(&world, &["before_script"], &script));
    assert!(success && output.contains("hello from alpha"), "{output}");
    assert!(output.contains("AccessDenied") || output.contains("Forbidden"), "{output}");
    let credentials =
        Credentials::from_json(&serde_json::from_str(&fs::read_to_string(&keep).unwrap()).unwrap()).unwrap();
    // The shell of the script is gone, and after_script has not run.
    ends_with_its_anchor(&world, &credentials);
    let grants = world.root().curl("GET", "/v1/grants?all=true", None).body["grants"].clone();
    assert_eq!((grants.as_array().unwrap().len(), &grants[0]["state"]), (1, &json!("active")));
    assert_eq!(grants[0]["task"]["run"], "acme/shop/12");
    assert_eq!(grants[0]["task"]["job"], "export: [eu, \"1\"]/345");

    let (success, output) = GitLab::finished(job.stage(&world, &["after_script"], "true"));
    assert!(success, "{output}");
    let path = format!("/v1/grants/{}", grants[0]["id"].as_str().unwrap());
    assert_eq!(world.root().curl("GET", &path, None).body["state"], "ended");
    let left = world.scene.home(User::Alice).join("builds/acme/shop.tmp");
    assert_eq!(fs::read_dir(left).unwrap().count(), 0);
    // A second time, as when a retried after_script meets a grant that is over.
    assert!(GitLab::finished(job.stage(&world, &["after_script"], "true")).0);
}

#[test]
fn a_cancelled_gitlab_job_ends_what_it_took_without_after_script() {
    let world = World::new();
    let job = GitLab::job(&world, &JOB);
    let mut child = job.stage(&world, &["before_script"], "grantctl credential-process auto; sleep 600; true");
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
    let line = lines.find(|line| line.starts_with('{')).expect("the job prints its credential");
    let credentials = Credentials::from_json(&serde_json::from_str(&line).unwrap()).unwrap();
    assert!(world.can_read(&credentials, "alpha"));
    killpg(Pid::from_raw(i32::try_from(child.id()).unwrap()), Signal::SIGKILL).unwrap();
    child.wait().unwrap();
    ends_with_its_anchor(&world, &credentials);
}

#[test]
fn a_refused_gitlab_job_does_not_run_its_script() {
    let world = World::new();
    for (more, words) in [
        (&[("GRANTD_RESOURCE", "vault"), JOB[1]][..], "tier critical"),
        (&[JOB[0], JOB[1], ("GRANTD_TTL", "5m; touch ~/hit")][..], "cannot stand"),
        (&[JOB[0], JOB[1], ("GRANTD_WHY", "x\n--subject=olga")][..], "one line"),
    ] {
        let job = GitLab::job(&world, more);
        let (success, output) = GitLab::finished(job.stage(&world, &["before_script"], "echo the script runs"));
        assert!(!success && output.contains(words) && !output.contains("the script runs"), "{words}: {output}");
        assert!(GitLab::finished(job.stage(&world, &["after_script"], "true")).0);
    }
    assert!(!world.scene.home(User::Alice).join("hit").exists());
    assert!(world.audited("lease.intent").is_empty());
}

#[test]
fn the_actions_own_tests_pass() {
    let action = repository_root().join("config/ci/github");
    let output = Command::new("node")
        .arg("--test")
        .arg(action.join("test/"))
        .output()
        .expect("node is installed: run make setup");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
}

#[test]
fn the_files_around_the_action_name_inputs_that_it_has() {
    let github = repository_root().join("config/ci/github");
    let code = "import json, sys, yaml; print(json.dumps([yaml.load(open(f), yaml.BaseLoader) for f in sys.argv[1:]]))";
    let mut command = Command::new(aws_environment().unwrap().join("bin/python"));
    command.args(["-c", code]).args([github.join("action.yml"), github.join("example.yml")]);
    let files: Value = serde_json::from_slice(&command.output().unwrap().stdout).unwrap();
    let inputs = files[0]["inputs"].as_object().unwrap();
    let source = fs::read_to_string(github.join("lib/inputs.js")).unwrap();
    let readme = fs::read_to_string(github.join("README.md")).unwrap();
    for input in inputs.keys() {
        assert!(source.contains(&format!("env, '{input}'")), "{input} is not read");
        assert!(readme.contains(&format!("`{input}`")), "{input} is not in the README");
    }
    assert_eq!(source.matches("(env, '").count(), inputs.len(), "each input is read once and declared");
    for output in files[0]["outputs"].as_object().unwrap().keys() {
        assert!(readme.contains(&format!("`{output}`")), "{output} is not in the README");
    }
    let jobs = files[1]["jobs"].as_object().unwrap();
    let steps = jobs.values().flat_map(|job| job["steps"].as_array().unwrap());
    let uses: Vec<&Value> = steps.filter(|step| step["uses"].as_str().is_some_and(|u| u.ends_with("grantd"))).collect();
    assert!(uses.len() >= 2, "the example shows a plain job and a matrix");
    for step in uses {
        assert!(step["with"].as_object().unwrap().keys().all(|key| inputs.contains_key(key)), "{step}");
    }
}
