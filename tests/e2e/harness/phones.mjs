// Phones: connections of the stock Socket.IO client, which remember everything they hear.

import assert from 'node:assert/strict';
import { io } from 'socket.io-client';
import { until, within } from './until.mjs';

/** Every socket of this test file, so that none keeps the process alive. */
const open = new Set();

/** A socket that records from before it connects. It never reconnects by itself: a test says when. */
export function phone(url, token, options = {}) {
  const { auth, ...rest } = options;
  const socket = io(url, {
    autoConnect: false,
    forceNew: true,
    reconnection: false,
    auth: auth ?? { token },
    ...rest,
  });
  socket.story = [];
  socket.onAny((event, payload) => socket.story.push({ event, payload }));
  socket.on('disconnect', (reason) => socket.story.push({ event: 'disconnect', payload: reason }));
  socket.on('connect_error', (error) => socket.story.push({ event: 'connect_error', payload: error.message }));
  open.add(socket);
  return socket;
}

/** Connects and waits for `ready`. */
export async function connect(url, token, options = {}) {
  const socket = phone(url, token, options);
  socket.connect();
  await until(
    () => {
      const refusal = heard(socket, 'connect_error')[0];
      if (refusal) throw new Error(`the connect was refused: ${refusal}`);
      return heard(socket, 'ready').length > 0;
    },
    () => `ready; heard ${JSON.stringify(socket.story)}`,
  );
  return socket;
}

/** Tries to connect and answers the code of the refusal. */
export async function refusal(url, options) {
  const socket = phone(url, undefined, options);
  socket.connect();
  await until(() => {
    assert.deepEqual(heard(socket, 'ready'), [], 'this connect had to be refused');
    return heard(socket, 'connect_error').length > 0;
  }, 'connect_error');
  socket.close();
  return heard(socket, 'connect_error')[0];
}

/** Sends an event and answers its ack, whatever it says. */
export function ask(socket, event, payload) {
  return within(socket.emitWithAck(event, payload), `the ack of ${event}`);
}

/** Sends an event and answers its ack, which must say `ok: true`. */
export async function tell(socket, event, payload) {
  const ack = await ask(socket, event, payload);
  assert.equal(ack?.ok, true, `${event} was refused: ${JSON.stringify(ack)}`);
  return ack;
}

/** Sends an event and answers the error of its ack, which must say `ok: false` in the agreed form. */
export async function failure(socket, event, payload) {
  const ack = await ask(socket, event, payload);
  assert.equal(ack?.ok, false, `${event} had to be refused: ${JSON.stringify(ack)}`);
  assert.equal(typeof ack.error.message, 'string');
  assert.equal(typeof ack.error.retryable, 'boolean');
  return ack.error;
}

export const join = (socket, chatId) => tell(socket, 'join_chat', { chatId });
export const say = (socket, chatId, message, more = {}) => tell(socket, 'send_message', { chatId, message, ...more });

/** All payloads of one event, in the order in which they were heard. */
export function heard(socket, event) {
  return socket.story.filter((entry) => entry.event === event).map((entry) => entry.payload);
}

/** Waits until the socket has heard `event` (of which `which` says yes) and answers its payload. */
export async function hear(socket, event, which = () => true, deadlineMs) {
  let found;
  await until(
    () => {
      found = heard(socket, event).filter(which);
      return found.length > 0;
    },
    () => `${event} ${which}; heard ${JSON.stringify(socket.story.slice(-20))}`,
    deadlineMs,
  );
  return found[0];
}

/** Closes a connection as an app does that is sent away, and answers the time just before. */
export function hangUp(socket) {
  const at = Date.now();
  socket.close();
  open.delete(socket);
  return at;
}

export function hangUpAll() {
  open.forEach((socket) => socket.close());
  open.clear();
}

let chats = 0;

/** A chat that no other test uses. */
export function someChat() {
  chats += 1;
  return `chat-${process.pid}-${chats}`;
}
