// What the GitHub runner gives a step and takes from it: its log, its files, and the process that is the job.
'use strict';

const crypto = require('node:crypto');
const fs = require('node:fs');
const path = require('node:path');

/** The process of one job. It is started with the job and exits after the last post step, or is killed. */
const WORKER = 'Runner.Worker';

/** How far up the tree of processes is looked. */
const DEEPEST = 64;

/** The text of a workflow command, as the runner decodes it (GitHub Docs, "Workflow commands", toolkit `escapeData`). */
function escapeData(text) {
  return text.replace(/%/g, '%25').replace(/\r/g, '%0D').replace(/\n/g, '%0A');
}

/**
 * `text` for one line of the log. The runner reads commands out of what a step prints: at the beginning of a line
 * (`::command::`), which nothing begins with here, and in an older form anywhere in it (`##[command]`).
 */
function plain(text) {
  const line = String(text).replace(/[\u0000-\u001f\u007f-\u009f\u2028\u2029]+/g, ' ').trim();
  return line.replace(/##\[/g, '## [');
}

/** Prints a line that cannot be taken for a command. */
function say(text, out = process.stdout) {
  out.write(`grantd: ${plain(text)}\n`);
}

/** Prints an `error`, `warning` or `notice` that the runner shows on the run's page. */
function annotate(kind, text, out = process.stdout) {
  out.write(`::${kind} title=grantd::${escapeData(plain(text))}\n`);
}

/** Appends `values` to one of the files through which a step speaks to the runner (GITHUB_ENV, _OUTPUT, _STATE). */
function tell(file, values) {
  if (!file) throw new Error('the runner named no file to write to: this action runs as a step of GitHub Actions only');
  const text = Object.entries(values).map(([name, value]) => {
    // As random as the runner's own toolkit has it: no value can end its own block.
    const end = `grantd_${crypto.randomUUID()}`;
    return `${name}<<${end}\n${value}\n${end}\n`;
  });
  fs.appendFileSync(file, text.join(''));
}

/** The parent of a process and its name, from /proc/PID/stat; the name may hold spaces and brackets (proc_pid_stat(5)). */
function look(pid, proc = '/proc') {
  const text = fs.readFileSync(path.join(proc, String(pid), 'stat'), 'utf8');
  const close = text.lastIndexOf(')');
  const name = text.slice(text.indexOf('(') + 1, close);
  const parent = Number(text.slice(close + 2).split(' ')[1]);
  return { name, parent };
}

/** Whether the program of a process is the worker's, for a process that gave itself another name. */
function runsWorker(pid, proc) {
  try {
    return path.basename(fs.readlinkSync(path.join(proc, String(pid), 'exe'))) === WORKER;
  } catch {
    // Not ours to look at, so not our worker either.
    return false;
  }
}

/** The pid of the runner's worker process above `pid`. */
function workerAbove(pid, proc = '/proc') {
  let here = pid;
  for (let steps = 0; here > 1 && steps < DEEPEST; steps += 1) {
    const found = look(here, proc);
    if (found.name === WORKER || runsWorker(here, proc)) return here;
    here = found.parent;
  }
  throw new Error(
    `no ${WORKER} process is above this step, so nothing could tell the end of the job: run the job on the ` +
      'runner\'s host itself, not in a container',
  );
}

/** A new directory that only this user can enter, in the runner's directory for this job. */
function privateDirectory(env) {
  const above = env.RUNNER_TEMP;
  if (!above || !path.isAbsolute(above)) throw new Error('RUNNER_TEMP names no directory: is this a GitHub runner?');
  return fs.mkdtempSync(path.join(above, 'grantd-'));
}

/** Whether `directory` is one that [`privateDirectory`] made in this job. */
function isOurs(directory, env) {
  const { dir, base } = path.parse(path.resolve(directory));
  return Boolean(env.RUNNER_TEMP) && dir === path.resolve(env.RUNNER_TEMP) && /^grantd-[A-Za-z0-9]{6}$/.test(base);
}

module.exports = { annotate, escapeData, isOurs, look, plain, privateDirectory, say, tell, workerAbove };
