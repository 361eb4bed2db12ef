// Who may connect, and for how long: tokens of the real Auth emulator, and what no emulator would give.

import assert from 'node:assert/strict';
import { after, describe, it } from 'node:test';
import { claimsOf, forge, refresh, remember, signIn, signInUser, somebody } from './harness/accounts.mjs';
import { openWorld } from './harness/bridge.mjs';
import { connect, failure, hangUpAll, hear, heard, join, phone, refusal, say, someChat, tell } from './harness/phones.mjs';
import { until } from './harness/until.mjs';

const world = await openWorld({ AUTH_LEEWAY: '0s', LIMIT_CONNECTIONS_PER_USER: '3' });
after(async () => {
  hangUpAll();
  await world.close();
});

const seconds = () => Math.floor(Date.now() / 1_000);
const good = await signIn(somebody('ann'));

describe('a connect is refused', () => {
  const token = (value) => ({ auth: { token: value } });
  const refused = [
    ['without any auth', { auth: {} }, 'unauthorized'],
    ['without a token', { auth: { deviceId: 'phone' } }, 'unauthorized'],
    ['with an empty token', token(''), 'unauthorized'],
    ['with a token that is no text', token(42), 'unauthorized'],
    ['with garbage', token('garbage'), 'unauthorized'],
    ['with three segments of garbage', token('a.b.c'), 'unauthorized'],
    ['with a token of another project', token(forge(good, { aud: 'demo-other', iss: 'https://securetoken.google.com/demo-other' })), 'unauthorized'],
    ['with a token of another issuer', token(forge(good, { iss: 'https://example.com/demo-e2e' })), 'unauthorized'],
    ['with a token for nobody', token(forge(good, { sub: '', user_id: '' })), 'unauthorized'],
    ['with a token from the future', token(forge(good, { iat: seconds() + 600, auth_time: seconds() + 600 })), 'unauthorized'],
    ['with a token that has expired', token(forge(good, { exp: seconds() - 1 })), 'token_expired'],
    ['with a token that claims a signature', token(forge(good, {}, { alg: 'RS256', kid: 'x', typ: 'JWT' })), 'unauthorized'],
    ['with a token longer than 4 KiB', token(forge(good, { padding: 'x'.repeat(5_000) })), 'unauthorized'],
  ];
  for (const [how, options, code] of refused) {
    for (const transport of ['websocket', 'polling']) {
      it(`${how}, over ${transport}`, async () => {
        assert.equal(await refusal(world.url, { ...options, transports: [transport] }), code);
      });
    }
  }

  it('but takes nothing from the next one', async () => {
    const uid = somebody('ann');
    assert.equal(await refusal(world.url, { auth: {} }), 'unauthorized');
    const socket = await connect(world.url, await signIn(uid));
    assert.equal(heard(socket, 'ready')[0].userId, uid);
  });
});

describe('a token', () => {
  it('is renewed in the living connection', async () => {
    const user = await signInUser(somebody('ann'));
    const first = remember(await user.getIdToken());
    const socket = await connect(world.url, forge(first, { exp: seconds() + 600 }));
    assert.ok(heard(socket, 'ready')[0].expiresInMs <= 600_000);
    const { expiresInMs } = await tell(socket, 'refresh_token', { token: await refresh(user) });
    assert.ok(expiresInMs > 3_000_000 && expiresInMs <= 3_600_000, String(expiresInMs));
  });

  it('that is bad renews nothing and changes nothing', async () => {
    const chat = someChat();
    const socket = await connect(world.url, await signIn(somebody('ann')));
    await join(socket, chat);
    assert.equal((await failure(socket, 'refresh_token', { token: 'garbage' })).code, 'unauthorized');
    assert.equal((await failure(socket, 'refresh_token', { token: forge(good, { exp: seconds() - 1 }) })).code, 'token_expired');
    await say(socket, chat, 'still here');
  });

  it('of another user ends the connection', async () => {
    const socket = await connect(world.url, await signIn(somebody('ann')));
    socket.emit('refresh_token', { token: await signIn(somebody('ben')) });
    const closing = await hear(socket, 'closing');
    assert.deepEqual([closing.code, closing.reconnect], ['unauthorized', false]);
    await hear(socket, 'disconnect');
  });

  it('that is about to expire is announced, and the connection ends with it', async () => {
    const token = forge(await signIn(somebody('ann')), { exp: seconds() + 4 });
    const socket = await connect(world.url, token);
    const { expiresInMs } = await hear(socket, 'token_expiring');
    assert.ok(expiresInMs > 0 && expiresInMs <= 4_000, String(expiresInMs));
    const closing = await hear(socket, 'closing');
    assert.deepEqual([closing.code, closing.reconnect], ['token_expired', true]);
    assert.ok(Date.now() >= claimsOf(token).exp * 1_000, 'not before it expires');
    await hear(socket, 'disconnect');
  });

  it('renewed in time keeps the connection', async () => {
    const user = await signInUser(somebody('ann'));
    const token = forge(remember(await user.getIdToken()), { exp: seconds() + 4 });
    const socket = await connect(world.url, token);
    await tell(socket, 'refresh_token', { token: await refresh(user) });
    const witness = await connect(world.url, forge(await signIn(somebody('ben')), { exp: seconds() + 4 }));
    await hear(witness, 'closing');
    assert.deepEqual([heard(socket, 'closing'), socket.connected], [[], true]);
  });
});

describe('more connections than one user may have', () => {
  it('close the oldest one, for good', async () => {
    const token = await signIn(somebody('ann'));
    const oldest = await connect(world.url, token);
    const others = [await connect(world.url, token), await connect(world.url, token), await connect(world.url, token)];
    const closing = await hear(oldest, 'closing');
    assert.deepEqual([closing.code, closing.reconnect], ['too_many_connections', false]);
    await hear(oldest, 'disconnect');
    assert.deepEqual(others.map(({ connected }) => connected), [true, true, true]);
  });
});

describe('transports', () => {
  for (const transports of [['websocket'], ['polling'], ['polling', 'websocket']]) {
    it(`${transports.join(' then ')}: connects, joins, speaks and hears`, async () => {
      const chat = someChat();
      const far = await connect(world.url, await signIn(somebody('ben')));
      await join(far, chat);
      const socket = await connect(world.url, await signIn(somebody('ann')), { transports });
      const last = transports.at(-1);
      await until(() => socket.io.engine.transport.name === last, `the transport is ${last}`);
      await join(socket, chat);
      await say(socket, chat, `by ${last}`);
      await hear(far, 'new_message', ({ message }) => message === `by ${last}`);
      await Promise.all(Array.from({ length: 50 }, (_, n) => say(far, chat, n)));
      await until(() => heard(socket, 'new_message').length === 50, '50 answers');
      assert.deepEqual(heard(socket, 'new_message').map(({ message }) => message), Array.from({ length: 50 }, (_, n) => n));
    });
  }

  it('lose nothing while polling becomes websocket', async () => {
    const chat = someChat();
    const far = await connect(world.url, await signIn(somebody('ben')));
    await join(far, chat);
    const socket = phone(world.url, await signIn(somebody('ann')), { transports: ['polling', 'websocket'] });
    socket.connect();
    socket.emit('join_chat', { chatId: chat });
    let sent = 0;
    await until(async () => {
      await say(socket, chat, sent);
      sent += 1;
      return socket.io.engine?.transport.name === 'websocket' && sent >= 50;
    }, 'the upgrade');
    await until(() => heard(far, 'new_message').length === sent, () => `${heard(far, 'new_message').length} of ${sent}`);
    assert.deepEqual(heard(far, 'new_message').map(({ message }) => message), Array.from({ length: sent }, (_, n) => n));
  });

  it('without polling refuse a client that only polls', async () => {
    const strict = await openWorld({ TRANSPORTS: 'websocket' });
    const token = await signIn(somebody('ann'));
    await refusal(strict.url, { auth: { token }, transports: ['polling'] });
    const socket = await connect(strict.url, token, { transports: ['websocket'] });
    socket.close();
    await strict.close();
  });
});
