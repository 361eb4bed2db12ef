// The demo page: a small chat that speaks the bridge's protocol and nothing else.
// Whatever comes from others is shown as text, never as HTML.
'use strict';

/** Repeats of `typing` inside the lease are pointless; it is renewed well before it ends after 6 s. */
const TYPING_RENEWAL_MS = 3000;
const TYPING_IDLE_MS = 4000;
const ACK_TIMEOUT_MS = 8000;
const ALERT_MS = 6000;
const RECONNECT_MS = { first: 500, most: 10_000 };
/** What the bridge accepts in one receipt, and a page of memory. */
const RECEIPT_IDS = 100;
const SHOWN_MESSAGES = 500;

const element = (id) => document.getElementById(id);
const time = (ms) => new Date(ms).toLocaleTimeString([], { hour: '2-digit', minute: '2-digit' });
const clientMessageId = () => [...crypto.getRandomValues(new Uint8Array(16))].map((b) => b.toString(16).padStart(2, '0')).join('');
const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

function make(tag, className, text = '') {
  const made = document.createElement(tag);
  made.className = className;
  made.textContent = text;
  return made;
}

// --- what the page knows ---

const me = { userId: '', chatId: '', refreshToken: '' };
let config;
let socket;
let joined = false;
let attempts = 0;
let closing = null;
/** userId -> { online, lastSeen } */
const people = new Map();
const typing = new Set();
/** clientMessageId -> its line: what was not answered yet, in order; and what waits for receipts. */
const unsent = new Map();
const sent = new Map();
/** Messages that were delivered here but not looked at yet. */
const unread = [];

// --- sign-in ---

async function post(path, headers, body) {
  const response = await fetch(`${config.authUrl}/${path}?key=demo`, { method: 'POST', headers, body });
  const answer = await response.json();
  if (!response.ok) throw new Error(answer.error?.message ?? `sign-in answered ${response.status}`);
  return answer;
}

async function signIn() {
  const body = JSON.stringify({ token: JSON.stringify({ uid: me.userId }), returnSecureToken: true });
  const path = 'identitytoolkit.googleapis.com/v1/accounts:signInWithCustomToken';
  const answer = await post(path, { 'content-type': 'application/json' }, body);
  me.refreshToken = answer.refreshToken;
  return answer.idToken;
}

async function freshToken() {
  const grant = new URLSearchParams({ grant_type: 'refresh_token', refresh_token: me.refreshToken });
  return (await post('securetoken.googleapis.com/v1/token', {}, grant)).id_token;
}

// --- the connection ---

/** Sends an event and waits for its answer; a failure is an error with the bridge's words. */
async function ask(event, payload) {
  const answer = await socket.timeout(ACK_TIMEOUT_MS).emitWithAck(event, payload);
  if (answer.ok) return answer;
  const { code, message, retryable, retryAfterMs } = answer.error;
  throw Object.assign(new Error(`${event}: ${message}`), { code, retryable, retryAfterMs });
}

/** Shows what the bridge has refused; an answer that never came is the connection's matter. */
function complain(error) {
  if (error.code) alertOnce(error.message);
}

function connect() {
  socket = io({
    // Asked again at every connect, so an old token is never shown twice.
    auth: (give) => signIn().then((token) => give({ token }), (error) => {
      alertOnce(`Sign-in failed: ${error.message}`);
      give({ token: '' });
    }),
    reconnectionDelay: RECONNECT_MS.first,
    reconnectionDelayMax: RECONNECT_MS.most,
  });
  socket.on('connect', join);
  socket.on('connect_error', refused);
  socket.on('disconnect', disconnected);
  socket.on('ready', () => { attempts = 0; });
  socket.on('presence', showPresence);
  socket.on('new_message', received);
  socket.on('typing', ({ userId }) => showTyping(userId, true));
  socket.on('stop_typing', ({ userId }) => showTyping(userId, false));
  socket.on('receipt', ({ messageIds, kind }) => messageIds.forEach((id) => mark(sent.get(id), kind)));
  socket.on('group_event', ({ userId, type }) => note(`${userId}: ${type}`));
  socket.on('token_expiring', refreshToken);
  socket.on('removed_from_chat', removed);
  socket.on('closing', (notice) => { closing = notice; });
  socket.on('event_error', ({ event, error }) => alertOnce(`${event}: ${error.message}`));
}

async function join() {
  closing = null;
  state('connecting', 'Joining');
  try {
    const { presence } = await ask('join_chat', { chatId: me.chatId });
    joined = true;
    state('online', 'Connected');
    const here = new Set(presence.map(({ userId }) => userId));
    const away = [...people.keys()].filter((userId) => !here.has(userId) && userId !== me.userId);
    presence.forEach(showPresence);
    showPresence({ userId: me.userId, online: true });
    for (const id of unsent.keys()) await deliver(id);
    await tellAppState();
    if (away.length > 0) await lookUp(away);
  } catch (error) {
    complain(error);
    if (error.code && !error.retryable && !joined) state('closed', 'Not joined');
    else if (socket.connected && !joined) retry(error.retryAfterMs);
  }
}

/** What became of people who were here before the connection was lost. */
async function lookUp(userIds) {
  const { presence } = await ask('watch_presence', { userIds: userIds.slice(0, 100) });
  presence.filter(({ error }) => !error).forEach(showPresence);
  await ask('unwatch_presence', { userIds: userIds.slice(0, 100) });
}

function refused(error) {
  state('connecting', 'Reconnecting');
  // With a code the bridge itself said no, and the client does not come back by itself.
  if (!socket.active) {
    alertOnce(`The bridge refused the connection: ${error.message}`);
    retry();
  }
}

function disconnected(reason) {
  joined = false;
  typing.clear();
  drawTyping();
  stopTyping.told = false;
  if (closing && !closing.reconnect) {
    socket.disconnect();
    return void state('closed', `Closed: ${closing.code}`);
  }
  state('connecting', 'Reconnecting');
  if (reason === 'io server disconnect') retry(closing?.retryAfterMs);
}

/** Comes back later: at the time the bridge asked for, or after a pause that doubles; a bit apart from others. */
function retry(afterMs) {
  const doubled = Math.min(RECONNECT_MS.first * 2 ** attempts, RECONNECT_MS.most);
  attempts += 1;
  const again = () => (socket.connected ? join() : socket.connect());
  setTimeout(again, (afterMs ?? doubled) * (1 + Math.random() / 4));
}

async function refreshToken() {
  try {
    await ask('refresh_token', { token: await freshToken() });
  } catch (error) {
    alertOnce(`The token could not be renewed: ${error.message}`);
  }
}

function removed({ chatId, reason }) {
  if (chatId !== me.chatId) return;
  joined = false;
  state('closed', 'Removed');
  alertOnce(`You were removed from this chat: ${reason}`);
}

async function tellAppState() {
  const looking = document.visibilityState === 'visible';
  if (joined) await ask('app_state', { state: looking ? 'foreground' : 'background' });
  if (looking && unread.length > 0) {
    const messageIds = unread.splice(0, RECEIPT_IDS);
    await ask('receipt', { chatId: me.chatId, messageIds, kind: 'read' });
  }
}

// --- people ---

function showPresence({ userId, online, lastSeen }) {
  const known = people.get(userId);
  people.set(userId, { online, lastSeen: lastSeen ?? known?.lastSeen });
  if (!online) showTyping(userId, false);
  if (known && known.online !== online && userId !== me.userId) note(`${userId} ${online ? 'is back' : 'has left'}`);
  else if (!known && userId !== me.userId) note(`${userId} is here`);
  drawPeople();
}

function drawPeople() {
  const rank = ([userId, { online }]) => (userId === me.userId ? 0 : online ? 1 : 2);
  const sorted = [...people].sort((a, b) => rank(a) - rank(b) || a[0].localeCompare(b[0]));
  element('people').replaceChildren(...sorted.map(([userId, presence]) => {
    const person = make('li', 'person');
    person.dataset.user = userId;
    person.dataset.online = String(presence.online);
    const dot = make('span', presence.online ? 'dot online' : 'dot');
    dot.setAttribute('aria-hidden', 'true');
    const lines = make('div', '');
    const seen = presence.lastSeen ? `last seen ${time(presence.lastSeen)}` : 'away';
    lines.append(
      make('div', 'name', userId === me.userId ? `${userId} (you)` : userId),
      make('div', 'seen', presence.online ? 'online' : seen),
    );
    person.append(dot, lines);
    return person;
  }));
}

// --- typing ---

function showTyping(userId, on) {
  if (on) typing.add(userId);
  else typing.delete(userId);
  drawTyping();
}

function drawTyping() {
  const names = [...typing].sort();
  const list = names.length > 2 ? 'Several people' : names.join(' and ');
  element('typing').textContent = names.length === 0 ? '' : `${list} ${names.length > 1 ? 'are' : 'is'} typing`;
}

function typed() {
  if (!joined) return;
  if (element('message').value === '') return void stopTyping();
  clearTimeout(stopTyping.timer);
  stopTyping.timer = setTimeout(stopTyping, TYPING_IDLE_MS);
  if (stopTyping.told && performance.now() - stopTyping.toldAt < TYPING_RENEWAL_MS) return;
  Object.assign(stopTyping, { told: true, toldAt: performance.now() });
  ask('typing', { chatId: me.chatId }).catch(complain);
}

function stopTyping() {
  clearTimeout(stopTyping.timer);
  if (!stopTyping.told) return;
  stopTyping.told = false;
  if (joined) ask('stop_typing', { chatId: me.chatId }).catch(complain);
}

// --- messages ---

function send(text) {
  const id = clientMessageId();
  const line = showMessage(me.userId, text, 'sending');
  line.dataset.text = text;
  unsent.set(id, line);
  // The message ends the typing lease by itself.
  clearTimeout(stopTyping.timer);
  stopTyping.told = false;
  if (joined) deliver(id);
}

/** Sends one message until it is answered. The id makes a repeat harmless. */
async function deliver(id) {
  const line = unsent.get(id);
  while (line && joined && unsent.has(id)) {
    try {
      const { deliveredAt } = await ask('send_message', { chatId: me.chatId, message: line.dataset.text, clientMessageId: id });
      unsent.delete(id);
      sent.set(id, line);
      line.dataset.at = String(deliveredAt);
      mark(line, 'sent');
    } catch (error) {
      // Without a code there was no answer; after a disconnect the next join repeats it.
      if (error.code && !error.retryable) {
        unsent.delete(id);
        mark(line, 'failed', error.message);
      } else {
        await pause(error.retryAfterMs ?? 1000);
      }
    }
  }
}

function received({ chatId, message, senderId, deliveredAt, clientMessageId: id }) {
  if (chatId !== me.chatId) return;
  if (!people.has(senderId)) showPresence({ userId: senderId, online: true });
  const line = showMessage(senderId, typeof message === 'string' ? message : JSON.stringify(message), 'sent');
  line.dataset.at = String(deliveredAt);
  mark(line, 'sent');
  if (!id || senderId === me.userId) return;
  const kind = document.visibilityState === 'visible' ? 'read' : 'delivered';
  if (kind === 'delivered') unread.push(id);
  ask('receipt', { chatId, messageIds: [id], kind }).catch(complain);
}

function showMessage(userId, text, fate) {
  const mine = userId === me.userId;
  const list = element('messages');
  const line = make('li', mine ? 'message mine' : 'message');
  if (list.lastElementChild?.dataset.sender !== userId) {
    line.classList.add('first');
    if (!mine) line.append(make('div', 'sender', userId));
  }
  line.dataset.sender = userId;
  line.append(make('div', 'text', text), make('div', 'fate'));
  append(line);
  mark(line, fate);
  return line;
}

/** Where a message is on its way; it never goes back. */
function mark(line, fate, reason = '') {
  const order = ['sending', 'failed', 'sent', 'delivered', 'read'];
  if (!line || order.indexOf(fate) < order.indexOf(line.dataset.fate)) return;
  line.dataset.fate = fate;
  line.classList.toggle('failed', fate === 'failed');
  const at = line.dataset.at ? time(Number(line.dataset.at)) : '';
  const mine = line.dataset.sender === me.userId;
  const texts = { sending: 'sending', failed: `not sent: ${reason}`, sent: at, delivered: `${at}, delivered`, read: `${at}, read` };
  line.querySelector('.fate').textContent = mine ? texts[fate] : at;
}

const note = (text) => append(make('li', 'note', text));

function append(line) {
  const scroll = element('scroll');
  const list = element('messages');
  const atEnd = scroll.scrollHeight - scroll.scrollTop - scroll.clientHeight < 80;
  list.append(line);
  while (list.childElementCount > SHOWN_MESSAGES) list.firstElementChild.remove();
  for (const id of [...sent.keys()].slice(0, -SHOWN_MESSAGES)) sent.delete(id);
  element('empty').hidden = true;
  if (atEnd || line.classList.contains('mine')) scroll.scrollTop = scroll.scrollHeight;
}

// --- the page ---

function state(kind, text) {
  element('state').dataset.state = kind;
  element('state').textContent = text;
}

/** Says what went wrong, once at a time. */
function alertOnce(text) {
  if ([...element('errors').children].some((line) => line.textContent === text)) return;
  const line = make('p', '', text);
  element('errors').append(line);
  setTimeout(() => line.remove(), ALERT_MS);
}

async function enter(name, chat) {
  me.userId = name;
  me.chatId = chat;
  try {
    config ??= await (await fetch('/config.json')).json();
  } catch {
    return void alertOnce('The bridge does not answer.');
  }
  element('entry').hidden = true;
  element('room').hidden = false;
  element('title').textContent = chat;
  element('self').textContent = `You are ${name}`;
  document.title = `${name} in ${chat}`;
  state('connecting', 'Connecting');
  element('message').focus();
  connect();
}

element('join-form').addEventListener('submit', (event) => {
  event.preventDefault();
  const [name, chat] = [element('name').value.trim(), element('chat').value.trim()];
  if (name && chat) enter(name, chat);
});
element('send-form').addEventListener('submit', (event) => {
  event.preventDefault();
  const text = element('message').value.trim();
  element('message').value = '';
  if (text) send(text);
  element('message').focus();
});
element('message').addEventListener('keydown', (event) => {
  if (event.key !== 'Enter' || event.shiftKey || event.isComposing) return;
  event.preventDefault();
  element('send-form').requestSubmit();
});
element('message').addEventListener('input', typed);
element('message').addEventListener('blur', stopTyping);
document.addEventListener('visibilitychange', () => tellAppState().catch(complain));

const wanted = new URLSearchParams(location.search);
for (const [key, value] of new URLSearchParams(location.hash.slice(1))) wanted.set(key, value);
element('name').value = wanted.get('name') ?? '';
element('chat').value = wanted.get('chat') ?? 'lobby';
if (wanted.get('name') && wanted.get('chat')) enter(wanted.get('name'), wanted.get('chat'));
else element('name').focus();
