// grantctl as a child process: an argument list, never a shell; and what its answers mean.
'use strict';

const { execFile } = require('node:child_process');
const fs = require('node:fs');
const path = require('node:path');

/** What may stand unquoted in an AWS configuration file and in the command line that clients make of it. */
const UNQUOTED = /^[A-Za-z0-9_./+@-]+$/;

/** How often a grant that waits is looked at, in milliseconds. */
const INTERVAL = 5000;

/** The exit code of `grantctl request` for a grant that was asked for and waits; it is printed as any other. */
const WAITS = 11;

/** grantctl refused or failed. `exit` is its documented exit code; undefined when it could not be started. */
class GrantctlError extends Error {
  constructor(line, exit) {
    super(line);
    this.exit = exit;
  }
}

/** Where grantctl is, so that no later step's PATH decides which one the AWS clients start. */
function find(env) {
  for (const directory of (env.PATH ?? '').split(path.delimiter)) {
    const file = path.join(directory, 'grantctl');
    if (!path.isAbsolute(file)) continue;
    try {
      fs.accessSync(file, fs.constants.X_OK);
    } catch {
      continue;
    }
    if (fs.statSync(file).isFile()) return file;
  }
  throw new GrantctlError('grantctl is not in PATH: install it on the runner\'s host');
}

/** Runs grantctl; gives its standard output. */
function run(program, args) {
  return new Promise((resolve, reject) => {
    execFile(program, args, { maxBuffer: 4 * 1024 * 1024 }, (error, stdout, stderr) => {
      if (!error || error.code === WAITS) return resolve(stdout);
      const said = stderr.trim().replace(/^grantctl: /, '');
      const exit = typeof error.code === 'number' ? error.code : undefined;
      return reject(new GrantctlError(said || error.message, exit));
    });
  });
}

/** Runs grantctl with `--json`; gives what the daemon answered. */
async function ask(program, args) {
  return JSON.parse(await run(program, args[0] === '--json' ? args : ['--json', ...args]));
}

/** Who could still approve a waiting grant, a line for each capacity that is missing somebody. */
function missing(grant) {
  const quorum = grant.approval?.quorum ?? [];
  return quorum
    .filter((need) => need.given < need.needed)
    .map((need) => {
      const who = need.can_approve.length > 0 ? `${need.can_approve.join(' or ')} can` : 'nobody can';
      return `${need.needed - need.given} more ${need.capacity} must approve; ${who}`;
    });
}

/** The last word on a grant that will never be active. */
function over(grant) {
  return `${grant.id} is ${grant.state}${grant.reason ? `: ${grant.reason}` : ''}`;
}

/**
 * Waits until `grant` is active, saying whom it waits for whenever that changes.
 * `way` is how to look, to sleep, to tell the time and to speak.
 */
async function untilActive(grant, seconds, way) {
  const start = way.now();
  let told;
  for (let seen = grant; ; seen = await way.look(grant.id)) {
    if (seen.state === 'active') return seen;
    if (seen.state !== 'pending' && seen.state !== 'scheduled') throw new GrantctlError(over(seen));
    const lines = seen.state === 'pending' ? missing(seen) : [`it begins at ${seen.active_since}`];
    const words = [`${seen.id} is ${seen.state}`, ...lines].join('; ');
    if (words !== told) {
      told = words;
      way.say(words);
      if (seen.state === 'pending') way.say(`they see what they approve with: grantctl show ${seen.id}`);
    }
    const left = seconds * 1000 - (way.now() - start);
    if (left <= 0) {
      throw new GrantctlError(`${words}; it was waited for ${seconds} s (input wait)`);
    }
    await way.sleep(Math.min(INTERVAL, left));
  }
}

/** The AWS profile that takes its credentials from grantctl each time a client needs one. */
function profile(name, { program, socket, owner, grant, ttl, region }) {
  const words = [program];
  if (socket) words.push('--socket', socket);
  if (owner) words.push('--expect-owner', owner);
  words.push('credential-process', grant);
  if (ttl) words.push('--ttl', ttl);
  const odd = words.find((word) => !UNQUOTED.test(word));
  if (odd !== undefined) {
    throw new GrantctlError(
      `${JSON.stringify(odd)} cannot stand in an AWS configuration file: use a path of letters, digits and _ . / + @ -`,
    );
  }
  const lines = [`[profile ${name}]`, `credential_process = ${words.join(' ')}`];
  if (region) lines.push(`region = ${region}`);
  return `${lines.join('\n')}\n`;
}

module.exports = { GrantctlError, ask, find, missing, over, profile, run, untilActive };
