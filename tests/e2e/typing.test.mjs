// Typing is a lease of a connection: every way in which it ends.

import assert from 'node:assert/strict';
import { after, describe, it } from 'node:test';
import { signIn, somebody } from './harness/accounts.mjs';
import { openWorld } from './harness/bridge.mjs';
import { connect, hangUp, hangUpAll, hear, heard, join, say, someChat, tell } from './harness/phones.mjs';
import { until } from './harness/until.mjs';

/** Longer than any test here, so that only the order we give can have ended a lease. */
const lasting = await openWorld({ TYPING_TTL: '60s' });
const SHORT_MS = 2_000;
const brief = await openWorld({ TYPING_TTL: `${SHORT_MS}ms` });
after(async () => {
  hangUpAll();
  await lasting.close();
  await brief.close();
});

/** ann with phone and tablet, ben with a phone, all in one chat. */
async function trio(world) {
  const chat = someChat();
  const [annId, benId] = [somebody('ann'), somebody('ben')];
  const [annToken, benToken] = [await signIn(annId), await signIn(benId)];
  const [phone, tablet, ben] = [
    await connect(world.url, annToken),
    await connect(world.url, annToken),
    await connect(world.url, benToken),
  ];
  for (const socket of [phone, tablet, ben]) await join(socket, chat);
  return { chat, annId, phone, tablet, ben };
}

/** The names of the chat events a socket heard, in order. */
const plot = (socket) =>
  socket.story.map(({ event }) => event).filter((event) => ['typing', 'stop_typing', 'new_message'].includes(event));

describe('typing', () => {
  it('is told to the other users and to nobody else', async () => {
    const { chat, annId, phone, tablet, ben } = await trio(lasting);
    await tell(phone, 'typing', { chatId: chat });
    assert.deepEqual(await hear(ben, 'typing'), { chatId: chat, userId: annId });
    await say(ben, chat, 'the end');
    await Promise.all([hear(tablet, 'new_message'), hear(phone, 'new_message')]);
    assert.deepEqual([plot(phone), plot(tablet)], [['new_message'], ['new_message']]);
  });

  it('is told once, however often it is repeated', async () => {
    const { chat, phone, ben } = await trio(lasting);
    for (let times = 0; times < 5; times += 1) await tell(phone, 'typing', { chatId: chat });
    await tell(phone, 'stop_typing', { chatId: chat });
    await hear(ben, 'stop_typing');
    assert.deepEqual(plot(ben), ['typing', 'stop_typing']);
  });

  it('ends by stop_typing, which is told once', async () => {
    const { chat, annId, phone, ben } = await trio(lasting);
    await tell(phone, 'typing', { chatId: chat });
    await tell(phone, 'stop_typing', { chatId: chat });
    await tell(phone, 'stop_typing', { chatId: chat });
    await say(phone, chat, 'the end');
    await hear(ben, 'new_message');
    assert.deepEqual(plot(ben), ['typing', 'stop_typing', 'new_message']);
    assert.deepEqual(heard(ben, 'stop_typing')[0], { chatId: chat, userId: annId });
  });

  it('ends by the message, and says so before it', async () => {
    const { chat, phone, ben } = await trio(lasting);
    await tell(phone, 'typing', { chatId: chat });
    await say(phone, chat, 'written');
    await hear(ben, 'new_message');
    assert.deepEqual(plot(ben), ['typing', 'stop_typing', 'new_message']);
  });

  it('ends when the writer leaves the chat', async () => {
    const { chat, phone, ben } = await trio(lasting);
    await tell(phone, 'typing', { chatId: chat });
    await tell(phone, 'leave_chat', { chatId: chat });
    await hear(ben, 'stop_typing');
  });

  it('ends when the connection of the writer ends', async () => {
    const { chat, phone, ben } = await trio(lasting);
    await tell(phone, 'typing', { chatId: chat });
    await hear(ben, 'typing');
    hangUp(phone);
    await hear(ben, 'stop_typing');
  });

  it('goes on while a second device of the writer is typing', async () => {
    const { chat, phone, tablet, ben } = await trio(lasting);
    await tell(phone, 'typing', { chatId: chat });
    await tell(tablet, 'typing', { chatId: chat });
    await tell(phone, 'stop_typing', { chatId: chat });
    await tell(tablet, 'receipt', { chatId: chat, messageIds: ['m'], kind: 'read' });
    await hear(ben, 'receipt');
    assert.deepEqual(plot(ben), ['typing']);
    await tell(tablet, 'stop_typing', { chatId: chat });
    await hear(ben, 'stop_typing');
    assert.deepEqual(plot(ben), ['typing', 'stop_typing']);
  });

  it('ends by itself when the lease is over', async () => {
    const { chat, annId, phone, ben } = await trio(brief);
    const begun = performance.now();
    await tell(phone, 'typing', { chatId: chat });
    await hear(ben, 'typing');
    assert.deepEqual(await hear(ben, 'stop_typing'), { chatId: chat, userId: annId });
    assert.ok(performance.now() - begun >= SHORT_MS, 'not before the lease is over');
  });

  it('is kept alive by repeating it', async () => {
    const { chat, phone, ben } = await trio(brief);
    const end = performance.now() + 1.5 * SHORT_MS;
    await until(async () => {
      await tell(phone, 'typing', { chatId: chat });
      return performance.now() > end;
    }, 'one and a half leases');
    await say(phone, chat, 'the end');
    await hear(ben, 'new_message');
    assert.deepEqual(plot(ben), ['typing', 'stop_typing', 'new_message']);
  });
});
