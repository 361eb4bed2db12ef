// Runs the tests with other people's code: `node run.mjs`, or `node run.mjs chat.test.mjs` for one file.
// It starts what they share: the real Auth emulator and, unless FIREBASE_DATABASE_EMULATOR_HOST names another one,
// the bridge's own stand-in for the Realtime Database. Its last line counts what ran.

import { readdirSync } from 'node:fs';
import { run } from 'node:test';
import { spec } from 'node:test/reporters';
import { fileURLToPath } from 'node:url';
import { PROJECT } from './harness/accounts.mjs';
import { openDev } from './harness/bridge.mjs';
import { freePort, ready, start, stop } from './harness/processes.mjs';

const HERE = fileURLToPath(new URL('.', import.meta.url));
/** A file may last this long before it counts as hung. */
const FILE_DEADLINE_MS = 300_000;

async function startAuthEmulator() {
  const port = await freePort();
  const program = fileURLToPath(new URL('harness/auth-emulator.cjs', import.meta.url));
  const self = start('the Auth emulator', process.execPath, [program, PROJECT, String(port)], process.env);
  await ready(self, () => self.log.includes('auth emulator ready'));
  process.env.FIREBASE_AUTH_EMULATOR_HOST = `127.0.0.1:${port}`;
  return self;
}

async function startDatabase() {
  const dev = await openDev({
    FIREBASE_PROJECT_ID: PROJECT,
    FIREBASE_AUTH_EMULATOR_HOST: process.env.FIREBASE_AUTH_EMULATOR_HOST,
  });
  process.env.FIREBASE_DATABASE_EMULATOR_HOST = dev.databaseHost;
  return dev;
}

/**
 * Runs the files one after another and counts tests. A file or suite around tests is none, but counts as a failure when
 * it fails of itself: when it does not load, or one of its hooks fails.
 */
async function runFiles(files) {
  const count = { passed: 0, failed: 0, skipped: 0 };
  // What a failed test has left open must not keep its file alive.
  const stream = run({ files, concurrency: 1, timeout: FILE_DEADLINE_MS, forceExit: true });
  stream.on('test:fail', ({ details }) => {
    if (details.error?.failureType !== 'subtestsFailed') count.failed += 1;
  });
  stream.on('test:pass', ({ name, details, skip, todo }) => {
    if (details.type === 'suite' || files.includes(name)) return;
    if (skip !== undefined || todo !== undefined) count.skipped += 1;
    else count.passed += 1;
  });
  for await (const text of stream.compose(new spec())) process.stdout.write(text);
  return count;
}

const asked = process.argv.slice(2);
const names = asked.length > 0 ? asked : readdirSync(HERE).filter((name) => name.endsWith('.test.mjs')).sort();
const files = names.map((name) => (name.startsWith('/') ? name : `${HERE}${name}`));

const auth = process.env.FIREBASE_AUTH_EMULATOR_HOST ? null : await startAuthEmulator();
const dev = process.env.FIREBASE_DATABASE_EMULATOR_HOST ? null : await startDatabase();
const count = await runFiles(files);
try {
  await dev?.close();
  if (auth) await stop(auth);
} catch (disorder) {
  process.stdout.write(`${disorder.message}\n`);
  count.failed += 1;
}

const good = count.failed === 0 && count.skipped === 0 && count.passed > 0;
process.stdout.write(
  `test result: ${good ? 'ok' : 'FAILED'}. ${count.passed} passed; ${count.failed} failed; ${count.skipped} ignored\n`,
);
process.exit(good ? 0 : 1);
