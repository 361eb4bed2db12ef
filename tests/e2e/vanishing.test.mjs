// Apps that vanish without a word: the stock client in a process that is stopped or killed.

import assert from 'node:assert/strict';
import { after, describe, it } from 'node:test';
import { fileURLToPath } from 'node:url';
import { signIn, somebody } from './harness/accounts.mjs';
import { openWorld } from './harness/bridge.mjs';
import { ready, start } from './harness/processes.mjs';
import { until } from './harness/until.mjs';

const DEVICE = fileURLToPath(new URL('harness/device.mjs', import.meta.url));
const world = await openWorld({ PING_INTERVAL: '1s', PING_TIMEOUT: '1s', PRESENCE_GRACE: '1s' });
after(() => world.close());

const timesReady = (app) => app.log.split('\n').filter((line) => line === 'ready').length;
const record = (uid, online) =>
  until(async () => (await world.database.presenceOf(uid))?.online === online, `/presence/${uid} with online: ${online}`);

/** Somebody whose app is running; the bridge and the database know. */
async function appOf(uid, transport) {
  const env = { PATH: process.env.PATH, DEVICE_TOKEN: await signIn(uid) };
  const app = start(`the app of ${uid}`, process.execPath, [DEVICE, world.url, transport], env);
  await ready(app, () => timesReady(app) === 1);
  await record(uid, true);
  return app;
}

for (const transport of ['websocket', 'polling']) {
  describe(`an app that speaks ${transport}`, () => {
    it('is offline when its process is stopped, and online when it goes on', async () => {
      const uid = somebody('ann');
      const app = await appOf(uid, transport);
      app.signal('SIGSTOP');
      await record(uid, false);
      app.signal('SIGCONT');
      await until(() => timesReady(app) === 2, () => `a second ready; it printed ${app.log}`);
      await record(uid, true);
      app.signal('SIGKILL');
      assert.equal((await app.ended).signal, 'SIGKILL');
    });

    it('is offline when its process is killed', async () => {
      const uid = somebody('ben');
      const app = await appOf(uid, transport);
      app.signal('SIGKILL');
      await app.ended;
      await record(uid, false);
    });
  });
}
