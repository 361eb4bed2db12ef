// The bridge as a process: how it ends, what it leaves behind, what it prints.

import assert from 'node:assert/strict';
import { after, describe, it } from 'node:test';
import { signIn, somebody } from './harness/accounts.mjs';
import { openWorld } from './harness/bridge.mjs';
import { connect, failure, hangUpAll, hear, join, say, someChat, tell } from './harness/phones.mjs';
import { until, within } from './harness/until.mjs';

after(hangUpAll);

describe('SIGTERM', () => {
  for (const signal of ['SIGTERM', 'SIGINT']) {
    it(`(as ${signal}) says goodbye to everybody, writes them offline and ends with code 0`, async () => {
      const world = await openWorld();
      const uids = Array.from({ length: 20 }, () => somebody('guest'));
      const sockets = await Promise.all(uids.map(async (uid) => connect(world.url, await signIn(uid))));
      const before = Date.now();
      world.process.signal(signal);
      for (const socket of sockets) {
        const closing = await hear(socket, 'closing');
        assert.deepEqual([closing.code, closing.reconnect], ['draining', true]);
        assert.ok(Number.isInteger(closing.retryAfterMs) && closing.retryAfterMs >= 0, JSON.stringify(closing));
        await hear(socket, 'disconnect');
      }
      assert.deepEqual(await within(world.process.ended, 'the end'), { code: 0, signal: null });
      const took = Date.now() - before;
      assert.ok(took < 10_000, `${took} ms: DRAIN_TIMEOUT is 8 s`);
      for (const uid of uids) {
        const { online, lastSeen } = await world.database.presenceOf(uid);
        assert.equal(online, false);
        assert.ok(lastSeen >= before && lastSeen <= Date.now());
      }
      assert.equal((await world.database.ask('GET', '/presenceNodes/main')).body, null, 'its heartbeat is gone');
      await world.close();
    });
  }

  it('spreads the reconnects of many phones', async () => {
    const world = await openWorld();
    const sockets = await Promise.all(Array.from({ length: 20 }, async () => connect(world.url, await signIn(somebody('guest')))));
    world.process.signal('SIGTERM');
    const delays = await Promise.all(sockets.map(async (socket) => (await hear(socket, 'closing')).retryAfterMs));
    assert.ok(new Set(delays).size > 1, JSON.stringify(delays));
    await world.close();
  });
});

/** Watches /presence and tells which states of `online` were written for a user. */
async function watchRecords(database) {
  const stream = await database.follow('/presence');
  const written = (uid) =>
    stream.writes.filter(({ path }) => path.startsWith(`/${uid}/`) || path === `/${uid}`).map(({ data }) => data?.online ?? data);
  return { written, close: stream.close };
}

const offline = (database, uid) =>
  until(async () => {
    const found = await database.presenceOf(uid);
    return found.online === false && found;
  }, `${uid} is offline`);

describe('the next process', () => {
  it('after a handover keeps those online who come back, and writes the others offline', async () => {
    const settings = { PRESENCE_ON_DRAIN: 'handover', PRESENCE_GRACE: '2s', PRESENCE_START_GRACE: '4s' };
    const first = await openWorld(settings);
    const { database } = first;
    const [faithful, gone] = [somebody('faithful'), somebody('gone')];
    const token = await signIn(faithful);
    const sockets = [await connect(first.url, token), await connect(first.url, await signIn(gone))];
    await until(async () => (await database.presenceOf(gone))?.online, 'both are written');
    const records = await watchRecords(database);
    first.process.signal('SIGTERM');
    await Promise.all(sockets.map((socket) => hear(socket, 'closing')));
    await first.close();
    assert.deepEqual([records.written(faithful), records.written(gone)], [[], []]);

    const second = await openWorld(settings, database);
    const back = await connect(second.url, token);
    await offline(database, gone);
    assert.deepEqual(records.written(faithful), [], 'nothing was written for whoever came back');
    assert.equal((await database.presenceOf(faithful)).online, true);
    records.close();
    back.close();
    await second.close();
  });

  it('after a kill writes offline, with the last sign of life, those who do not come back', async () => {
    const settings = {
      PRESENCE_GRACE: '2s',
      PRESENCE_START_GRACE: '4s',
      PRESENCE_HEARTBEAT_INTERVAL: '1s',
      FIREBASE_DATABASE_TIMEOUT: '2s',
    };
    const first = await openWorld(settings);
    const { database } = first;
    const [faithful, gone] = [somebody('faithful'), somebody('gone')];
    const token = await signIn(faithful);
    await connect(first.url, token);
    await connect(first.url, await signIn(gone));
    await until(async () => (await database.presenceOf(gone))?.online, 'both are written');
    const records = await watchRecords(database);
    const killedAt = Date.now();
    first.process.signal('SIGKILL');
    assert.deepEqual(await within(first.process.ended, 'the end'), { code: null, signal: 'SIGKILL' });

    const second = await openWorld(settings, database);
    const back = await connect(second.url, token);
    const { lastSeen } = await offline(database, gone);
    assert.ok(lastSeen <= killedAt, `${lastSeen} <= ${killedAt}: nobody was seen after the kill`);
    assert.deepEqual(records.written(faithful).filter((online) => online === false), [], 'no flapping');
    assert.equal((await database.presenceOf(faithful)).online, true);
    records.close();
    back.close();
    await second.close();
  });
});

describe('the log', () => {
  it('at its most talkative holds no token, no message and no socket id', async () => {
    const world = await openWorld({ RUST_LOG: 'trace' });
    const chat = someChat();
    const tokens = [await signIn(somebody('ann')), await signIn(somebody('ben'))];
    const [ann, ben] = [
      await connect(world.url, tokens[0], { transports: ['polling'] }),
      await connect(world.url, tokens[1], { transports: ['websocket'] }),
    ];
    await Promise.all([join(ann, chat), join(ben, chat)]);
    await say(ann, chat, 'a-most-private-message');
    await failure(ann, 'send_message', { chatId: 'elsewhere', message: 'a-most-private-mistake' });
    await failure(ben, 'refresh_token', { token: `${tokens[0]}x` });
    await tell(ben, 'refresh_token', { token: tokens[1] });
    await hear(ben, 'new_message');
    const ids = [ann, ben].flatMap((socket) => [socket.id, socket.io.engine.id]);
    ann.close();
    ben.close();
    await world.close();
    assert.ok(world.process.log.length > 0, 'there is a log');
    for (const secret of [...tokens, 'a-most-private', ...ids]) {
      assert.ok(!world.process.log.includes(secret), `the log holds ${secret.slice(0, 24)}`);
    }
  });

  it('and the metrics name no user and no chat', async () => {
    const world = await openWorld();
    const [uid, chat] = [somebody('ann'), someChat()];
    const socket = await connect(world.url, await signIn(uid));
    await join(socket, chat);
    await say(socket, chat, 'hello');
    const answer = await fetch(`${world.admin}/metrics`);
    const metrics = await answer.text();
    assert.equal(answer.status, 200);
    assert.match(metrics, /^bridge_connections\S* 1$/m);
    for (const secret of [uid, chat, 'hello', socket.id]) assert.ok(!metrics.includes(secret), secret);
    socket.close();
    await world.close();
  });
});
