// Two people in a chat: messages, receipts, group events and the errors around them.

import assert from 'node:assert/strict';
import { after, describe, it } from 'node:test';
import { signIn, somebody } from './harness/accounts.mjs';
import { openWorld } from './harness/bridge.mjs';
import { ask, connect, failure, hangUpAll, hear, heard, join, phone, say, someChat, tell } from './harness/phones.mjs';
import { until } from './harness/until.mjs';

const world = await openWorld();
after(async () => {
  hangUpAll();
  await world.close();
});

/** A person with one phone, joined to the chats. */
async function person(name, ...chats) {
  const uid = somebody(name);
  const token = await signIn(uid);
  const socket = await connect(world.url, token);
  for (const chat of chats) await join(socket, chat);
  return { uid, token, socket };
}

async function secondDevice(of, ...chats) {
  const socket = await connect(world.url, of.token);
  for (const chat of chats) await join(socket, chat);
  return socket;
}

const texts = (socket) => heard(socket, 'new_message').map(({ message }) => message);

describe('a conversation', () => {
  it('begins with ready, which tells who I am and how long my token lasts', async () => {
    const ann = await person('ann');
    const [ready, ...more] = heard(ann.socket, 'ready');
    assert.equal(ready.userId, ann.uid);
    assert.ok(ready.expiresInMs > 3_000_000 && ready.expiresInMs <= 3_600_000, String(ready.expiresInMs));
    assert.deepEqual(more, []);
  });

  it('answers a join with the others who are there', async () => {
    const chat = someChat();
    const ann = await person('ann');
    assert.deepEqual((await join(ann.socket, chat)).presence, []);
    const ben = await person('ben');
    assert.deepEqual((await join(ben.socket, chat)).presence, [{ userId: ann.uid, online: true }]);
  });

  it('carries 1,000 messages in both directions, none lost, none out of order', async () => {
    const chat = someChat();
    const [ann, ben] = [await person('ann', chat), await person('ben', chat)];
    const each = 500;
    const numbers = Array.from({ length: each }, (_, index) => index);
    /** Like a busy app: several on their way at once, but not without bound. */
    const sendAll = async (socket) => {
      const onTheWay = 16;
      for (let first = 0; first < each; first += onTheWay) {
        await Promise.all(numbers.slice(first, first + onTheWay).map((n) => say(socket, chat, { n })));
      }
    };
    await Promise.all([sendAll(ann.socket), sendAll(ben.socket)]);
    for (const [reader, sender] of [[ann, ben], [ben, ann]]) {
      await until(() => texts(reader.socket).length >= each, () => `${texts(reader.socket).length} of ${each} messages`);
      assert.deepEqual(texts(reader.socket).map(({ n }) => n), numbers);
      assert.ok(heard(reader.socket, 'new_message').every(({ senderId, chatId }) => senderId === sender.uid && chatId === chat));
    }
  });

  it('tells a message as it was sent, with its sender and its time', async () => {
    const chat = someChat();
    const [ann, ben] = [await person('ann', chat), await person('ben', chat)];
    const message = { text: 'Grüße, 你好 👋', parts: [1, 2.5, null, true, { deep: ['x'] }], empty: '' };
    const before = Date.now();
    const { deliveredAt } = await say(ann.socket, chat, message, { clientMessageId: 'id-1' });
    assert.ok(Number.isInteger(deliveredAt) && deliveredAt >= before && deliveredAt <= Date.now());
    assert.deepEqual(await hear(ben.socket, 'new_message'), {
      chatId: chat,
      message,
      senderId: ann.uid,
      deliveredAt,
      clientMessageId: 'id-1',
    });
  });

  it('believes the token, not the client, about who is speaking', async () => {
    const chat = someChat();
    const [ann, ben] = [await person('ann', chat), await person('ben', chat)];
    const lie = { userId: ben.uid, senderId: ben.uid, deliveredAt: 1 };
    await say(ann.socket, chat, 'me', lie);
    const { senderId, deliveredAt } = await hear(ben.socket, 'new_message');
    assert.equal(senderId, ann.uid);
    assert.notEqual(deliveredAt, 1);
  });

  it('reaches the other devices of the sender, but not the sending one', async () => {
    const chat = someChat();
    const [ann, ben] = [await person('ann', chat), await person('ben', chat)];
    const tablet = await secondDevice(ann, chat);
    await say(ann.socket, chat, 'from the phone');
    assert.equal((await hear(tablet, 'new_message')).senderId, ann.uid);
    await say(ben.socket, chat, 'the answer');
    await hear(ann.socket, 'new_message');
    assert.deepEqual(texts(ann.socket), ['the answer']);
  });

  it('stays within its chat', async () => {
    const [here, there] = [someChat(), someChat()];
    const [ann, ben] = [await person('ann', here, there), await person('ben', there)];
    await say(ann.socket, here, 'not for ben');
    await say(ann.socket, there, 'for ben');
    await hear(ben.socket, 'new_message');
    assert.deepEqual(texts(ben.socket), ['for ben']);
  });

  it('lets join and message follow each other without waiting', async () => {
    const chat = someChat();
    const ben = await person('ben', chat);
    const ann = await person('ann');
    const acks = await Promise.all([
      ask(ann.socket, 'join_chat', { chatId: chat }),
      ask(ann.socket, 'send_message', { chatId: chat, message: 'at once' }),
    ]);
    assert.deepEqual(acks.map(({ ok }) => ok), [true, true]);
    await hear(ben.socket, 'new_message', ({ message }) => message === 'at once');
  });

  it('loses nothing that 100 phones send before they have heard ready', async () => {
    const chat = someChat();
    const ben = await person('ben', chat);
    const tokens = await Promise.all(Array.from({ length: 100 }, () => signIn(somebody('eager'))));
    const acks = await Promise.all(
      tokens.map(async (token, index) => {
        const socket = phone(world.url, token);
        const sent = new Promise((resolve) => {
          socket.once('connect', () => {
            const joined = ask(socket, 'join_chat', { chatId: chat });
            resolve(Promise.all([joined, ask(socket, 'send_message', { chatId: chat, message: index })]));
          });
        });
        socket.connect();
        const answered = await sent;
        await hear(socket, 'ready');
        return answered;
      }),
    );
    assert.equal(acks.flat().filter(({ ok }) => ok).length, 200);
    await until(() => texts(ben.socket).length >= 100, () => `${texts(ben.socket).length} of 100 messages`);
    assert.deepEqual(texts(ben.socket).sort((a, b) => a - b), Array.from({ length: 100 }, (_, index) => index));
  });

  it('ends for whoever leaves the chat', async () => {
    const [chat, other] = [someChat(), someChat()];
    const [ann, ben] = [await person('ann', chat, other), await person('ben', chat, other)];
    await tell(ben.socket, 'leave_chat', { chatId: chat });
    await say(ann.socket, chat, 'after ben left');
    await say(ann.socket, other, 'still here');
    await hear(ben.socket, 'new_message');
    assert.deepEqual(texts(ben.socket), ['still here']);
    assert.equal((await failure(ben.socket, 'send_message', { chatId: chat, message: 'x' })).code, 'not_joined');
    assert.deepEqual(heard(ann.socket, 'presence').filter(({ online }) => !online), [], 'leaving says nothing');
  });
});

describe('a client message id', () => {
  it('that comes again is answered as the first time and not relayed', async () => {
    const chat = someChat();
    const [ann, ben] = [await person('ann', chat), await person('ben', chat)];
    const first = await say(ann.socket, chat, 'once', { clientMessageId: 'same' });
    const again = await say(ann.socket, chat, 'once', { clientMessageId: 'same' });
    assert.equal(first.duplicate, undefined);
    assert.deepEqual({ duplicate: again.duplicate, deliveredAt: again.deliveredAt }, { duplicate: true, deliveredAt: first.deliveredAt });
    await say(ann.socket, chat, 'the end');
    await hear(ben.socket, 'new_message', ({ message }) => message === 'the end');
    assert.deepEqual(texts(ben.socket), ['once', 'the end']);
  });

  it('is known on a second device and after a reconnect', async () => {
    const chat = someChat();
    const ann = await person('ann', chat);
    const { deliveredAt } = await say(ann.socket, chat, 'once', { clientMessageId: 'same' });
    ann.socket.close();
    const tablet = await secondDevice(ann, chat);
    const again = await say(tablet, chat, 'once', { clientMessageId: 'same' });
    assert.deepEqual([again.duplicate, again.deliveredAt], [true, deliveredAt]);
  });

  it('is free for another user and in another chat', async () => {
    const [chat, other] = [someChat(), someChat()];
    const [ann, ben] = [await person('ann', chat, other), await person('ben', chat)];
    await say(ann.socket, chat, 'one', { clientMessageId: 'same' });
    assert.equal((await say(ann.socket, other, 'two', { clientMessageId: 'same' })).duplicate, undefined);
    assert.equal((await say(ben.socket, chat, 'three', { clientMessageId: 'same' })).duplicate, undefined);
  });
});

describe('receipts and group events', () => {
  for (const kind of ['delivered', 'read']) {
    it(`tell the others that messages were ${kind}`, async () => {
      const chat = someChat();
      const [ann, ben] = [await person('ann', chat), await person('ben', chat)];
      const tablet = await secondDevice(ben, chat);
      await tell(ben.socket, 'receipt', { chatId: chat, messageIds: ['m1', 'm2'], kind });
      const told = { chatId: chat, messageIds: ['m1', 'm2'], kind, userId: ben.uid };
      assert.deepEqual(await hear(ann.socket, 'receipt'), told);
      assert.deepEqual(await hear(tablet, 'receipt'), told);
      await say(ann.socket, chat, 'the end');
      await hear(ben.socket, 'new_message');
      assert.deepEqual(heard(ben.socket, 'receipt'), [], 'not to the sending connection');
    });
  }

  it('carry what a group does', async () => {
    const chat = someChat();
    const [ann, ben] = [await person('ann', chat), await person('ben', chat)];
    const tablet = await secondDevice(ann, chat);
    const data = { title: 'Sunday' };
    const { deliveredAt } = await tell(ann.socket, 'group_event', { chatId: chat, type: 'renamed', data });
    const told = { chatId: chat, type: 'renamed', data, userId: ann.uid, deliveredAt };
    assert.deepEqual(await hear(ben.socket, 'group_event'), told);
    assert.deepEqual(await hear(tablet, 'group_event'), told);
  });
});

describe('a mistake', () => {
  it('in a chat that was not joined is answered not_joined', async () => {
    const ann = await person('ann');
    const chatId = someChat();
    for (const [event, payload] of [
      ['send_message', { chatId, message: 'x' }],
      ['typing', { chatId }],
      ['receipt', { chatId, messageIds: ['m1'], kind: 'read' }],
      ['group_event', { chatId, type: 'renamed' }],
    ]) {
      assert.equal((await failure(ann.socket, event, payload)).code, 'not_joined', event);
    }
    await tell(ann.socket, 'leave_chat', { chatId });
  });

  it('in a payload is answered invalid_payload', async () => {
    const chat = someChat();
    const ann = await person('ann', chat);
    const long = 'x'.repeat(129);
    for (const [event, payload] of [
      ['join_chat', {}],
      ['join_chat', 'chat'],
      ['join_chat', null],
      ['join_chat', { chatId: 7 }],
      ['join_chat', { chatId: '' }],
      ['join_chat', { chatId: long }],
      ['join_chat', { chatId: 'a/b' }],
      ['join_chat', { chatId: '..' }],
      ['join_chat', { chatId: 'line\nbreak' }],
      ['send_message', { chatId: chat }],
      ['send_message', { chatId: chat, message: 'x', clientMessageId: '' }],
      ['send_message', { chatId: chat, message: 'x', clientMessageId: long }],
      ['receipt', { chatId: chat, messageIds: ['m1'], kind: 'seen' }],
      ['receipt', { chatId: chat, messageIds: 'm1', kind: 'read' }],
      ['group_event', { chatId: chat }],
      ['watch_presence', { userIds: 'ann' }],
      ['app_state', { state: 'asleep' }],
      ['refresh_token', {}],
    ]) {
      assert.equal((await failure(ann.socket, event, payload)).code, 'invalid_payload', `${event} ${JSON.stringify(payload)}`);
    }
    await say(ann.socket, chat, 'and the connection lives on');
  });

  it('of size is answered too_large', async () => {
    const chat = someChat();
    const [ann, ben] = [await person('ann', chat), await person('ben', chat)];
    const fits = 'x'.repeat(16 * 1024 - 200);
    await say(ann.socket, chat, fits);
    const error = await failure(ann.socket, 'send_message', { chatId: chat, message: 'x'.repeat(16 * 1024 + 500) });
    assert.deepEqual([error.code, error.retryable], ['too_large', false]);
    await say(ann.socket, chat, 'the end');
    await hear(ben.socket, 'new_message', ({ message }) => message === 'the end');
    assert.deepEqual(texts(ben.socket), [fits, 'the end']);
  });

  it('in the name of an event is answered unknown_event', async () => {
    const ann = await person('ann');
    assert.equal((await failure(ann.socket, 'make_coffee', { strong: true })).code, 'unknown_event');
  });

  it('without an ack comes back as event_error', async () => {
    const ann = await person('ann');
    ann.socket.emit('send_message', { chatId: someChat(), message: 'x' });
    const { event, error } = await hear(ann.socket, 'event_error');
    assert.deepEqual([event, error.code], ['send_message', 'not_joined']);
  });

  it('of pace is answered rate_limited and says when to try again', async () => {
    const slow = await openWorld({ LIMIT_EVENTS_PER_SECOND: '5' });
    const chat = someChat();
    const socket = await connect(slow.url, await signIn(somebody('hasty')));
    await join(socket, chat);
    const acks = await Promise.all(
      Array.from({ length: 60 }, (_, n) => ask(socket, 'send_message', { chatId: chat, message: n })),
    );
    const refused = acks.filter(({ ok }) => !ok).map(({ error }) => error);
    assert.ok(acks[0].ok, 'a burst begins well');
    assert.ok(refused.length > 0, 'sixty at once are too many');
    for (const { code, retryable, retryAfterMs } of refused) {
      assert.deepEqual([code, retryable], ['rate_limited', true]);
      assert.ok(Number.isInteger(retryAfterMs) && retryAfterMs > 0, String(retryAfterMs));
    }
    socket.close();
    await slow.close();
  });
});

describe('what others may know', () => {
  it('never includes a socket id', async () => {
    const chat = someChat();
    const [ann, ben] = [await person('ann', chat), await person('ben', chat)];
    await tell(ben.socket, 'watch_presence', { userIds: [ann.uid] });
    const acks = [await say(ann.socket, chat, 'hello'), await join(ben.socket, chat)];
    await tell(ann.socket, 'typing', { chatId: chat });
    await tell(ann.socket, 'receipt', { chatId: chat, messageIds: ['m'], kind: 'read' });
    await tell(ann.socket, 'group_event', { chatId: chat, type: 'x' });
    await hear(ben.socket, 'group_event');
    const record = await until(() => world.database.presenceOf(ann.uid), 'the record');
    const seen = JSON.stringify([ben.socket.story, acks, record]);
    for (const secret of [ann.socket.id, ann.socket.io.engine.id]) {
      assert.ok(secret && !seen.includes(secret), 'a socket id was told');
    }
  });
});
