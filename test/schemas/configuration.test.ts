import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import {
  type ConfigurationKey,
  configurationKeys,
  namesIn,
  shownConfiguration,
} from '../../schemas/configuration-keys.js';
import { type ConfigurationSources, parseConfiguration } from '../../schemas/configuration-sources.js';
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

const pem = '-----BEGIN CERTIFICATE-----';
const samples: Readonly<Record<string, string>> = {
  'query.clickhouse_listen': '127.0.0.1:8123',
  'query.trace_url': 'https://traces.example.com/trace/{trace_id}',
  'throttler.public_keys': '-----BEGIN PUBLIC KEY-----',
  listen: '[::1]:0',
  'stream.kafka.brokers': 'a:1,b:2',
  'store.clickhouse.url': 'https://c:8443',
  'stream.kafka.sasl.token_endpoint': 'https://login:8443/token',
  'notifier.zone': 'Asia/Kathmandu',
  'notifier.public_url': 'https://audit.example.com/',
  'notifier.horizon': '7d',
  'stream.kafka.ssl.ca': pem,
  'stream.kafka.ssl.cert': pem,
  'store.clickhouse.ssl.ca': pem,
  'store.clickhouse.ssl.cert': pem,
};

/** A value that is not the default. */
function sampleOf(key: ConfigurationKey): string {
  if (key.kind === 'boolean') return String(key.default !== true);
  if (key.path.at(-1) === 'session_timeout_ms') return '7000';
  return samples[key.path.join('.')] ?? key.choices?.[1] ?? (key.kind === 'number' ? '7' : 'x');
}

/** The keys without which this one is refused. */
function besides(key: ConfigurationKey): Record<string, string> {
  const [room, kind, part, name] = key.path;
  const section = `MCP_AUDITD_${room}__${kind}`.toUpperCase();
  if (kind === 'clickhouse') {
    const url = { [`${section}__URL`]: 'https://c:8443' };
    return name === 'cert' || name === 'key'
      ? { ...url, [`${section}__SSL__CERT`]: pem, [`${section}__SSL__KEY`]: 'k' }
      : url;
  }
  if (kind !== 'kafka') return {};
  const brokers = { [`${section}__BROKERS`]: 'k:9092' };
  if (name === 'cert' || name === 'key')
    return { ...brokers, [`${section}__SSL__CERT`]: pem, [`${section}__SSL__KEY`]: 'k' };
  if (part !== 'sasl') return brokers;
  const sasl = (more: Record<string, string>) => ({
    ...brokers,
    ...Object.fromEntries(Object.entries(more).map(([each, value]) => [`${section}__SASL__${each}`, value])),
  });
  if (!name!.startsWith('token')) return sasl({ MECHANISM: 'plain', USERNAME: 'u', PASSWORD: 'p' });
  if (name === 'token_file') return sasl({ MECHANISM: 'oauthbearer' });
  const client = { TOKEN_CLIENT_ID: 'c', TOKEN_CLIENT_SECRET: 's' };
  return sasl({ MECHANISM: 'oauthbearer', TOKEN_ENDPOINT: 'https://login/token', ...client });
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
    expect(configuration.store).toEqual({ retention_days: 90, body_retention_days: 30 });
    expect(configuration.stream.local?.durability).toBe('fsync');
    for (const key of configurationKeys()) {
      expect(key.description, key.path.join('.')).not.toBe('');
      if (key.variable === undefined) expect(key.kind, key.path.join('.')).not.toBe('number');
      else expect(key.variable).toMatch(/^MCP_AUDITD_[A-Z_]+$/);
    }
  });

  test('every variable sets its key', () => {
    for (const key of configurationKeys()) {
      if (key.variable === undefined) continue;
      const value = sampleOf(key);
      let node: unknown = parseConfiguration({ environment: { ...besides(key), [key.variable]: value } });
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

describe('the form of several machines', () => {
  const kafka = { brokers: ['k:9092'] };

  test('without kafka the stream is the local one, with it there is none', () => {
    expect(parseConfiguration({}).stream).toHaveProperty('local');
    const environment = { MCP_AUDITD_STREAM__KAFKA__BROKERS: 'k-1:9092, k-2:9092' };
    const { stream } = parseConfiguration({ environment });
    expect(stream).not.toHaveProperty('local');
    expect(stream.kafka).toMatchObject({ brokers: ['k-1:9092', 'k-2:9092'], partitions: 4, compression: 'zstd' });
  });

  test('a secret may lie in a file beside the configuration, and a variable wins over it', () => {
    const text =
      'stream: {kafka: {brokers: [k:9092], sasl: {mechanism: plain, username: u, password_file: secrets/p}}}';
    const file = { path: '/etc/audit/config.yaml', text };
    const readFile = (path: string): string => {
      if (path !== '/etc/audit/secrets/p') throw new Error('is not there');
      return 'from the file\n';
    };
    expect(parseConfiguration({ file, readFile }).stream.kafka?.sasl?.password).toBe('from the file');
    const environment = { MCP_AUDITD_STREAM__KAFKA__SASL__PASSWORD: 'from the variable' };
    const absent = { file, environment, readFile: () => expect.fail('the file was read') };
    expect(parseConfiguration(absent).stream.kafka?.sasl?.password).toBe('from the variable');
    const missing = () => {
      throw new Error('is not there');
    };
    expect(mistakes({ file, readFile: missing })).toContain(
      '/etc/audit/config.yaml:1:90: cannot read /etc/audit/secrets/p: is not there',
    );
  });

  test('secrets are not shown, and no message quotes them', () => {
    const secrets = configurationKeys().filter(({ secret }) => secret);
    expect(secrets.map(({ path }) => path.join('.'))).toEqual([
      'stream.kafka.ssl.key',
      'stream.kafka.sasl.password',
      'stream.kafka.sasl.token_client_secret',
      'store.clickhouse.password',
      'store.clickhouse.ssl.key',
      'throttler.signing_key',
    ]);
    const environment = {
      MCP_AUDITD_STREAM__KAFKA__BROKERS: 'k:9092',
      MCP_AUDITD_STREAM__KAFKA__SASL__MECHANISM: 'plain',
      MCP_AUDITD_STREAM__KAFKA__SASL__USERNAME: 'u',
      MCP_AUDITD_STREAM__KAFKA__SASL__PASSWORD: 'hush-1',
      MCP_AUDITD_STORE__CLICKHOUSE__URL: 'http://c:8123',
      MCP_AUDITD_STORE__CLICKHOUSE__PASSWORD: 'hush-2',
    };
    const shown = JSON.stringify(shownConfiguration(parseConfiguration({ environment })));
    expect(shown).toContain('"password":"(hidden)"');
    expect(shown).not.toContain('hush');
    const wrong = {
      ...environment,
      MCP_AUDITD_STORE__CLICKHOUSE__URL: 'http://u:hush-3@c:8123',
      MCP_AUDITD_STREAM__KAFKA__SASL__TOKEN_FILE: 'x',
      MCP_AUDITD_STREAM__KAFKA__SSL__KEY: 'hush-4',
    };
    expect(mistakes({ environment: wrong }).split('\n')).toEqual([
      expect.stringContaining('stream.kafka.ssl: expected cert and key together, or neither'),
      'MCP_AUDITD_STREAM__KAFKA__SASL__TOKEN_FILE: stream.kafka.sasl.token_file: belongs to oauthbearer, and mechanism is plain',
      expect.stringContaining('expected no user in it'),
    ]);
  });

  test('the schema for editors knows the keys of files', () => {
    expect(namesIn(['stream', 'kafka', 'sasl'])).toContain('password_file');
    expect(namesIn(['stream', 'kafka', 'ssl'])).toEqual([
      'enabled',
      'ca',
      'ca_file',
      'cert',
      'cert_file',
      'key',
      'key_file',
    ]);
  });

  test.each([
    [{ stream: { kafka, local: {} } }, 'stream: local and kafka are both configured, expected one of them'],
    [{ stream: { kafka: { brokers: ['kafka'] } } }, 'stream.kafka.brokers.0: expected HOST:PORT, as in kafka-1:9092'],
    [{ stream: { kafka: { broker: [] } } }, 'there is no key broker in stream.kafka, did you mean brokers?'],
    [{ stream: { kafka: { ...kafka, sasl: { mechanism: 'plain' } } } }, 'stream.kafka.sasl.username: plain needs it'],
    [
      { stream: { kafka: { ...kafka, sasl: { mechanism: 'oauthbearer' } } } },
      'stream.kafka.sasl.token_file: oauthbearer needs one of token_file and token_endpoint',
    ],
    [
      { stream: { kafka: { ...kafka, ssl: { ca: '/etc/ca.pem' } } } },
      'stream.kafka.ssl.ca: expected certificates as PEM text, or its file in the key with _file at its end',
    ],
    [{ store: { clickhouse: { url: 'clickhouse:8123' } } }, 'store.clickhouse.url: expected http://HOST:PORT'],
    [{ store: { clickhouse: { url: 'http://c:8123', ssl: {} } } }, 'store.clickhouse.url: expected an https URL'],
    [{ store: { embedded: { retention_days: 1 } } }, 'there is no key embedded in store'],
  ])('%j is refused', (value, expected) => {
    expect(mistakes({ file: { path: 'a.yaml', text: JSON.stringify(value) } })).toContain(expected);
  });
});
