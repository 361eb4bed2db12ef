// The official SDK as a model of the data: offline it answers from its own tree of pending writes.

/** The time that every `{".sv":"timestamp"}` becomes. */
export const NOW = 1_700_000_000_000;

// The SDK takes server time from the local clock; it is stopped before the SDK is loaded.
const RealDate = Date;
globalThis.Date = class extends RealDate {
  constructor(...given) {
    super(...(given.length > 0 ? given : [NOW]));
  }

  static now() {
    return NOW;
  }
};

const { initializeApp, deleteApp } = await import('@firebase/app');
const { child, getDatabase, goOffline, onValue, ref, set, update } = await import('@firebase/database');

let apps = 0;

/** What the SDK makes of these operations: one answer for each, as the stand-in gives them. */
export function official(operations) {
  apps += 1;
  // Nobody listens at this address, and nobody is asked.
  const app = initializeApp({ databaseURL: 'http://127.0.0.1:9/?ns=oracle', projectId: 'oracle' }, `oracle-${apps}`);
  const database = getDatabase(app);
  goOffline(database);
  const root = ref(database);
  let value;
  onValue(root, (snapshot) => (value = snapshot.val()));
  const at = (path) => (path === '' ? root : child(root, path));
  // A write never completes offline; when its time comes to be given up, nobody waits.
  const send = (promise) => promise.catch(() => {});
  const answers = operations.map(({ op, path, value: body }) => {
    // Offline, an increment does not see what a multi-path update has put below its paths. Everything set once
    // more as it is, it does.
    if (JSON.stringify(body ?? null).includes('"increment"')) send(set(root, value));
    try {
      if (op === 'reset') send(set(root, null));
      else if (op === 'set') send(set(at(path), body));
      else send(update(at(path), body));
    } catch {
      return { refused: true };
    }
    // As it would be sent: -0 is 0, and gaps of arrays are null.
    return { value: JSON.parse(JSON.stringify(value)) };
  });
  send(deleteApp(app));
  return answers;
}
