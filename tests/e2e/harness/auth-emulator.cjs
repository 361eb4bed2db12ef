// The real Firebase Auth emulator, started the light way: the same Express app that `firebase emulators:start` serves,
// with only those paths of its API description that our tests call. Compiling the whole description costs 10 s and more.
// It prints its address on one line and ends when its standard input closes, that is: when its parent ends.
'use strict';

const spec = require('firebase-tools/lib/emulator/auth/apiSpec.js').default;
const { createApp } = require('firebase-tools/lib/emulator/auth/server.js');

const NEEDED = [
  '/v1/accounts:signUp',
  '/v1/accounts:signInWithCustomToken',
  '/v1/accounts:lookup',
  '/v1/accounts:update',
  '/v1/projects/{targetProjectId}/accounts',
  '/v1/projects/{targetProjectId}/accounts:lookup',
  '/v1/projects/{targetProjectId}/accounts:update',
  '/v1/projects/{targetProjectId}/accounts:delete',
  '/v1/token',
  '/emulator/v1/projects/{targetProjectId}/accounts',
  '/emulator/v1/projects/{targetProjectId}/config',
];

for (const path of NEEDED) {
  if (!(path in spec.paths)) throw new Error(`this firebase-tools has no ${path}: see harness/auth-emulator.cjs`);
}
for (const path of Object.keys(spec.paths)) {
  if (!NEEDED.includes(path)) delete spec.paths[path];
}

const [projectId, port] = process.argv.slice(2);
createApp(projectId).then((app) => {
  app.listen(Number(port), '127.0.0.1', () => process.stdout.write(`auth emulator ready\n`));
});
process.stdin.on('end', () => process.exit(0)).resume();
