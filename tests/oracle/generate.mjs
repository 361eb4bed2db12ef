// Random operations that walk where trees are thin: few keys, so that paths meet; nulls, arrays, bad keys, overlaps.
//
// Left out, because the SDK and the REST interface are known to differ there, or because nobody knows:
// - `.priority` and `.value`: the SDK stores priorities, the stand-in refuses them;
// - whole paths above 768 bytes: a limit of the JavaScript SDK alone (each key's own limit is in);
// - `.sv` with a sibling, and `increment` with one: the SDK ignores the siblings, the stand-in refuses them;
// - an update key of slashes alone: the SDK takes it for the place itself, REST has no such key;
// - server values near the depth limit: the SDK counts `.sv` and `increment` as levels of the data;
// - an empty update of a place that is too deep: it changes nothing, and only the stand-in refuses the place;
// - `__proto__`: no plain JavaScript object can hold it as a key; lone surrogates: not JSON in UTF-8.

const KEYS = ['a', 'b', 'c', 'ab', '0', '1', '2', '3', '7', '00', '01', '-1', 'a b', '%2F', 'é', '\u{1f600}', 'A'];
const BAD_KEYS = ['', 'a.b', '$a', '#', '[', ']', 'x/y', '\u0000', '\u001f', '\u007f', 'k'.repeat(769)];
const BAD_SERVER_VALUES = ['time', '', 1, null, {}, { increment: 'x' }, { decrement: 1 }];

/** mulberry32: small, and the same everywhere. */
function random(seed) {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = Math.imul(state ^ (state >>> 15), state | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
}

export function* generate(seed, count) {
  const next = random(seed);
  const chance = (p) => next() < p;
  const below = (n) => Math.floor(next() * n);
  const pick = (list) => list[below(list.length)];
  let kinds;
  const seen = (kind) => kinds.add(kind);

  const key = () => {
    if (!chance(0.004)) return pick(KEYS);
    seen('with a bad key');
    return pick(BAD_KEYS);
  };

  const number = () => {
    const whole = below(2001) - 1000;
    return pick([whole, whole / 8, whole * 2 ** 40, -0, 1e300, 0.1, Number.MAX_SAFE_INTEGER]);
  };

  const serverValue = () => {
    if (chance(0.05)) {
      seen('with a bad server value');
      return { '.sv': pick(BAD_SERVER_VALUES) };
    }
    if (chance(0.4)) {
      seen('with a timestamp');
      return { '.sv': 'timestamp' };
    }
    seen('with an increment');
    return { '.sv': { increment: pick([1, -1, 0.5, 7, below(100)]) } };
  };

  const deep = () => {
    seen('around the depth limit');
    let value = pick([1, null, {}]);
    for (let levels = 29 + below(6); levels > 0; levels -= 1) value = { [pick(KEYS)]: value };
    return value;
  };

  const value = (depth = 0) => {
    const dice = next();
    if (dice < 0.12) {
      seen('with a null');
      return null;
    }
    if (dice < 0.2) return serverValue();
    if (dice < 0.202) return deep();
    if (dice < 0.55 || depth > 3) return pick([number(), number(), chance(0.5), '', 'text', 'é\u{1f600}"\\\n', pick(KEYS)]);
    if (dice < 0.68) {
      seen('with an array');
      return Array.from({ length: below(5) }, () => value(depth + 1));
    }
    return Object.fromEntries(Array.from({ length: below(4) }, () => [key(), value(depth + 1)]));
  };

  const path = (length) => Array.from({ length }, key).join('/');

  /** A key of an update: a path, now and then with slashes to spare. */
  const updateKey = () => {
    const plain = path(1 + below(3));
    if (!/[^/]/.test(plain)) return 'a';
    return pick([plain, plain, plain, `/${plain}`, `${plain}/`, plain.replace('/', '//')]);
  };

  const overlaps = (keys) => {
    const paths = keys.map((text) => `${text.split('/').filter(Boolean).join('/')}/`);
    return paths.some((a, i) => paths.some((b, j) => i !== j && b.startsWith(a)));
  };

  const patch = () => {
    if (chance(0.01)) {
      seen('update that is no object');
      return pick([null, 1, 'a', true, [1], []]);
    }
    const keys = Array.from({ length: below(5) }, updateKey);
    if (overlaps(keys)) seen('update with overlapping paths');
    return Object.fromEntries(keys.map((text) => [text, value(1)]));
  };

  const place = (shallow) => {
    if (shallow && chance(0.01)) {
      seen('at a place around the depth limit');
      return Array.from({ length: 30 + below(5) }, () => pick(KEYS)).join('/');
    }
    return path(below(4));
  };

  for (let i = 0; i < count; i += 1) {
    kinds = new Set();
    const op = chance(0.55) ? 'set' : 'update';
    seen(op);
    const body = op === 'set' ? value() : patch();
    const empty = op === 'update' && body !== null && Object.keys(body).length === 0;
    const plain = !JSON.stringify(body).includes('".sv"');
    const operation = { op, path: empty ? pick(KEYS) : place(plain), value: body };
    yield { kinds, operation };
  }
}
