'use strict';

const assert = require('node:assert');
const fs = require('node:fs');
const os = require('node:os');
const path = require('node:path');
const test = require('node:test');

const runner = require('../lib/runner.js');

function directory(t) {
  const made = fs.mkdtempSync(path.join(os.tmpdir(), 'grantd-test-'));
  t.after(() => fs.rmSync(made, { recursive: true }));
  return made;
}

function printed(write) {
  let text = '';
  write({ write: (more) => (text += more) });
  return text;
}

/** As the runner undoes it. */
function decoded(text) {
  return text.replace(/%0D/g, '\r').replace(/%0A/g, '\n').replace(/%25/g, '%');
}

test('nothing from outside is a workflow command', () => {
  for (const hostile of ['::set-env name=A::b', 'a\n::error::b', 'a\r::error::b', 'x ##[set-env name=A]b', '100%0A::error::b']) {
    for (const text of [printed((out) => runner.say(hostile, out)), printed((out) => runner.annotate('error', hostile, out))]) {
      const [first, ...rest] = text.split(/[\r\n]/);
      assert.deepStrictEqual(rest, [''], text);
      assert.ok(first.startsWith('grantd: ') || first.startsWith('::error title=grantd::'), text);
      assert.ok(!text.includes('##['), text);
    }
  }
  assert.strictEqual(printed((out) => runner.annotate('error', '50%0A of it', out)), '::error title=grantd::50%250A of it\n');
});

test('what is escaped is what the runner reads back', () => {
  for (const text of ['%', '%0A', 'a\nb\r', '%250D', '']) assert.strictEqual(decoded(runner.escapeData(text)), text);
});

test('a value cannot end its own block in a file of the runner', (t) => {
  const file = path.join(directory(t), 'env');
  runner.tell(file, { A: 'one\ngrantd_x\nB<<C', D: '' });
  const lines = fs.readFileSync(file, 'utf8').split('\n');
  const end = lines[0].replace(/^A<</, '');
  assert.match(end, /^grantd_[0-9a-f-]{36}$/);
  assert.strictEqual(lines.indexOf(end), 4);
  assert.match(lines[5], /^D<<grantd_/);
  assert.throws(() => runner.tell(undefined, {}), /GitHub Actions/);
});

test('the worker is found above the step by its name or its program, and by nothing else', (t) => {
  const proc = directory(t);
  const process = (pid, name, parent) => {
    fs.mkdirSync(path.join(proc, String(pid)));
    fs.writeFileSync(path.join(proc, String(pid), 'stat'), `${pid} (${name}) S ${parent} 1 1 0\n`);
  };
  process(10, 'Runner.Listener', 1);
  process(20, 'Runner.Worker', 10);
  process(30, 'node) S 999 (x', 20);
  process(40, 'bash', 10);
  assert.strictEqual(runner.workerAbove(30, proc), 20);
  process(50, 'renamed', 10);
  fs.symlinkSync('/opt/runner/bin/Runner.Worker', path.join(proc, '50', 'exe'));
  process(60, 'node', 50);
  assert.strictEqual(runner.workerAbove(60, proc), 50);
  assert.throws(() => runner.workerAbove(40, proc), /no Runner\.Worker .* not in a container/);
});

test('only directories of this job are ours to remove or to read', (t) => {
  const env = { RUNNER_TEMP: directory(t) };
  const made = runner.privateDirectory(env);
  assert.strictEqual(fs.statSync(made).mode & 0o777, 0o700);
  assert.ok(runner.isOurs(made, env));
  for (const other of [env.RUNNER_TEMP, path.join(made, 'x'), `${made}/../../etc`, '/grantd-abcdef', path.join(env.RUNNER_TEMP, 'grantd-a')]) {
    assert.ok(!runner.isOurs(other, env), other);
  }
  assert.throws(() => runner.privateDirectory({}), /RUNNER_TEMP/);
});
