// Waiting with a deadline: the only way in which these tests let time pass.

/** Generous, because a deadline only decides how long a *failing* test takes. */
export const DEADLINE_MS = Number(process.env.E2E_DEADLINE_MS ?? 30_000);
const LOOK_EVERY_MS = 10;

/**
 * Waits until `condition()` (or what it promises) is truthy and answers that value.
 * `what` names the thing that did not happen; a function is asked at the end, so that it can tell what was there instead.
 */
export async function until(condition, what, deadlineMs = DEADLINE_MS) {
  const end = performance.now() + deadlineMs;
  for (;;) {
    const value = await condition();
    if (value) return value;
    if (performance.now() > end) {
      const missing = typeof what === 'function' ? what() : (what ?? condition.toString());
      throw new Error(`not within ${deadlineMs} ms: ${missing}`);
    }
    await new Promise((resolve) => setTimeout(resolve, LOOK_EVERY_MS));
  }
}

/** Fails with `what` if `promise` is not settled in time. */
export async function within(promise, what, deadlineMs = DEADLINE_MS) {
  let timer;
  const late = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error(`not within ${deadlineMs} ms: ${what}`)), deadlineMs);
  });
  try {
    return await Promise.race([promise, late]);
  } finally {
    clearTimeout(timer);
  }
}
