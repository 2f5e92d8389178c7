import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { type ConfigurationSources, configurationKeys, parseConfiguration } from '../../schemas/configuration.js';
import { AuditdError } from '../../schemas/errors.js';

const fixtures = join(import.meta.dirname, 'configuration');

function mistakes(sources: ConfigurationSources): string {
  try {
    parseConfiguration(sources);
  } catch (error) {
    expect(error).toBeInstanceOf(AuditdError);
    expect((error as AuditdError).code).toBe('configuration_invalid');
    return (error as Error).message;
  }
  return '';
}

describe('a file with one mistake', () => {
  test.each(readdirSync(fixtures).filter((file) => file.endsWith('.yaml')))('%s', (file) => {
    const expected = readFileSync(join(fixtures, file.replace(/yaml$/, 'expected')), 'utf8').trimEnd();
    expect(mistakes({ file: { path: file, text: readFileSync(join(fixtures, file), 'utf8') } })).toBe(expected);
  });
});

describe('sources', () => {
  test('every key has a default, a variable and a meaning', () => {
    const configuration = parseConfiguration({});
    expect(configuration.store.embedded).toEqual({ retention_days: 90, body_retention_days: 30 });
    for (const key of configurationKeys()) {
      expect(key.description, key.path.join('.')).not.toBe('');
      expect(key.variable).toMatch(/^MCP_AUDITD_[A-Z_]+$/);
    }
  });

  test('every variable sets its key', () => {
    for (const key of configurationKeys()) {
      const value = key.choices?.[1] ?? (key.kind === 'number' ? '7' : key.path[0] === 'listen' ? '[::1]:0' : 'x');
      let node: unknown = parseConfiguration({ environment: { [key.variable]: value } });
      for (const name of key.path) node = (node as Record<string, unknown>)[name];
      expect(String(node), key.variable).toBe(value);
    }
  });

  test('a flag wins over a variable, a variable over the file', () => {
    const file = { path: 'a.yaml', text: 'query: {time_ms: 1, result_rows: 1, memory_bytes: 1}' };
    const environment = { MCP_AUDITD_QUERY__TIME_MS: '2', MCP_AUDITD_QUERY__RESULT_ROWS: '2' };
    const { query } = parseConfiguration({ file, environment, flags: { 'query.time_ms': 3 } });
    expect(query).toMatchObject({ time_ms: 3, result_rows: 2, memory_bytes: 1 });
  });

  test('a variable with _FILE names a file that holds the value', () => {
    const readFile = (path: string) => `${path} holds\n`.replace('/run/level holds', 'warn');
    const { log } = parseConfiguration({ environment: { MCP_AUDITD_LOG__LEVEL_FILE: '/run/level' }, readFile });
    expect(log.level).toBe('warn');
  });

  test.each([
    [
      { MCP_AUDITD_QUERY__TIME_MS: 'soon' },
      'MCP_AUDITD_QUERY__TIME_MS: query.time_ms: Invalid input: expected number, received string',
    ],
    [
      { MCP_AUDITD_QUERY__TIME: '1' },
      'MCP_AUDITD_QUERY__TIME: there is no such key, did you mean MCP_AUDITD_QUERY__TIME_MS?',
    ],
    [
      { MCP_AUDITD_LOG__LEVEL: 'info', MCP_AUDITD_LOG__LEVEL_FILE: '/x' },
      'MCP_AUDITD_LOG__LEVEL_FILE: MCP_AUDITD_LOG__LEVEL is set as well, expected one of them',
    ],
  ])('%j', (environment, expected) => {
    expect(mistakes({ environment })).toBe(expected);
  });

  test('variables of emitters and of others are left alone', () => {
    const environment = { MCP_AUDITD_ACTOR: 'alice', MCP_AUDITD_URL: 'http://127.0.0.1:1', PATH: '/bin' };
    expect(mistakes({ environment })).toBe('');
  });

  test('all mistakes are told at once', () => {
    const text = 'lisen: 1\nquery:\n  time_ms: x\n';
    expect(
      mistakes({ file: { path: 'a.yaml', text }, environment: { MCP_AUDITD_QUERY__TIM: '1' } }).split('\n'),
    ).toHaveLength(3);
  });
});
