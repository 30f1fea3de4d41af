'use strict';

const assert = require('node:assert');
const fs = require('node:fs');
const os = require('node:os');
const path = require('node:path');
const test = require('node:test');

const { configure, environment } = require('../lib/aws.js');

function job(t) {
  const made = fs.mkdtempSync(path.join(os.tmpdir(), 'grantd-test-'));
  t.after(() => fs.rmSync(made, { recursive: true }));
  return { RUNNER_TEMP: made };
}

const section = (name) => `[profile ${name}]\ncredential_process = x\n`;

test('what is written is for this user alone', (t) => {
  const { name, directory, config, credentials } = configure(job(t), 'reports', section);
  assert.strictEqual(name, 'grantd-reports');
  const mode = (file) => fs.statSync(file).mode & 0o777;
  assert.deepStrictEqual([directory, config, credentials].map(mode), [0o700, 0o600, 0o600]);
  assert.strictEqual(fs.readFileSync(credentials, 'utf8'), '');
});

test('a second use in a job keeps the profile of the first', (t) => {
  const env = job(t);
  const first = configure(env, 'reports', section);
  const second = configure({ ...env, AWS_CONFIG_FILE: first.config }, 'ledger', section);
  const third = configure({ ...env, AWS_CONFIG_FILE: second.config }, 'reports', section);
  assert.deepStrictEqual([second.name, third.name], ['grantd-ledger', 'grantd-reports-2']);
  assert.strictEqual(fs.readFileSync(third.config, 'utf8').match(/\[profile /g).length, 3);
});

test("somebody else's configuration is not carried over", (t) => {
  const env = job(t);
  const theirs = path.join(env.RUNNER_TEMP, 'config');
  fs.writeFileSync(theirs, '[default]\ncredential_process = theirs\n');
  const { config } = configure({ ...env, AWS_CONFIG_FILE: theirs }, 'reports', section);
  assert.ok(!fs.readFileSync(config, 'utf8').includes('theirs'));
});

test('ambient identities are emptied, and only those that are there', () => {
  const written = { name: 'grantd-reports', config: '/c', credentials: '/e' };
  assert.deepStrictEqual(environment({ AWS_ACCESS_KEY_ID: 'AKIA', AWS_DEFAULT_PROFILE: 'x', AWS_REGION: 'r' }, written), {
    AWS_CONFIG_FILE: '/c',
    AWS_SHARED_CREDENTIALS_FILE: '/e',
    AWS_PROFILE: 'grantd-reports',
    AWS_EC2_METADATA_DISABLED: 'true',
    AWS_DEFAULT_PROFILE: 'grantd-reports',
    AWS_ACCESS_KEY_ID: '',
  });
});
