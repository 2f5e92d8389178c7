/** Long work as a generator that yields where it may be interrupted: done at once, or in turns with the rest of the process. */

export function atOnce<Result>(work: Generator<void, Result>): Result {
  for (;;) {
    const step = work.next();
    if (step.done === true) return step.value;
  }
}

/** @param turnMs Milliseconds of work after which `pause` is awaited; one step may take longer. */
export async function inTurns<Result>(
  work: Generator<void, Result>,
  pause: () => Promise<void>,
  turnMs = 10,
): Promise<Result> {
  let until = performance.now() + turnMs;
  for (;;) {
    const step = work.next();
    if (step.done === true) return step.value;
    if (performance.now() < until) continue;
    await pause();
    until = performance.now() + turnMs;
  }
}
