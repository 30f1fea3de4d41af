'use strict';

const assert = require('node:assert');
const fs = require('node:fs');
const os = require('node:os');
const path = require('node:path');
const test = require('node:test');

const { ask, missing, profile, untilActive } = require('../lib/grantctl.js');

/** A waiting grant as the daemon sends it; the daemon's own tests hold this file to its types. */
const PENDING = JSON.parse(fs.readFileSync(path.join(__dirname, '../testdata/pending.json'), 'utf8'));

/** A daemon that shows one grant after the other, at a clock that only sleeping moves. */
function way(...shown) {
  const said = [];
  let now = 0;
  const look = async (id) => {
    assert.strictEqual(id, PENDING.id);
    return shown.length > 1 ? shown.shift() : shown[0];
  };
  return { said, look, now: () => now, sleep: async (ms) => (now += ms), say: (text) => said.push(text) };
}

/** A program that prints the waiting grant and exits with `code`. */
function exiting(t, code) {
  const directory = fs.mkdtempSync(path.join(os.tmpdir(), 'grantd-test-'));
  t.after(() => fs.rmSync(directory, { recursive: true }));
  const program = path.join(directory, 'grantctl');
  const grant = path.join(__dirname, '../testdata/pending.json');
  fs.writeFileSync(program, `#!/bin/sh\ncat '${grant}'\necho 'grantctl: it is so' >&2\nexit ${code}\n`, { mode: 0o755 });
  return program;
}

test('a request that waits is an answer, and every other exit code a failure', async (t) => {
  for (const code of [0, 11]) assert.deepStrictEqual(await ask(exiting(t, code), ['request']), PENDING);
  for (const code of [1, 2, 3, 9, 10, 12]) {
    await assert.rejects(ask(exiting(t, code), ['request']), (error) => error.exit === code && error.message === 'it is so');
  }
});

test('who can approve is told, without those who have', () => {
  assert.deepStrictEqual(missing(PENDING), ['1 more owner must approve; bruno or carla can']);
});

test('a waiting grant is waited for, and what is missing is said once', async () => {
  const active = { ...PENDING, state: 'active' };
  const some = way(PENDING, PENDING, active);
  assert.strictEqual(await untilActive(PENDING, 3600, some), active);
  assert.strictEqual(some.said.length, 2);
  assert.match(some.said[0], /grant-aaaa is pending; 1 more owner must approve; bruno or carla can/);
});

test('an active grant is not waited for at all', async () => {
  const some = way(PENDING);
  await untilActive({ ...PENDING, state: 'active' }, 0, some);
  assert.strictEqual(some.now(), 0);
});

test('waiting ends by itself, and with a grant that will never be', async () => {
  await assert.rejects(untilActive(PENDING, 12, way(PENDING)), /bruno or carla can.*waited for 12 s/);
  await assert.rejects(untilActive(PENDING, 0, way(PENDING)), /waited for 0 s/);
  const denied = { ...PENDING, state: 'denied', reason: 'not this week' };
  await assert.rejects(untilActive(PENDING, 3600, way(denied)), /grant-aaaa is denied: not this week/);
});

test('a profile is one command line without anything to quote', () => {
  const with_ = (more) => profile('grantd-reports', { program: '/usr/local/bin/grantctl', grant: 'grant-aaaa', ...more });
  assert.strictEqual(
    with_({ ttl: '300s', socket: '/run/g.sock', owner: '0', region: 'eu-west-1' }),
    '[profile grantd-reports]\n' +
      'credential_process = /usr/local/bin/grantctl --socket /run/g.sock --expect-owner 0 credential-process grant-aaaa --ttl 300s\n' +
      'region = eu-west-1\n',
  );
  for (const program of ['/opt/my tools/grantctl', '/opt/$(id)/grantctl', '/opt/a;b/grantctl', '/opt/"/grantctl']) {
    assert.throws(() => with_({ program }), /cannot stand in an AWS configuration file/);
  }
});
