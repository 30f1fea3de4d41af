'use strict';

const assert = require('node:assert');
const test = require('node:test');

const { readInputs, requestArguments } = require('../lib/inputs.js');

const ASKED = { INPUT_RESOURCE: 'reports', INPUT_CAN: 'object-storage:read' };
const JOB = {
  GITHUB_REPOSITORY: 'acme/shop',
  GITHUB_RUN_ID: '7',
  GITHUB_RUN_ATTEMPT: '2',
  GITHUB_JOB: 'build',
  GITHUB_WORKFLOW: 'nightly',
};

test('every value is one argument, joined to its option', () => {
  const hostile = { ...ASKED, INPUT_WHY: '--json $(id) "x"', INPUT_PREFIX: '-rf/', INPUT_TICKET: '--subject=root' };
  assert.deepStrictEqual(requestArguments(readInputs(hostile), JOB), [
    '--json',
    'request',
    '--resource=reports',
    '--can=object-storage:read',
    '--for=1800s',
    '--why=--json $(id) "x"',
    '--ticket=--subject=root',
    '--prefix=-rf/',
    '--task-system=github',
    '--task-run=acme/shop/7',
    '--task-attempt=2',
    '--task-job=build',
  ]);
});

test('without a reason the job is named', () => {
  const why = requestArguments(readInputs(ASKED), JOB).find((argument) => argument.startsWith('--why='));
  assert.strictEqual(why, '--why=GitHub Actions: nightly, job build of acme/shop/7');
});

test('what others may choose - a branch of a fork, a workflow name - stays one short line', () => {
  const env = { ...JOB, GITHUB_WORKFLOW: `a\n::error::b${'x'.repeat(5000)}`, GITHUB_JOB: 'build\r\n' };
  for (const argument of requestArguments(readInputs(ASKED), env)) {
    assert.ok(argument.length < 600 && !/[\r\n]/.test(argument), argument);
  }
});

test('durations are read as grantctl reads them', () => {
  const of = (text) => readInputs({ ...ASKED, INPUT_FOR: text, INPUT_WAIT: text, INPUT_TTL: text });
  assert.deepStrictEqual([of('1h 30m').for, of('90s').ttl, of('20m').wait], ['5400s', '90s', 1200]);
  for (const text of ['30', '0s', '-5m', '1d', 'soon', '5m; id', '1.5h']) assert.throws(() => of(text), /for: "/);
  assert.strictEqual(readInputs({ ...ASKED, INPUT_WAIT: '0s' }).wait, 0);
  assert.strictEqual(readInputs(ASKED).wait, 3600);
});

test('what is not valid is refused by its name, and shown without control characters', () => {
  const refused = (changes, words) => assert.throws(() => readInputs({ ...ASKED, ...changes }), words);
  refused({ INPUT_RESOURCE: '../reports' }, /resource: "\.\.\/reports"/);
  refused({ INPUT_RESOURCE: '-all' }, /resource/);
  refused({ INPUT_RESOURCE: 'a\u001b[2J' }, (error) => error.message.includes('a?[2J'));
  refused({ INPUT_CAN: 'object-storage' }, /can: .*object-storage:read/);
  refused({ INPUT_WHY: 'a\nb' }, /why: write it on one line/);
  refused({ INPUT_WHY: 'x'.repeat(1001) }, /why: keep it to 1000/);
  refused({ INPUT_REGION: 'eu west' }, /region/);
  refused({ INPUT_GRANT: 'grant-a b' }, /grant/);
  refused({ INPUT_GRANT: 'grant-abc' }, /either grant, or resource/);
  refused({ INPUT_CAN: '' }, /resource and can, or grant/);
});
