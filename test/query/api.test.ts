/** The API under /api/v1: its document, who may do what, and how mistakes are told. */
import { readFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import { conditionOf, matcherOf } from '../../services/query/api/filters.js';
import { cookbookText, openApiText } from '../../services/query/generate.js';

test('docs/openapi.json is what the routes make; npm run generate writes it', () => {
  expect(readFileSync('docs/openapi.json', 'utf8')).toBe(openApiText());
});

test('the dashboard has the questions of docs/cookbook.md; npm run generate writes them', () => {
  const text = cookbookText(readFileSync('docs/cookbook.md', 'utf8'));
  expect(readFileSync('services/query/dashboard/cookbook.json', 'utf8')).toBe(text);
  const questions = JSON.parse(text) as { title: string; sql: string }[];
  expect(questions).toHaveLength(25);
  for (const { title, sql } of questions)
    expect([title, sql]).toEqual([expect.any(String), expect.stringMatching(/^(SELECT|WITH)\b/)]);
});

test('every operation of the document has an id of its own, and every reference leads somewhere', () => {
  const document = JSON.parse(openApiText()) as {
    paths: Record<string, Record<string, { operationId: string }>>;
    components: { schemas: Record<string, unknown> };
  };
  const ids = Object.values(document.paths).flatMap((path) =>
    Object.values(path).map(({ operationId }) => operationId),
  );
  expect(new Set(ids).size).toBe(ids.length);
  expect(ids.length).toBeGreaterThan(25);
  for (const [, name] of openApiText().matchAll(/#\/components\/schemas\/(\w+)/g))
    expect(document.components.schemas).toHaveProperty([name!]);
});

const range = (filter: string[]) => ({ from: undefined, to: undefined, filter });

test('values of filters never enter the SQL', () => {
  const hostile = "x' OR 1=1 --";
  const { sql, parameters } = conditionOf(
    range([`tool=${hostile}`, `arguments~${hostile}`, `attributes.${'a'}=${hostile}`]),
    1e12,
  );
  expect(sql).not.toContain('OR 1=1');
  expect(Object.values(parameters).filter((value) => value === hostile)).toHaveLength(3);
});

test.each([
  ['tol=x', 'did you mean tool'],
  ['duration>soon', 'a number'],
  ['truncated=maybe', 'true or false'],
  ['tool', 'operator'],
  ['occurred_at>2026', 'from and to'],
  ['tool>x', 'one of'],
])('the filter %s is refused: %s', (filter, told) => {
  expect(() => conditionOf(range([filter]), 1e12)).toThrow(told);
  expect(() => matcherOf([filter])).toThrow(told);
});

test('filters mean the same for the tail as for the table', () => {
  const event = { tool_name: 'read_file', duration_ms: 12, outcome: 'success', attributes: { team: 'blue' } };
  expect(matcherOf(['tool=read_file', 'tool=other', 'duration>10'])(event)).toBe(true);
  expect(matcherOf(['tool=other'])(event)).toBe(false);
  expect(matcherOf(['tool~READ', 'attributes.team=blue', 'outcome!=denied'])(event)).toBe(true);
  expect(matcherOf(['duration<10'])(event)).toBe(false);
});
