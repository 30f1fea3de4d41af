// After the job's last step: gives back what the step took. Never fails the job: what is not given back here ends when
// the job's worker exits, and says so.
'use strict';

const fs = require('node:fs');

const { ask, over } = require('./lib/grantctl.js');
const { annotate, isOurs, say } = require('./lib/runner.js');

/** Ends a grant that this job requested. */
async function endGrant(program, id) {
  const grant = await ask(program, ['show', id]);
  if (grant.state === 'active') {
    await ask(program, ['complete', id]);
    say(`${id} is completed, and every credential taken under it ends`);
  } else if (grant.state === 'pending' || grant.state === 'scheduled') {
    await ask(program, ['revoke', id, '--reason=the job that asked for it has ended']);
    say(`${id} is taken back: the job ended before it was used`);
  } else {
    say(over(grant));
  }
}

/** Ends what this job took under a grant that others may use too. */
async function endLeases(program, id, worker) {
  const { leases } = await ask(program, ['leases', `--grant=${id}`]);
  const ours = leases.filter((lease) => lease.anchor === 'process' && lease.anchor_pid === worker);
  for (const lease of ours) await ask(program, ['complete', lease.id]);
  say(`${ours.length} of the sessions under ${id} were this job's and are completed; the grant stays`);
}

async function post(env) {
  const { STATE_program: program, STATE_grant: grant, STATE_own: own, STATE_worker: worker } = env;
  const directory = env.STATE_directory;
  if (directory && isOurs(directory, env)) fs.rmSync(directory, { recursive: true, force: true });
  if (!program || !grant) return;
  if (own === 'true') await endGrant(program, grant);
  else await endLeases(program, grant, Number(worker));
}

post(process.env).catch((error) => {
  annotate('warning', `${error.message}; what this job took ends when its worker exits`);
});
