// The Realtime Database as any other program sees it: over its REST interface. It may be the stand-in or the real emulator.

import { readFileSync } from 'node:fs';
import { within } from './until.mjs';

const RULES = new URL('../../../firebase/database.rules.json', import.meta.url);

/** One namespace, which is one database. `host` is `host:port`. */
export function openDatabase(host, namespace) {
  const address = (path, query = {}) =>
    `http://${host}${path}.json?${new URLSearchParams({ ns: namespace, ...query })}`;

  /** Asks as the owner, or with `idToken` as the signed-in user whom the rules then judge, or with null as nobody. */
  async function ask(method, path, { idToken, body } = {}) {
    const owner = idToken === undefined;
    const answer = await fetch(address(path, idToken ? { auth: idToken } : {}), {
      method,
      headers: owner ? { authorization: 'Bearer owner' } : {},
      body: body === undefined ? undefined : JSON.stringify(body),
    });
    return { status: answer.status, body: await answer.json() };
  }

  return {
    host,
    namespace,
    ask,
    url: `http://${host}/?ns=${namespace}`,
    presenceOf: async (uid) => (await ask('GET', `/presence/${uid}`)).body,
    installRules: async () => {
      const answer = await fetch(address('/.settings/rules'), {
        method: 'PUT',
        headers: { authorization: 'Bearer owner' },
        body: readFileSync(RULES, 'utf8'),
      });
      if (answer.status !== 200) throw new Error(`the rules were refused: ${answer.status} ${await answer.text()}`);
    },
    follow: (path) => follow(address(path)),
  };
}

/**
 * Listens to `text/event-stream`, the database's own record of what is written. Answers once the first state has arrived;
 * from then on `writes` grows by one `{ path, data }` for each record that is written, whether alone or in a batch.
 */
async function follow(url) {
  const cancel = new AbortController();
  const answer = await fetch(url, {
    headers: { accept: 'text/event-stream', authorization: 'Bearer owner' },
    signal: cancel.signal,
  });
  if (answer.status !== 200) throw new Error(`the event stream was refused: ${answer.status}`);

  const stream = { writes: [], problem: null, close: () => cancel.abort() };
  let opened;
  const begun = new Promise((resolve) => (opened = resolve));
  const hear = (event, data) => {
    if (event !== 'put' && event !== 'patch') return;
    const { path, data: value } = JSON.parse(data);
    if (opened) {
      opened();
      opened = null;
    } else if (event === 'patch') {
      for (const [key, record] of Object.entries(value)) stream.writes.push({ path: join(path, key), data: record });
    } else {
      stream.writes.push({ path, data: value });
    }
  };
  readEvents(answer.body, hear).catch((error) => {
    if (!cancel.signal.aborted) stream.problem = error;
  });
  await within(begun, 'the event stream opens with the present state');
  return stream;
}

const join = (path, key) => (path === '/' ? `/${key}` : `${path}/${key}`);

async function readEvents(body, hear) {
  let pending = '';
  for await (const text of body.pipeThrough(new TextDecoderStream())) {
    pending += text;
    const blocks = pending.split('\n\n');
    pending = blocks.pop();
    for (const block of blocks) {
      const field = (name) =>
        block.split('\n').find((line) => line.startsWith(`${name}: `))?.slice(name.length + 2);
      hear(field('event'), field('data'));
    }
  }
}
