// Firebase accounts of the real Auth emulator, through the official SDK; and tokens that no emulator would give.

import { initializeApp } from '@firebase/app';
import { connectAuthEmulator, inMemoryPersistence, initializeAuth, signInWithCustomToken } from '@firebase/auth';

export const PROJECT = 'demo-e2e';

/** The host and port at which run.mjs has started the emulator. */
export function emulatorHost() {
  const host = process.env.FIREBASE_AUTH_EMULATOR_HOST;
  if (!host) throw new Error('FIREBASE_AUTH_EMULATOR_HOST is not set: start the tests with tests/e2e/run.mjs');
  return host;
}

const handedOut = new Set();
let people = 0;

/** A uid that no other test uses: a name for the reader, a number for the database. */
export function somebody(name) {
  people += 1;
  return `${name}-${process.pid}-${people}`;
}

/** Signs in, creating the account, and answers the SDK's user: `.getIdToken()` gives its token, `.getIdToken(true)` a new one. */
export async function signInUser(uid) {
  const app = initializeApp({ apiKey: 'any', projectId: PROJECT }, `${uid}-${(people += 1)}`);
  const auth = initializeAuth(app, { persistence: inMemoryPersistence });
  connectAuthEmulator(auth, `http://${emulatorHost()}`, { disableWarnings: true });
  // The emulator takes plain JSON where production wants a signed custom token.
  const { user } = await signInWithCustomToken(auth, JSON.stringify({ uid }));
  return user;
}

/** Signs in and answers the ID token. */
export async function signIn(uid) {
  return remember(await (await signInUser(uid)).getIdToken());
}

/** A new token for the same sign-in, as a phone gets one every hour. */
export async function refresh(user) {
  return remember(await user.getIdToken(true));
}

/** Every token these tests have handed to a bridge: none may ever be seen in a log. */
export function tokensHandedOut() {
  return handedOut;
}

export function remember(token) {
  handedOut.add(token);
  return token;
}

/** The emulator's token with some claims changed; it stays unsigned, so only the claims can be what is refused. */
export function forge(token, changes, header) {
  const [oldHeader, payload, signature] = token.split('.');
  const claims = { ...read(payload), ...changes };
  return remember([header ? write(header) : oldHeader, write(claims), signature].join('.'));
}

export function claimsOf(token) {
  return read(token.split('.')[1]);
}

const read = (segment) => JSON.parse(Buffer.from(segment, 'base64url').toString('utf8'));
const write = (value) => Buffer.from(JSON.stringify(value)).toString('base64url');
