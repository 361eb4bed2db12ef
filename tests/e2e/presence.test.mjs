// Who is online: what people in a chat hear, what watchers hear, and what the database says.
// That something does NOT happen is shown by something that happens later for certain: a second person,
// the witness, goes offline after the moment in question, and everything up to the witness has been seen.

import assert from 'node:assert/strict';
import { after, describe, it } from 'node:test';
import { signIn, somebody } from './harness/accounts.mjs';
import { openWorld } from './harness/bridge.mjs';
import { connect, failure, hangUp, hangUpAll, hear, heard, join, say, someChat, tell } from './harness/phones.mjs';
import { until } from './harness/until.mjs';

const GRACE_MS = 3_000;
const world = await openWorld({ PRESENCE_GRACE: `${GRACE_MS}ms`, PRESENCE_FLUSH_INTERVAL: '100ms' });
after(async () => {
  hangUpAll();
  await world.close();
});

async function person(name, ...chats) {
  const uid = somebody(name);
  const token = await signIn(uid);
  return { uid, token, socket: await device(token, ...chats) };
}

async function device(token, ...chats) {
  const socket = await connect(world.url, token);
  for (const chat of chats) await join(socket, chat);
  return socket;
}

const about = (socket, uid) => heard(socket, 'presence').filter(({ userId }) => userId === uid);
const isOffline = (uid) => (presence) => presence.userId === uid && presence.online === false;
const isAbout = (uid) => ({ path }) => path === `/${uid}` || path.startsWith(`/${uid}/`);
const record = (uid, online) =>
  until(async () => {
    const found = await world.database.presenceOf(uid);
    return found?.online === online && found;
  }, `/presence/${uid} with online: ${online}`);

/** Everything whose time has come until now is over when this returns: somebody who leaves now has gone offline, for ear and database. */
async function passGrace(listener, chat, stream) {
  const witness = await person('witness', chat);
  await hear(listener, 'presence', ({ userId }) => userId === witness.uid);
  hangUp(witness.socket);
  await hear(listener, 'presence', isOffline(witness.uid));
  if (stream) {
    const offline = (write) => isAbout(witness.uid)(write) && JSON.stringify(write.data).includes('false');
    await until(() => stream.writes.some(offline), () => `the witness in the stream; it has ${JSON.stringify(stream.writes)}`);
  } else {
    await record(witness.uid, false);
  }
}

describe('coming online', () => {
  it('is told to the people in the chat, once', async () => {
    const chat = someChat();
    const ann = await person('ann', chat);
    const ben = await person('ben', chat);
    await hear(ann.socket, 'presence');
    await say(ben.socket, chat, 'the end');
    await hear(ann.socket, 'new_message');
    const [told, ...more] = about(ann.socket, ben.uid);
    assert.deepEqual([told.userId, told.online], [ben.uid, true]);
    assert.deepEqual(more, []);
  });

  it('is in the database with its time and node', async () => {
    const before = Date.now();
    const ann = await person('ann');
    const after = Date.now();
    const found = await record(ann.uid, true);
    assert.equal(found.node, 'main');
    assert.ok(found.lastSeen >= before && found.lastSeen <= after, `${before} <= ${found.lastSeen} <= ${after}`);
    assert.deepEqual(Object.keys(found).sort(), ['lastSeen', 'node', 'online']);
  });
});

describe('going offline', () => {
  it('comes after the grace, with the time at which the connection ended', async () => {
    const chat = someChat();
    const [ann, ben] = [await person('ann', chat), await person('ben', chat)];
    const at = hangUp(ben.socket);
    const told = await hear(ann.socket, 'presence', isOffline(ben.uid));
    const toldAt = Date.now();
    const found = await record(ben.uid, false);
    assert.ok(toldAt >= at + GRACE_MS, 'not before the grace is over');
    assert.equal(told.lastSeen, found.lastSeen, 'ear and database agree');
    assert.ok(found.lastSeen >= at && found.lastSeen < at + GRACE_MS, `${at} <= ${found.lastSeen}: of the disconnect, not of the grace's end`);
  });

  it('is told once to people who share three chats', async () => {
    const chats = [someChat(), someChat(), someChat()];
    const [ann, ben] = [await person('ann', ...chats), await person('ben', ...chats)];
    hangUp(ben.socket);
    await hear(ann.socket, 'presence', isOffline(ben.uid));
    await passGrace(ann.socket, chats[0]);
    assert.deepEqual(about(ann.socket, ben.uid).filter(({ online }) => !online).length, 1);
  });

  it('does not happen while a second device is connected', async () => {
    const chat = someChat();
    const [ann, ben] = [await person('ann', chat), await person('ben', chat)];
    const tablet = await device(ben.token, chat);
    const stream = await world.database.follow('/presence');
    await record(ben.uid, true);
    hangUp(ben.socket);
    await passGrace(ann.socket, chat, stream);
    assert.deepEqual(about(ann.socket, ben.uid).map(({ online }) => online), [true]);
    assert.equal((await world.database.presenceOf(ben.uid)).online, true);
    hangUp(tablet);
    await hear(ann.socket, 'presence', isOffline(ben.uid));
    await record(ben.uid, false);
    stream.close();
  });
});

describe('a reconnect within the grace', () => {
  it('is silent: no event for anybody, no write to the database', async () => {
    const chat = someChat();
    const [ann, ben] = [await person('ann', chat), await person('ben', chat)];
    await tell(ann.socket, 'watch_presence', { userIds: [ben.uid] });
    const before = await record(ben.uid, true);
    const stream = await world.database.follow('/presence');
    const known = about(ann.socket, ben.uid).length;

    hangUp(ben.socket);
    const back = await device(ben.token, chat);
    await passGrace(ann.socket, chat, stream);

    assert.equal(about(ann.socket, ben.uid).length, known, JSON.stringify(about(ann.socket, ben.uid)));
    assert.deepEqual(stream.writes.filter(isAbout(ben.uid)), []);
    assert.equal(stream.problem, null);
    assert.deepEqual(await world.database.presenceOf(ben.uid), before);
    await say(back, chat, 'here again');
    await hear(ann.socket, 'new_message');
    stream.close();
  });

  it('is not needed: after the grace a new connection is a new arrival', async () => {
    const chat = someChat();
    const [ann, ben] = [await person('ann', chat), await person('ben', chat)];
    hangUp(ben.socket);
    await hear(ann.socket, 'presence', isOffline(ben.uid));
    await device(ben.token, chat);
    await until(() => about(ann.socket, ben.uid).length === 3, () => JSON.stringify(about(ann.socket, ben.uid)));
    assert.deepEqual(about(ann.socket, ben.uid).map(({ online }) => online), [true, false, true]);
    await record(ben.uid, true);
  });
});

describe('watching', () => {
  it('tells the present state at once and every change after it', async () => {
    const ann = await person('ann');
    const benId = somebody('ben');
    const ack = await tell(ann.socket, 'watch_presence', { userIds: [benId, ann.uid] });
    assert.deepEqual(ack.presence.map(({ userId, online }) => [userId, online]), [[benId, false], [ann.uid, true]]);
    const socket = await connect(world.url, await signIn(benId));
    await hear(ann.socket, 'presence', ({ userId, online }) => userId === benId && online === true);
    const at = hangUp(socket);
    const { lastSeen } = await hear(ann.socket, 'presence', isOffline(benId));
    assert.ok(lastSeen >= at && lastSeen < at + GRACE_MS);
  });

  it('tells when somebody who is offline was last here', async () => {
    const chat = someChat();
    const [ann, ben] = [await person('ann', chat), await person('ben', chat)];
    hangUp(ben.socket);
    const { lastSeen } = await hear(ann.socket, 'presence', isOffline(ben.uid));
    await record(ben.uid, false);
    const { presence } = await tell(ann.socket, 'watch_presence', { userIds: [ben.uid] });
    assert.deepEqual(presence, [{ userId: ben.uid, online: false, lastSeen }]);
  });

  it('tells a watcher who shares the chat only once', async () => {
    const chat = someChat();
    const [ann, ben] = [await person('ann', chat), await person('ben', chat)];
    await tell(ann.socket, 'watch_presence', { userIds: [ben.uid] });
    hangUp(ben.socket);
    await hear(ann.socket, 'presence', isOffline(ben.uid));
    await passGrace(ann.socket, chat);
    assert.equal(about(ann.socket, ben.uid).filter(({ online }) => !online).length, 1);
  });

  it('ends by unwatch_presence', async () => {
    const chat = someChat();
    const ann = await person('ann', chat);
    const benId = somebody('ben');
    await tell(ann.socket, 'watch_presence', { userIds: [benId] });
    await tell(ann.socket, 'unwatch_presence', { userIds: [benId] });
    const socket = await connect(world.url, await signIn(benId));
    hangUp(socket);
    await passGrace(ann.socket, chat);
    assert.deepEqual(about(ann.socket, benId), []);
  });

  it('refuses more users than the limit', async () => {
    const ann = await person('ann');
    const userIds = Array.from({ length: 201 }, (_, index) => `somebody-${index}`);
    const { code } = await failure(ann.socket, 'watch_presence', { userIds });
    assert.ok(['invalid_payload', 'rate_limited', 'too_large'].includes(code), code);
  });
});

describe('the state of an app', () => {
  for (const state of ['background', 'foreground']) {
    it(`may be told: ${state}`, async () => {
      const ann = await person('ann');
      await tell(ann.socket, 'app_state', { state });
    });
  }
});

describe('the database', () => {
  it('shows a record to a signed-in user, lists nothing, and takes no write from anybody', async () => {
    const [ann, ben] = [await person('ann'), await person('ben')];
    await record(ben.uid, true);
    const { ask } = world.database;
    const allowed = await ask('GET', `/presence/${ben.uid}`, { idToken: ann.token });
    assert.deepEqual([allowed.status, allowed.body.online], [200, true]);
    const refused = [
      await ask('GET', `/presence/${ben.uid}`, { idToken: null }),
      await ask('GET', '/presence', { idToken: ann.token }),
      await ask('PUT', `/presence/${ann.uid}`, { idToken: ann.token, body: { online: false } }),
      await ask('PATCH', '/presence', { idToken: ann.token, body: { [`${ann.uid}/online`]: false } }),
      await ask('DELETE', `/presence/${ann.uid}`, { idToken: ann.token }),
    ];
    assert.deepEqual(refused.map(({ status }) => status), [401, 401, 401, 401, 401]);
    assert.equal((await world.database.presenceOf(ann.uid)).online, true);
  });

  it('knows that the node lives', async () => {
    const beats = (await world.database.ask('GET', '/presenceNodes/main')).body;
    const [beat] = Object.values(beats);
    assert.equal(beat.intervalMs, 10_000);
    assert.ok(Math.abs(Date.now() - beat.heartbeat) < 60_000, JSON.stringify(beat));
  });

  it('keeps users apart whose ids are no plain keys', async () => {
    const ids = ['a.b@example.com', 'auth0|x/y', 'per%cent', 'gr\u00fc\u00dfe \u{1F44B}'].map((id) => somebody(id));
    for (const id of ids) await connect(world.url, await signIn(id));
    const key = (uid) =>
      uid.replace(/[.$#[\]/%\x00-\x1f\x7f]/g, (c) => `%${c.charCodeAt(0).toString(16).toUpperCase().padStart(2, '0')}`);
    await until(async () => {
      const all = (await world.database.ask('GET', '/presence')).body ?? {};
      return ids.every((id) => all[key(id)]?.online === true);
    }, 'four records under their encoded keys');
  });
});
