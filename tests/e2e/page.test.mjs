// The demo page in a real browser: two people, two tabs, one conversation.
// `presence-bridge dev` is started as a newcomer starts it, with none of Firebase's variables set.

import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { after, describe, it } from 'node:test';
import { openDev } from './harness/bridge.mjs';
import { openBrowser, openTab, part, photograph } from './harness/browser.mjs';
import { openDatabase } from './harness/database.mjs';
import { emulatorHost, PROJECT } from './harness/accounts.mjs';
import { until } from './harness/until.mjs';

const browser = await openBrowser();
after(() => browser.close());

async function enter(dev, name, chat) {
  const tab = await openTab(browser, dev.url);
  await part(tab, 'name').fill(name);
  await part(tab, 'chat').fill(chat);
  await part(tab, 'join').click();
  // What is said before somebody has joined is not for them.
  await shows(tab, 'state', 'connected');
  return tab;
}

async function say(tab, message) {
  await part(tab, 'message').fill(message);
  await part(tab, 'send').click();
}

const shows = (tab, name, text) =>
  until(
    async () => (await part(tab, name).innerText()).toLowerCase().includes(text.toLowerCase()),
    `${name} shows ${text}`,
  );
const hides = (tab, name, text) =>
  until(
    async () => !(await part(tab, name).innerText()).toLowerCase().includes(text.toLowerCase()),
    `${name} no longer shows ${text}`,
  );

describe('the demo page', () => {
  it('lets two tabs talk, see each other type, come and go', async () => {
    const dev = await openDev({ PRESENCE_GRACE: '2s' });
    const ann = await enter(dev, 'ann', 'lobby');
    const ben = await enter(dev, 'ben', 'lobby');
    await shows(ann, 'people', 'ben');
    await shows(ben, 'people', 'ann');

    await say(ann, 'Hello Ben, can you hear me?');
    await shows(ben, 'messages', 'Hello Ben, can you hear me?');
    await shows(ann, 'messages', 'Hello Ben, can you hear me?');
    await say(ben, 'Loud and clear, Ann!');
    await shows(ann, 'messages', 'Loud and clear, Ann!');

    await part(ann, 'message').pressSequentially('and you are');
    await shows(ben, 'typing', 'ann');
    await photograph(browser, [ann, ben], 'two-tabs');
    await part(ann, 'message').press('Enter');
    await shows(ben, 'messages', 'and you are');
    await hides(ben, 'typing', 'ann');
    await say(ann, '<img src=x onerror=alert(1)> &amp;');
    await shows(ben, 'messages', '<img src=x onerror=alert(1)> &amp;');

    const before = await part(ann, 'people').innerText();
    await ben.context().close();
    await until(async () => (await part(ann, 'people').innerText()) !== before, 'the list of people changes');
    const after = await part(ann, 'people').innerText();
    assert.ok(!/ben[^\n]*\n?[^\n]*\bonline\b/i.test(after), `ben still looks online: ${after}`);
    await photograph(browser, [ann], 'one-left');

    assert.deepEqual([ann.problems, ben.problems], [[], []]);
    assert.deepEqual([ann.foreign, ben.foreign], [[], []], 'everything is served locally');
    await ann.context().close();
    await dev.close();
  });

  it('tells the database about the people in it', async () => {
    const dev = await openDev({ PRESENCE_GRACE: '2s' });
    const database = openDatabase(dev.databaseHost, 'demo-presence-bridge-default-rtdb');
    const records = async () => Object.values((await database.ask('GET', '/presence')).body ?? {});
    const tab = await enter(dev, 'ann', 'lobby');
    await until(async () => (await records()).some(({ online }) => online), 'somebody is online');
    await tab.context().close();
    await until(async () => (await records()).every(({ online }) => !online), 'nobody is online');
    assert.equal((await records()).length, 1);
    await dev.close();
  });

  it('says what is wrong when the bridge goes away', async () => {
    const dev = await openDev();
    const tab = await enter(dev, 'ann', 'lobby');
    const state = await part(tab, 'state').innerText();
    await dev.close();
    await until(async () => (await part(tab, 'state').innerText()) !== state, 'the state changes');
    await tab.context().close();
  });

  it('works with accounts of the real Auth emulator', async () => {
    const dev = await openDev({ FIREBASE_PROJECT_ID: PROJECT, FIREBASE_AUTH_EMULATOR_HOST: emulatorHost() });
    const ann = await enter(dev, 'ann', 'lobby');
    const ben = await enter(dev, 'ben', 'lobby');
    await say(ann, 'by the real emulator');
    await shows(ben, 'messages', 'by the real emulator');
    await ann.context().close();
    await ben.context().close();
    await dev.close();
  });
});

describe('presence-bridge dev', () => {
  it('prints its addresses and three curl lines that work as they stand', async () => {
    const dev = await openDev();
    assert.ok(dev.process.log.includes(dev.url), dev.process.log);
    assert.ok(dev.process.log.includes(dev.databaseHost), dev.process.log);
    const curls = dev.process.log.split('\n').map((line) => line.trim()).filter((line) => line.startsWith('curl '));
    assert.equal(curls.length, 3, dev.process.log);
    for (const line of curls) {
      const answer = execFileSync('bash', ['-c', line.replace(/^curl /, 'curl --silent --show-error --fail --max-time 10 ')]);
      assert.ok(answer.length > 0, line);
    }
    await dev.close();
  });
});
