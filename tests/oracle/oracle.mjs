// The oracle: the official Firebase SDK, offline, says what each operation makes of the data and whether it is
// valid at all; the stand-in's tree (examples/tree_oracle.rs) must say the same.
// The first difference is reduced to as few operations as show it, and ends the run with exit code 1.

import { execFileSync } from 'node:child_process';
import { isDeepStrictEqual, parseArgs } from 'node:util';
import { generate } from './generate.mjs';
import { NOW, official } from './official.mjs';

const ROOT = new URL('../..', import.meta.url);
/** Operations that share one database. The SDK keeps all of them as pending writes, so it slows down with more. */
const SESSION = 100;

const { values: options } = parseArgs({
  options: {
    operations: { type: 'string', default: '10000' },
    seed: { type: 'string', default: String(Math.floor(Math.random() * 2 ** 31)) },
  },
});

/** Where cargo has put the stand-in's half. */
function build() {
  const arguments_ = ['build', '--locked', '--quiet', '--example', 'tree_oracle', '--message-format', 'json'];
  const output = execFileSync('cargo', arguments_, { cwd: ROOT, encoding: 'utf8', maxBuffer: 2 ** 30 });
  const messages = output.trimEnd().split('\n').map((line) => JSON.parse(line));
  return messages.find(({ executable, target }) => executable && target.name === 'tree_oracle').executable;
}

const PROGRAM = build();

/** One answer for each operation: `{ value }`, all the data after it, or `{ refused: true }`. */
function standIn(operations) {
  const lines = operations.map((operation) => `${JSON.stringify(operation)}\n`).join('');
  const output = execFileSync(PROGRAM, [String(NOW)], { input: lines, encoding: 'utf8', maxBuffer: 2 ** 30 });
  const answers = output.trimEnd().split('\n').map((line) => JSON.parse(line));
  if (answers.length !== operations.length) throw new Error(`${answers.length} answers to ${operations.length} operations`);
  return answers;
}

/** The first operation of which the two make something different. */
function difference(operations) {
  const [ours, theirs] = [standIn(operations), official(operations)];
  const at = ours.findIndex((answer, i) => !isDeepStrictEqual(answer, theirs[i]));
  return at < 0 ? null : { at, ours: ours[at], theirs: theirs[at] };
}

/** Leaves out one operation after the other as long as a difference remains; all but the first, which empties the data. */
function reduce(operations) {
  let kept = operations;
  for (let at = kept.length - 2; at > 0; at -= 1) {
    const fewer = kept.filter((_, i) => i !== at);
    const found = difference(fewer);
    if (found) kept = fewer.slice(0, found.at + 1);
    at = Math.min(at, kept.length - 1);
  }
  return kept;
}

const count = Number(options.operations);
const seed = Number(options.seed);
console.log(`${count} operations, seed ${seed}`);

const sessions = [];
const kinds = new Map();
for (const { kinds: names, operation } of generate(seed, count)) {
  for (const name of names) kinds.set(name, (kinds.get(name) ?? 0) + 1);
  if (sessions.length === 0 || sessions.at(-1).length === SESSION) sessions.push([{ op: 'reset' }]);
  sessions.at(-1).push(operation);
}

const ours = standIn(sessions.flat());
let refused = 0;
let compared = 0;
for (const [number, session] of sessions.entries()) {
  const theirs = official(session);
  const start = sessions.slice(0, number).reduce((sum, { length }) => sum + length, 0);
  for (const [i, answer] of theirs.entries()) {
    if (!isDeepStrictEqual(ours[start + i], answer)) {
      const few = reduce(session.slice(0, i + 1));
      const found = difference(few);
      console.log('The two differ after the last of these operations:');
      for (const operation of few) console.log(`  ${JSON.stringify(operation)}`);
      console.log(`SDK:      ${JSON.stringify(found.theirs)}`);
      console.log(`stand-in: ${JSON.stringify(found.ours)}`);
      console.log(`test result: FAILED. ${compared} passed; 1 failed; 0 ignored`);
      process.exit(1);
    }
    if (session[i].op === 'reset') continue;
    compared += 1;
    refused += answer.refused ? 1 : 0;
  }
}
for (const [kind, times] of [...kinds].sort()) console.log(`  ${kind}: ${times}`);
console.log(`  refused by both: ${refused}`);
console.log(`test result: ok. ${compared} passed; 0 failed; 0 ignored`);
// The SDK keeps timers of its own.
process.exit(0);
