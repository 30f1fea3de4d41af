// The step itself: ties what this job will take to the job's worker, asks for a grant, waits for it, and leaves an AWS
// profile behind that takes credentials from grantctl. No secret passes through here.
'use strict';

const timers = require('node:timers/promises');

const { configure, environment } = require('./lib/aws.js');
const { GrantctlError, ask, find, profile, untilActive } = require('./lib/grantctl.js');
const { GRANT, NAME, readInputs, requestArguments } = require('./lib/inputs.js');
const { annotate, say, tell, workerAbove } = require('./lib/runner.js');

async function main(env) {
  const inputs = readInputs(env);
  const program = find(env);
  const worker = workerAbove(process.ppid);
  tell(env.GITHUB_STATE, { program, worker });

  // First: from here on whatever this job takes ends with its worker, however that dies.
  await ask(program, ['attach', `--pid=${worker}`]);

  const own = inputs.grant === undefined;
  const asked = await ask(program, own ? requestArguments(inputs, env) : ['show', inputs.grant]);
  if (!GRANT.test(asked.id) || !NAME.test(asked.resource)) {
    throw new GrantctlError('grantctl answered with something that is no grant: is it of this version?');
  }
  // Written before anything is waited for: the post step takes a cancelled request back.
  tell(env.GITHUB_STATE, { grant: asked.id, own });
  say(`${asked.id}: ${asked.capability} on ${asked.resource}, ${asked.state}`);

  const way = { look: (id) => ask(program, ['show', id]), sleep: timers.setTimeout, now: Date.now, say };
  const grant = await untilActive(asked, inputs.wait, way);

  const written = configure(env, grant.resource, (name) =>
    profile(name, {
      program,
      socket: env.GRANTD_SOCKET,
      owner: env.GRANTD_OWNER,
      grant: grant.id,
      ttl: inputs.ttl,
      region: inputs.region,
    }),
  );
  tell(env.GITHUB_STATE, { directory: written.directory });
  tell(env.GITHUB_ENV, environment(env, written));
  tell(env.GITHUB_OUTPUT, { grant: grant.id, profile: written.name });
  say(`AWS clients of later steps use the profile ${written.name}, until ${grant.active_until} or the job's end`);
}

main(process.env).catch((error) => {
  annotate('error', error.message);
  process.exitCode = 1;
});
