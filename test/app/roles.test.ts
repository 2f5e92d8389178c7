import { describe, expect, test } from 'vitest';
import { parseConfiguration } from '../../schemas/configuration-sources.js';
import { chooseRoles, requirePorts, roles } from '../../services/app/roles.js';

const kafka = { MCP_AUDITD_STREAM__KAFKA__BROKERS: 'kafka:9092' };
const clickhouse = { MCP_AUDITD_STORE__CLICKHOUSE__URL: 'http://clickhouse:8123' };
const allowed = (names: string[] | undefined, environment: Record<string, string>) =>
  requirePorts(chooseRoles(names), parseConfiguration({ environment }));

test('roles start in their own order, however they are named', () => {
  expect(chooseRoles(undefined)).toBe(roles);
  expect(chooseRoles(['query', 'ingestor']).map(({ name }) => name)).toEqual(['ingestor', 'query']);
  expect(roles.at(-1)?.name).toBe('query');
});

test.each([
  ['gatewy', 'There is no role "gatewy", did you mean gateway?'],
  ['', 'There is no role ""; there are ingestor, '],
])('%j is no role', (name, expected) => {
  expect(() => chooseRoles([name])).toThrow(expected);
});

describe('which roles may run apart', () => {
  test('all of them together', () => {
    for (const environment of [{}, kafka, { ...kafka, ...clickhouse }])
      expect(() => allowed(undefined, environment)).not.toThrow();
  });

  test('on Kafka and ClickHouse each alone', () => {
    for (const { name } of roles) expect(() => allowed([name], { ...kafka, ...clickhouse })).not.toThrow();
  });

  test('on the local stream gateway and ingestor stay together', () => {
    expect(() => allowed(['gateway', 'ingestor'], {})).not.toThrow();
    expect(() => allowed(['gateway'], {})).toThrow('To run gateway alone, configure stream.kafka.');
    expect(() => allowed(['ingestor', 'query'], {})).toThrow('The local stream belongs to one process');
  });

  test('on Kafka with the embedded store those that use the store stay together', () => {
    expect(() => allowed(['gateway'], kafka)).not.toThrow();
    expect(() => allowed(['ingestor'], kafka)).toThrow(
      'The embedded store belongs to one process, so ingestor cannot run without detector, query',
    );
  });
});
