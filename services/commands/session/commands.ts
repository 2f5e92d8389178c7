/** The commands of the interactive session, each a line that begins with `\`. */
import { spawn } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { savedNameSchema } from '../../../schemas/saved-query.js';
import { formats } from '../query.js';
import { forgetQuery, listSaved, savedStatement, saveQuery } from '../saved.js';
import { shownLines } from '../terminal.js';
import { matching } from './names.js';
import type { Session } from './session.js';

export interface Command {
  readonly usage: string;
  readonly says: string;
  /** What its argument may be. */
  candidates?(session: Session): Promise<readonly string[]>;
  run(session: Session, rest: string): Promise<void>;
}

const formatNames = ['table', ...Object.keys(formats)];

const tablesWith = (sizes: string) =>
  `SELECT name, if(engine = 'View', 'view', 'table') AS kind${sizes}
   FROM system.tables WHERE database = currentDatabase() AND NOT startsWith(name, '.') AND name NOT IN ${internalTables} ORDER BY name`;
const internalTables = "('schema_migrations', 'ingest_owners')";

export const commands: Readonly<Record<string, Command>> = {
  d: {
    usage: '\\d [TABLE]',
    says: 'tables and views; the columns of one',
    candidates: async (session) => [...(await session.knownNames()).tables.keys()],
    run: (session, table) =>
      table === ''
        ? session.ask(
            tablesWith(', total_rows AS rows, formatReadableSize(total_bytes) AS size'),
            {},
            // A key of one tenant is told no sizes.
            tablesWith(''),
          )
        : session.ask(
            'SELECT name, type FROM system.columns WHERE database = currentDatabase() AND table = {table:String} ORDER BY position',
            { table },
          ),
  },
  l: {
    usage: '\\l',
    says: 'databases',
    run: (session) => session.ask('SELECT name FROM system.databases ORDER BY name'),
  },
  x: {
    usage: '\\x',
    says: 'rows as blocks, one column a line; again: as tables',
    run: async (session) => {
      session.settings.vertical = !session.settings.vertical;
      session.say(`Rows are shown as ${session.settings.vertical ? 'blocks' : 'tables'}.`);
    },
  },
  format: {
    usage: '\\format [NAME]',
    says: `${formatNames.join(', ')}, or any of ClickHouse`,
    candidates: async (session) => [...formatNames, ...(await session.knownNames()).formats],
    run: async (session, name) => {
      if (name !== '' && !/^[A-Za-z0-9]{1,64}$/.test(name)) return session.say('That is no name of a format.');
      if (name !== '') session.settings.format = name;
      session.say(`Answers are shown as ${session.settings.format}.`);
    },
  },
  set: {
    usage: '\\set [NAME [VALUE]]',
    says: 'a value for {NAME:Type} in statements; without VALUE it is taken back',
    candidates: async (session) => [...session.parameters.keys()],
    run: async (session, rest) => {
      const [, name = '', value] = /^(\S*)(?:\s+(.*))?$/s.exec(rest) ?? [];
      if (name !== '' && !/^[A-Za-z_]\w{0,63}$/.test(name)) return session.say('That is no name of a placeholder.');
      if (name !== '' && value === undefined) session.parameters.delete(name);
      else if (name !== '') session.parameters.set(name, value!);
      if (session.parameters.size === 0) return session.say('No values are set.');
      await session.show(['name', 'value'], [...session.parameters]);
    },
  },
  timing: {
    usage: '\\timing',
    says: 'rows, bytes and time below each answer, or not',
    run: async (session) => {
      session.settings.timing = !session.settings.timing;
      session.say(`Timing is ${session.settings.timing ? 'on' : 'off'}.`);
    },
  },
  pager: {
    usage: '\\pager',
    says: 'long answers through $PAGER (default less), or not',
    run: async (session) => {
      session.settings.pager = session.settings.pager === undefined ? process.env.PAGER || 'less' : undefined;
      session.say(`The pager is ${session.settings.pager === undefined ? 'off' : 'on'}.`);
    },
  },
  save: {
    usage: '\\save NAME',
    says: 'keep the last statement under a name, for the dashboard too',
    candidates: savedNames,
    run: (session, name) =>
      session.guarded(async () => {
        if (name === '' || session.current === '') return session.say('Ask a statement first, then \\save NAME.');
        await saveQuery(session.loaded, name, session.current);
        session.say(`Kept as ${shownLines(name)}.`);
      }),
  },
  saved: {
    usage: '\\saved',
    says: 'the statements that are kept',
    run: (session) =>
      session.guarded(async () => {
        const all = await listSaved(session.loaded);
        if (all.length === 0) return session.say('None is kept yet: \\save NAME keeps the last statement.');
        const rows = all.map(({ name, statement, author, saved_at }) => [name, author, saved_at, statement]);
        await session.show(['name', 'author', 'saved_at', 'statement'], rows);
      }),
  },
  run: {
    usage: '\\run NAME',
    says: 'ask a statement that is kept',
    candidates: savedNames,
    run: async (session, name) => {
      let statement = '';
      await session.guarded(async () => {
        statement = await savedStatement(session.loaded, name);
      });
      if (statement !== '') await session.replace(`${statement.replace(/;\s*$/, '')}\n;`);
    },
  },
  forget: {
    usage: '\\forget NAME',
    says: 'keep it no longer',
    candidates: savedNames,
    run: (session, name) =>
      session.guarded(async () => {
        if (name === '') return session.say('Which one? \\saved shows them.');
        await forgetQuery(session.loaded, name);
        session.say(`${shownLines(name)} is forgotten.`);
      }),
  },
  e: {
    usage: '\\e',
    says: 'the statement in $VISUAL or $EDITOR (default vi)',
    run: edit,
  },
  '?': {
    usage: '\\?',
    says: 'these commands',
    run: async (session) => {
      const all = Object.values(commands);
      const width = Math.max(...all.map(({ usage }) => usage.length));
      session.say(all.map(({ usage, says }) => `${usage.padEnd(width)}  ${says}`).join('\n'));
      session.say('\nTab completes, Ctrl-C ends what runs, a statement that begins with a space is not kept.');
    },
  },
  q: { usage: '\\q', says: 'leave', run: async (session) => session.leave() },
};

async function savedNames(session: Session): Promise<string[]> {
  const names = (await listSaved(session.loaded)).map(({ name }) => name);
  return names.filter((name) => savedNameSchema.safeParse(name).success);
}

export async function completeCommand(line: string, session: Session): Promise<[string[], string]> {
  const match = /^\\(\S+)\s+(\S*)$/.exec(line);
  if (match === null)
    return matching(
      line,
      Object.keys(commands).map((name) => `\\${name}`),
    );
  const candidates = (await commands[match[1]!]?.candidates?.(session)) ?? [];
  return matching(match[2]!, candidates);
}

/** What the editor leaves is taken as if it had been typed. */
async function edit(session: Session): Promise<void> {
  const directory = mkdtempSync(join(tmpdir(), 'mcp-auditd-query-'));
  const file = join(directory, 'statement.sql');
  const takeBack = session.lend();
  let text = '';
  try {
    const before = session.current === '' ? '' : `${session.current}${session.current === session.last ? ';' : ''}\n`;
    writeFileSync(file, before, { mode: 0o600 });
    const editor = process.env.VISUAL || process.env.EDITOR || 'vi';
    const child = spawn(`${editor} "$MCP_AUDITD_STATEMENT"`, {
      shell: true,
      stdio: 'inherit',
      env: { ...process.env, MCP_AUDITD_STATEMENT: file },
    });
    const code = await new Promise<number | null>((resolve) =>
      child.once('error', () => resolve(null)).once('exit', resolve),
    );
    if (code === 0) text = readFileSync(file, 'utf8').trim();
    else session.say(`The editor ended with ${code ?? 'an error'}; nothing was taken.`);
  } finally {
    takeBack();
    rmSync(directory, { recursive: true, force: true });
  }
  if (text !== '') await session.replace(text);
}
