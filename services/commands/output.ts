/** What every command shares about its output, without loading anything. */

/** What becomes of a command whose reader leaves early (`| head`): it ends without a word. */
let leave: () => void = () => process.exit(0);

/** Chooses what happens instead of leaving at once. */
export function whenReaderLeaves(action: () => void): void {
  leave = action;
}

/** Called once, by cli.ts. */
export function watchOutput(): void {
  process.stdout.on('error', (error: NodeJS.ErrnoException) => {
    if (error.code !== 'EPIPE') throw error;
    leave();
  });
}

/** The text as one word of a POSIX shell. */
export function shellWord(text: string): string {
  return /^[\w@%+=:,./-]+$/.test(text) ? text : `'${text.replaceAll("'", "'\\''")}'`;
}
