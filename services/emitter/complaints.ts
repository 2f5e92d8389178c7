const told = new Set<string>();
/** Kinds of problems told; each is told once a process. */
const maxKinds = 32;

/** One line on stderr for each kind of problem: an audit path that floods its server's log does harm. */
export function complainOnce(kind: string, message: string): void {
  if (told.has(kind) || told.size >= maxKinds) return;
  told.add(kind);
  try {
    process.stderr.write(`mcp-auditd: ${message}\n`);
  } catch {
    // stderr may be closed; there is nobody left to tell.
  }
}
