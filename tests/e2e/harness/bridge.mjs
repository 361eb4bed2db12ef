// The bridge's own binary, started as an operator starts it: by its settings alone.

import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { PROJECT, emulatorHost, tokensHandedOut } from './accounts.mjs';
import { openDatabase } from './database.mjs';
import { freePort, ready, start, stop } from './processes.mjs';

const BUILT = fileURLToPath(new URL('../../../target/debug/presence-bridge', import.meta.url));

/** `BRIDGE_BIN`, or what `cargo build` has made. */
function binary() {
  const path = process.env.BRIDGE_BIN ?? BUILT;
  if (!existsSync(path)) throw new Error(`no bridge at ${path}: run 'cargo build', or set BRIDGE_BIN`);
  return path;
}

/** Nothing of our own environment reaches the bridge but what every program needs. */
const bare = () => ({ PATH: process.env.PATH, HOME: process.env.HOME, RUST_BACKTRACE: '1' });

async function answers(url) {
  try {
    return (await fetch(url)).status === 200;
  } catch {
    return false;
  }
}

/** Room for a test's pace, not for a person's: limits have tests of their own, which set them. */
const ROOMY = { LIMIT_EVENTS_PER_SECOND: '10000' };

let databases = 0;

/** A database with nothing in it but the rules we ship. */
async function newDatabase() {
  databases += 1;
  const database = openDatabase(databaseHost(), `e2e-${process.pid}-${databases}`);
  await database.installRules();
  return database;
}

/**
 * Starts one bridge against the Auth emulator and a database of its own, and waits until it is ready.
 * `settings` are added to those; with the `database` of an earlier world this one is its successor.
 * Closing the world checks that the bridge ends in order.
 */
export async function openWorld(settings = {}, database = undefined) {
  database ??= await newDatabase();
  const [port, adminPort] = [await freePort(), await freePort()];
  const self = start('the bridge', binary(), [], {
    ...bare(),
    HOST: '127.0.0.1',
    PORT: String(port),
    ADMIN_LISTEN: `127.0.0.1:${adminPort}`,
    FIREBASE_PROJECT_ID: PROJECT,
    FIREBASE_AUTH_EMULATOR_HOST: emulatorHost(),
    FIREBASE_DATABASE_EMULATOR_HOST: database.host,
    FIREBASE_DATABASE_URL: database.url,
    ...ROOMY,
    ...settings,
  });
  const url = `http://127.0.0.1:${port}`;
  await ready(self, () => answers(`${url}/readyz`));
  return { url, admin: `http://127.0.0.1:${adminPort}`, database, process: self, close: () => end(self) };
}

/**
 * `presence-bridge dev`: the bridge with its stand-ins, each on a port of its own.
 * Without settings it needs nothing from outside, as on a newcomer's machine.
 */
export async function openDev(settings = {}) {
  const [port, adminPort, databasePort, authPort] = [
    await freePort(),
    await freePort(),
    await freePort(),
    await freePort(),
  ];
  const self = start('presence-bridge dev', binary(), ['dev'], {
    ...bare(),
    PORT: String(port),
    ADMIN_LISTEN: `127.0.0.1:${adminPort}`,
    DEV_DATABASE_PORT: String(databasePort),
    DEV_AUTH_PORT: String(authPort),
    ...settings,
  });
  const url = `http://127.0.0.1:${port}`;
  await ready(self, () => answers(`${url}/readyz`));
  return {
    url,
    databaseHost: `127.0.0.1:${databasePort}`,
    authHost: `127.0.0.1:${authPort}`,
    process: self,
    close: () => end(self),
  };
}

function databaseHost() {
  const host = process.env.FIREBASE_DATABASE_EMULATOR_HOST;
  if (!host) throw new Error('FIREBASE_DATABASE_EMULATOR_HOST is not set: start the tests with tests/e2e/run.mjs');
  return host;
}

/** SIGTERM, exit code 0, no panic on the way, no token in the log. */
async function end(self) {
  const outcome = self.outcome ?? (await stop(self));
  assert.deepEqual(outcome, { code: 0, signal: null }, `${self.name} did not end in order:\n${self.log.slice(-4_000)}`);
  assert.ok(!self.log.includes('panicked'), `${self.name} panicked:\n${self.log.slice(-4_000)}`);
  for (const token of tokensHandedOut()) {
    assert.ok(!self.log.includes(token), `${self.name} logged an ID token`);
  }
}
