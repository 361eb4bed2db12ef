// Child processes: started, watched, stopped, and never left behind.

import { spawn } from 'node:child_process';
import { createServer } from 'node:net';
import { DEADLINE_MS, until, within } from './until.mjs';

const running = new Set();
process.on('exit', () => running.forEach((child) => child.kill('SIGKILL')));

/** Below Linux's range for outgoing connections, so that nobody takes the port between our look and the child's bind. */
const LOWEST_PORT = 20_000;
const PORTS = 12_000;

/** A port of 127.0.0.1 on which nobody listens. */
export async function freePort() {
  for (let tries = 0; tries < 100; tries += 1) {
    const port = LOWEST_PORT + Math.floor(Math.random() * PORTS);
    if (await isFree(port)) return port;
  }
  throw new Error('no free port found');
}

function isFree(port) {
  return new Promise((resolve) => {
    const probe = createServer();
    probe.once('error', () => resolve(false));
    probe.listen(port, '127.0.0.1', () => probe.close(() => resolve(true)));
  });
}

/**
 * Starts a program with exactly the given environment. Its `log` holds everything it has printed.
 * Standard input stays open as long as we live: a child may take its end as the order to stop.
 */
export function start(name, program, args, env) {
  const child = spawn(program, args, { env, stdio: ['pipe', 'pipe', 'pipe'] });
  running.add(child);
  const self = {
    name,
    pid: child.pid,
    log: '',
    outcome: null,
    askedToStop: false,
    signal: (kind) => {
      self.askedToStop = true;
      return child.kill(kind);
    },
    ended: new Promise((resolve) => {
      const end = (outcome) => {
        running.delete(child);
        self.outcome ??= outcome;
        resolve(self.outcome);
      };
      child.once('error', (error) => end({ code: null, signal: null, error: error.message }));
      child.once('close', (code, signal) => end({ code, signal }));
    }),
  };
  for (const stream of [child.stdout, child.stderr]) {
    stream.setEncoding('utf8').on('data', (text) => {
      self.log += text;
    });
  }
  child.stdin.on('error', () => {});
  return self;
}

/** Starting compiles and loads: on a busy machine it lasts longer than anything that a test waits for. */
const START_DEADLINE_MS = 120_000;

/** Waits until `sign()` is truthy; fails at once, with what the process printed, if it ends before. */
export async function ready(self, sign) {
  const tell = (what) => `${self.name} ${what}; it printed:\n${self.log.slice(-4_000)}`;
  await until(
    () => {
      if (self.outcome) throw new Error(tell(`ended too early (${JSON.stringify(self.outcome)})`));
      return sign();
    },
    () => tell('is not ready'),
    START_DEADLINE_MS,
  );
}

/**
 * Sends SIGTERM, unless a signal was sent already (a second one means haste), and answers how the process ended.
 * One that does not end is killed, which is a failure.
 */
export async function stop(self, deadlineMs = DEADLINE_MS) {
  if (!self.askedToStop) self.signal('SIGTERM');
  try {
    return await within(self.ended, `${self.name} ends after SIGTERM`, deadlineMs);
  } catch (late) {
    self.signal('SIGKILL');
    throw new Error(`${late.message}; it printed:\n${self.log.slice(-4_000)}`);
  }
}
