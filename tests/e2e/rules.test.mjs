// The security rules we ship, judged offline by targaryen. The service account bypasses rules, so what they say
// is what phones and browsers may do.

import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { describe, it } from 'node:test';
import targaryen from 'targaryen';

/** Firebase allows comments in its JSON. */
const withoutComments = (text) => text.replace(/("(?:\\.|[^"\\])*")|\/\/[^\n]*/g, '$1');
const shipped = (name) =>
  JSON.parse(withoutComments(readFileSync(new URL(`../../firebase/${name}`, import.meta.url), 'utf8')));
const RULES = shipped('database.rules.json');

const NOW = 1_760_000_000_000;
const DATA = {
  presence: {
    ann: { online: true, lastSeen: NOW, node: 'main' },
    ben: { online: false, lastSeen: NOW, node: 'main' },
  },
  presenceNodes: { main: { boot1: { heartbeat: NOW, intervalMs: 10_000 } } },
  presenceFence: { epoch: 7, owner: 'boot1', nonce: '1' },
  secrets: { ann: 'hers' },
};
const RECORD = { online: true, lastSeen: NOW, node: 'main' };
const ann = { uid: 'ann', email_verified: true };
const guest = { uid: 'guest', provider: 'anonymous' };

const database = targaryen.database(RULES, DATA, NOW);
const reads = (who, path) => database.as(who).read(path).allowed;
const writes = (who, path, value) => database.as(who).write(path, value).allowed;
const updates = (who, path, patch) => database.as(who).update(path, patch).allowed;

describe('the shipped security rules', () => {
  it('show one record of presence to everybody who is signed in', () => {
    assert.equal(reads(ann, '/presence/ann'), true);
    assert.equal(reads(ann, '/presence/ben'), true);
    assert.equal(reads(guest, '/presence/ben/online'), true);
    assert.equal(reads(ann, '/presence/nobody-yet'), true);
  });

  it('show nothing to anybody who is not signed in', () => {
    for (const path of ['/', '/presence', '/presence/ann', '/presence/ann/online', '/presenceNodes', '/presenceNodes/main', '/secrets']) {
      assert.equal(reads(null, path), false, path);
    }
  });

  it('let nobody list who is online', () => {
    for (const who of [null, ann, guest]) {
      assert.equal(reads(who, '/presence'), false);
      assert.equal(reads(who, '/'), false);
    }
  });

  it('let nobody write presence, not even their own', () => {
    for (const who of [null, ann, guest]) {
      assert.equal(writes(who, '/presence/ann', RECORD), false);
      assert.equal(writes(who, '/presence/ann', null), false);
      assert.equal(writes(who, '/presence/ann/online', false), false);
      assert.equal(writes(who, '/presence/new', RECORD), false);
      assert.equal(writes(who, '/presence', { ann: RECORD }), false);
      assert.equal(updates(who, '/presence', { ann: RECORD }), false);
      assert.equal(updates(who, '/', { 'presence/ann/online': true }), false);
    }
  });

  it('let the bridge write presence while it holds the fence, and only presence', () => {
    const holder = { uid: 'presence-bridge', epoch: 7 };
    assert.equal(updates(holder, '/presence', { ann: RECORD, new: RECORD }), true);
    assert.equal(updates(holder, '/', { 'presence/ann': RECORD, 'secrets/ann': 'ours' }), false);
    assert.equal(writes(holder, '/presence', { ann: RECORD }), false);
    assert.equal(writes(holder, '/presenceNodes/main/boot1', null), false);
    for (const epoch of [6, 8, '7', null, undefined]) {
      assert.equal(updates({ uid: 'presence-bridge', epoch }, '/presence', { ann: RECORD }), false, `${epoch}`);
    }
    assert.equal(updates({ uid: 'ann', epoch: 7 }, '/presence', { ann: RECORD }), false);
    const claimed = { uid: 'presence-bridge', token: { epoch: 7 } };
    assert.equal(updates(claimed, '/presence', { ann: RECORD }), false, 'a claim in a token is no epoch');
  });

  it('let nobody in where there is no fence', () => {
    const open = targaryen.database(RULES, { ...DATA, presenceFence: null }, NOW);
    for (const epoch of [null, undefined, 0, 7]) {
      const who = { uid: 'presence-bridge', epoch };
      assert.equal(open.as(who).update('/presence', { ann: RECORD }).allowed, false, `${epoch}`);
    }
  });

  it('hide the fence and keep it from everybody', () => {
    for (const who of [null, ann, guest, { uid: 'presence-bridge', epoch: 7 }]) {
      assert.equal(reads(who, '/presenceFence'), false);
      assert.equal(reads(who, '/presenceFence/epoch'), false);
      assert.equal(writes(who, '/presenceFence', { epoch: 8, owner: 'x', nonce: '1' }), false);
      assert.equal(writes(who, '/presenceFence/epoch', 6), false);
      assert.equal(writes(who, '/presenceFence', null), false);
    }
  });

  it('show the heartbeats of the nodes to everybody who is signed in', () => {
    assert.equal(reads(ann, '/presenceNodes/main'), true);
    assert.equal(reads(ann, '/presenceNodes/main/boot1/heartbeat'), true);
  });

  it('let nobody write a heartbeat', () => {
    for (const who of [null, ann, guest]) {
      assert.equal(writes(who, '/presenceNodes/main/boot1', { heartbeat: NOW, intervalMs: 10_000 }), false);
      assert.equal(writes(who, '/presenceNodes/main/boot1', null), false);
      assert.equal(writes(who, '/presenceNodes', {}), false);
    }
  });

  it('open nothing beside presence', () => {
    assert.equal(reads(ann, '/secrets/ann'), false);
    assert.equal(writes(ann, '/secrets/ann', 'mine'), false);
    assert.equal(writes(ann, '/', {}), false);
  });

  it('index what the bridge asks for at its start', () => {
    const indexes = [RULES.rules.presence['.indexOn']].flat();
    assert.ok(indexes.includes('online'), 'layout bridge queries by online');
  });
});

describe('firebase.json', () => {
  const project = shipped('firebase.json');

  it('deploys these rules', () => {
    assert.equal(project.database.rules, 'database.rules.json');
  });

  it('gives each emulator a port on loopback', () => {
    for (const emulator of ['auth', 'database']) {
      assert.ok(Number.isInteger(project.emulators[emulator].port), emulator);
      assert.ok(['127.0.0.1', 'localhost', undefined].includes(project.emulators[emulator].host), emulator);
    }
  });
});
