/** Statements kept under names: read by SQL like everything else, changed through the daemon with the responder's key. */
import { userInfo } from 'node:os';
import { AuditdError } from '../../schemas/errors.js';
import { nearestName } from '../../schemas/nearest.js';
import { askObjects } from './ask.js';
import { type Loaded, request } from './context.js';
import { findResponder } from './respond.js';

export interface Saved {
  readonly name: string;
  readonly statement: string;
  readonly author: string;
  readonly saved_at: string;
}

/** Of one name that several tenants use, for a key that sees them all, its own comes first. */
const selectSaved =
  "SELECT name, statement, author, saved_at FROM saved_queries_latest ORDER BY name, tenant != '*', tenant LIMIT 1 BY name";

export function listSaved(loaded: Loaded): Promise<Saved[]> {
  return askObjects<Saved>(loaded, { sql: selectSaved });
}

/** The statement that is kept as `name`. Throws `not_found`, with the name that was meant. */
export async function savedStatement(loaded: Loaded, name: string): Promise<string> {
  const all = await listSaved(loaded);
  const found = all.find((each) => each.name === name);
  if (found !== undefined) return found.statement;
  const names = all.map((each) => each.name);
  const nearest = nearestName(name, names);
  const hint = nearest === undefined ? `; ${names.length} are kept` : `, did you mean ${nearest}?`;
  throw new AuditdError('not_found', `No query is kept as ${JSON.stringify(name)}${hint}`);
}

/** Keeps a statement under a name; what was there before is replaced. Throws what the daemon says. */
export async function saveQuery({ data }: Loaded, name: string, statement: string): Promise<void> {
  const body = JSON.stringify({ statement, author: userInfo().username });
  await request(await findResponder(data), pathOf(name), {
    method: 'PUT',
    headers: { 'content-type': 'application/json' },
    body,
  });
}

export async function forgetQuery({ data }: Loaded, name: string): Promise<void> {
  await request(await findResponder(data), pathOf(name), { method: 'DELETE' });
}

function pathOf(name: string): string {
  return `/api/v1/saved/${encodeURIComponent(name)}`;
}
