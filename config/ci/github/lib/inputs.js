// What the workflow asks, read and checked once. Pure: no file, no process.
'use strict';

/** A mistake of whoever wrote the workflow. */
class InputError extends Error {}

const NAME = /^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$/;
const CAPABILITY = /^[a-z0-9-]{1,40}:[a-z0-9-]{1,40}$/;
const GRANT = /^grant-[a-z0-9]{1,64}$/;
const REGION = /^[a-z0-9-]{1,32}$/;
const DURATION = /^(?:\d{1,6}[hms])+$/;
const SECONDS = { h: 3600, m: 60, s: 1 };

/** How many seconds `text` is, written as 45s, 30m or 1h30m; `least` is the fewest that are allowed. */
function seconds(name, text, least) {
  const written = text.replace(/ /g, '');
  if (!DURATION.test(written)) {
    throw new InputError(`${name}: "${shown(text)}" is no duration: write 45s, 30m or 1h30m`);
  }
  let total = 0;
  for (const [, number, unit] of written.matchAll(/(\d+)([hms])/g)) total += Number(number) * SECONDS[unit];
  if (total < least) throw new InputError(`${name}: "${shown(text)}" is too short`);
  return total;
}

/** `text` fit to be shown in a message. */
function shown(text) {
  return Array.from(text).slice(0, 64).join('').replace(/[^ -~]/g, '?');
}

/** The input `name` of this step, as the runner hands it over; nothing when it is empty. */
function input(env, name) {
  const value = (env[`INPUT_${name.toUpperCase()}`] ?? '').trim();
  return value === '' ? undefined : value;
}

/** A value of one line: what goes on record may not pretend to be two records. */
function line(env, name, most) {
  const value = input(env, name);
  if (value === undefined) return undefined;
  if (/[\u0000-\u001f\u007f-\u009f\u2028\u2029]/.test(value)) {
    throw new InputError(`${name}: write it on one line, without control characters`);
  }
  if (Array.from(value).length > most) throw new InputError(`${name}: keep it to ${most} characters`);
  return value;
}

function fitting(env, name, pattern, example) {
  const value = input(env, name);
  if (value !== undefined && !pattern.test(value)) {
    throw new InputError(`${name}: "${shown(value)}" is not valid: write it as ${example}`);
  }
  return value;
}

function duration(env, name, least) {
  const value = input(env, name);
  return value === undefined ? undefined : `${seconds(name, value, least)}s`;
}

/** What is asked of this step. Throws [`InputError`] with the words for whoever wrote it. */
function readInputs(env) {
  const inputs = {
    resource: fitting(env, 'resource', NAME, 'the name in the catalogue'),
    can: fitting(env, 'can', CAPABILITY, 'object-storage:read'),
    for: duration(env, 'for', 1),
    why: line(env, 'why', 1000),
    ticket: line(env, 'ticket', 256),
    prefix: line(env, 'prefix', 1024),
    ttl: duration(env, 'ttl', 1),
    wait: seconds('wait', input(env, 'wait') ?? '1h', 0),
    grant: fitting(env, 'grant', GRANT, 'grant-…'),
    region: fitting(env, 'region', REGION, 'eu-central-1'),
  };
  if (inputs.grant === undefined) {
    if (inputs.resource === undefined || inputs.can === undefined) {
      throw new InputError('say which resource and what it can be used for: resource and can, or grant');
    }
    inputs.for ??= '1800s';
  } else if (inputs.resource !== undefined || inputs.can !== undefined) {
    throw new InputError('grant says it all: give either grant, or resource and can');
  }
  return inputs;
}

/** Cut to one line of at most `most` characters: for claims, whose content others may choose. */
function claim(text, most) {
  return Array.from((text ?? '').replace(/[\u0000-\u001f\u007f-\u009f\u2028\u2029]/g, ' ').trim())
    .slice(0, most)
    .join('');
}

/** What this job says of itself. Claims: the daemon records them and no rule rests on them. */
function taskClaims(env) {
  const repository = claim(env.GITHUB_REPOSITORY, 200) || 'unknown';
  return {
    system: 'github',
    run: `${repository}/${claim(env.GITHUB_RUN_ID, 32) || '0'}`,
    attempt: claim(env.GITHUB_RUN_ATTEMPT, 16) || undefined,
    job: claim(env.GITHUB_JOB, 200) || undefined,
  };
}

/** The arguments of the request. Each value is joined to its option, so that none can be taken for another option. */
function requestArguments(inputs, env) {
  const task = taskClaims(env);
  const workflow = claim(env.GITHUB_WORKFLOW, 100) || 'unnamed workflow';
  const why = inputs.why ?? `GitHub Actions: ${workflow}, job ${task.job ?? 'unknown'} of ${task.run}`;
  const options = {
    resource: inputs.resource,
    can: inputs.can,
    for: inputs.for,
    why,
    ticket: inputs.ticket,
    prefix: inputs.prefix,
    'task-system': task.system,
    'task-run': task.run,
    'task-attempt': task.attempt,
    'task-job': task.job,
  };
  const given = Object.entries(options).filter(([, value]) => value !== undefined);
  return ['--json', 'request', ...given.map(([name, value]) => `--${name}=${value}`)];
}

module.exports = { GRANT, InputError, NAME, readInputs, requestArguments, seconds, taskClaims };
