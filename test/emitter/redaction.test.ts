import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { boundBody, serialise } from '../../services/emitter/body.js';
import { CallText } from '../../services/emitter/call-text.js';
import { maxRedactions, Notes, Redactor } from '../../services/emitter/redaction.js';

const limits = { maxBytes: 64 * 1024, maxStringLength: 32 * 1024, maxDepth: 64 };
const plain = new Redactor();

function redact(
  value: unknown,
  redactor = plain,
  bounds = limits,
): { text: string; notes: string[]; truncated: boolean } {
  const notes = new Notes();
  const { text, truncated } = boundBody(serialise(value), 'arguments', redactor, bounds, notes);
  return { text, notes: notes.list, truncated };
}

/** Random characters of an alphabet, as secrets are made of. */
const of = (alphabet: string, minLength: number, maxLength = minLength) =>
  fc.string({ unit: fc.constantFrom(...alphabet), minLength, maxLength });
const word = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789';
const capitals = 'ABCDEFGHIJKLMNOPQRSTUVWXYZ234567';

/** Secrets by pattern: the kind that is noted, and the part that must be gone. */
const secrets: Record<string, fc.Arbitrary<string>> = {
  aws_key: of(capitals, 16).map((rest) => `AKIA${rest}`),
  gcp_key: of(word, 35).map((rest) => `AIza${rest}`),
  github_token: of(word, 36).map((rest) => `ghp_${rest}`),
  gitlab_token: of(word, 20).map((rest) => `glpat-${rest}`),
  slack_token: of('0123456789', 12).map((rest) => `xoxb-${rest}-${rest}`),
  slack_webhook: of(word, 24).map((rest) => `hooks.slack.com/services/T0AB/B0CD/${rest}`),
  stripe_key: of(word, 24).map((rest) => `sk_live_${rest}`),
  anthropic_key: of(word, 40).map((rest) => `sk-ant-api03-${rest}`),
  openai_key: of(word, 40).map((rest) => `sk-proj-a1${rest}`),
  npm_token: of(word, 36).map((rest) => `npm_${rest}`),
  huggingface_token: of(word, 34).map((rest) => `hf_${rest}`),
  sendgrid_key: of(word, 22).map((rest) => `SG.${rest}.${rest}${rest}`),
  vault_token: of(word, 24).map((rest) => `hvs.${rest}`),
  jwt: of(word, 30).map((rest) => `eyJhbGciOiJIUzI1NiJ9.${rest}.${rest}`),
  private_key: of(word, 64).map((rest) => `-----BEGIN RSA PRIVATE KEY-----\n${rest}\n-----END RSA PRIVATE KEY-----`),
  bearer: of(word, 32).map((rest) => `Bearer 9${rest}`),
  url_password: of(word, 12).map((rest) => `postgres://app:${rest}@db.internal/main`),
  card_number: fc.constantFrom('4111111111111111', '5500-0055-5555-5559', '3714 496353 98431'),
};
const secretPart = (kind: string, secret: string): string =>
  kind === 'url_password'
    ? secret.slice(secret.indexOf('app:') + 4, secret.indexOf('@'))
    : kind === 'bearer'
      ? secret.slice(7)
      : secret;

const prose = fc.string({ unit: fc.constantFrom(...'abc \n\t"\\{}[]:,é€😀'), maxLength: 40 });

describe('a secret', () => {
  it.each(Object.keys(secrets))('of kind %s is gone wherever it stands, and noted', (kind) => {
    fc.assert(
      fc.property(secrets[kind]!, prose, prose, fc.nat(4), (secret, before, after, shape) => {
        const text = `${before} ${secret} ${after}`;
        const value = [
          text,
          { note: text },
          { list: [1, null, { deep: text }] },
          { json: JSON.stringify({ inner: { text } }) },
          { [text]: 'as a name' },
        ][shape];
        const { text: kept, notes } = redact(value);
        expect(() => JSON.parse(kept)).not.toThrow();
        expect(kept).not.toContain(JSON.stringify(secretPart(kind, secret)).slice(1, -1));
        expect(notes.some((note) => note.endsWith(`:${kind}`) || note.endsWith(':assignment'))).toBe(true);
      }),
      { numRuns: 40 },
    );
  });

  it.each([
    ['SG.AAAeyJAAAAAAAAAAAAAAAA.AAAeyJAAAAAAAAAAAAAAAAAAAeyJAAAAAAAAAAAAAAAA', 'sendgrid_key'],
    ['eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOisk-A1b2C3d4E5f6G7h8I9j0K1.c2lnbmF0dXJlIG9m', 'jwt'],
    ['SG.AAAAAAAAAAAAAAAAAAAAAA.AAAAAAAAAAAAAAAAAAeyJhbGciOiJI.c2lnbmF0dXJlIG9m', 'sendgrid_key'],
  ])('that seems to hold another is gone whole: %s', (secret, kind) => {
    expect(redact(`a ${secret} b`)).toEqual({
      text: JSON.stringify(`a [redacted:${kind}] b`),
      notes: [`arguments:${kind}`],
      truncated: false,
    });
  });

  it('under a telling name is gone, whatever it is, and the rest stays', () => {
    const name = fc.constantFrom(
      'password',
      'db_password',
      'X-Api-Key',
      'AWS_SECRET_ACCESS_KEY',
      'githubToken',
      'Authorization',
      'cookie',
      'clientSecret',
      'PRIVATE_KEY',
    );
    const secret = fc.oneof(
      of(word, 1, 40),
      fc.integer({ min: 1000 }),
      fc.array(of(word, 8), { minLength: 1 }),
      fc.record({ value: of(word, 8) }),
    );
    fc.assert(
      fc.property(name, secret, (key, value) => {
        const { text, notes } = redact({ path: '/tmp/report', config: { [key]: value } });
        expect(JSON.parse(text)).toEqual({ path: '/tmp/report', config: { [key]: '[redacted]' } });
        expect(notes).toEqual([`arguments.config.${key}:key`]);
      }),
    );
  });

  it.each([
    ['password=hunter22', 'password=[redacted]'],
    ['export DB_PASSWORD="a b c"', 'export DB_PASSWORD="[redacted]"'],
    ['{"token": "abc", "n": 1}', '{"token": "[redacted]", "n": 1}'],
    ['Authorization: Digest abc, def\nNext: 1', 'Authorization: [redacted]\nNext: 1'],
    ["api_key: 'k'", "api_key: '[redacted]'"],
  ])('in text that is not JSON: %j', (text, expected) => {
    const notes = new Notes();
    expect(plain.text(text, 'x', notes, 1000).text).toBe(expected);
    expect(notes.list).toHaveLength(1);
  });
});

describe('what is no secret stays as it is', () => {
  it.each([
    { nextPageToken: 'abc', progressToken: 7, max_tokens: 100, author: 'me', passenger: 'x' },
    { text: 'Bearer authentication is basic knowledge; task-list-of-the-day' },
    { password: null, token: false, secret: '' },
    { url: 'https://example.com/a:b@c', mail: 'alice@example.com', at: '2026-11-24T03:52:00.123456Z' },
    { order: '1234567890123456', uuid: '019ab3f0-8c1b-7001-9f3e-5d2c8a417be6', phone: '+49 170 1234567' },
    { code: 'const token = getToken(); if (password === undefined) return null;' },
  ])('%j', (value) => {
    expect(redact(value)).toEqual({ text: JSON.stringify(value), notes: [], truncated: false });
  });

  it('any JSON without a hint of one', () => {
    const value = fc.jsonValue({ stringUnit: fc.constantFrom(...'abcdefgh 😀é') });
    fc.assert(
      fc.property(value, (each) => {
        expect(redact(each).text).toBe(serialise(each));
      }),
    );
  });
});

describe("the operator's own", () => {
  it('names and patterns are redacted, in linear time', () => {
    const redactor = new Redactor({ names: ['Iban'], patterns: [{ kind: 'badge', pattern: '(a+)+b' }] });
    expect(redact({ IBAN: 'NL91ABNA0417164300', text: 'x aaab y' }, redactor)).toEqual({
      text: '{"IBAN":"[redacted]","text":"x [redacted:badge] y"}',
      notes: ['arguments.IBAN:key', 'arguments.text:badge'],
      truncated: false,
    });
    // Takes minutes in a backtracking engine.
    const { text } = redact({ text: 'a'.repeat(20_000) }, redactor);
    expect(text.length).toBeGreaterThan(20_000);
  });

  it('are all there is when the built-in ones are off', () => {
    const redactor = new Redactor({ builtIn: false, names: ['pin'] });
    expect(redact({ password: 'x', pin: 1234 }, redactor).text).toBe('{"password":"x","pin":"[redacted]"}');
  });

  it.each([
    ['a(', 'is no RE2 pattern'],
    ['(?=x)', 'is no RE2 pattern'],
    ['(a)\\1', 'is no RE2 pattern'],
  ])('pattern %s is refused at start', (pattern, message) => {
    expect(() => new Redactor({ patterns: [{ kind: 'x', pattern }] })).toThrow(message);
  });

  it('kind must be a word', () => {
    expect(() => new Redactor({ patterns: [{ kind: 'a b', pattern: 'x' }] })).toThrow('kind must be');
  });
});

describe('hostile text', () => {
  const hints = [
    'eyJ',
    '-----BEGIN ',
    'sk-',
    '://',
    ':',
    '=',
    '"',
    '\\',
    'password',
    'bearer ',
    '4111111111111111',
    '[redacted',
    '@',
    '{',
    '[',
    ' ',
  ];
  it('is redacted without an exception and gives JSON, in whatever order the hints stand', () => {
    const text = fc.array(fc.constantFrom(...hints), { maxLength: 60 }).map((parts) => parts.join(''));
    fc.assert(
      fc.property(text, fc.integer({ min: 64, max: 500 }), (each, maxStringLength) => {
        const { text: kept, notes } = redact({ each }, plain, { ...limits, maxStringLength });
        expect(() => JSON.parse(kept)).not.toThrow();
        expect(notes.length).toBeLessThanOrEqual(maxRedactions);
      }),
      { numRuns: 500 },
    );
  });

  // A pass that goes back over what it has seen would take minutes for each of these.
  it.each([
    'eyJ',
    '-----BEGIN ',
    ':',
    'password=',
    'a:',
    '://a:',
    'bearer ',
    '4',
    '"',
    '{"a":',
    'sk-',
    '\\"password\\":',
  ])(
    'of half a megabyte of %j is searched in one pass',
    (part) => {
      const text = part.repeat(500_000 / part.length);
      expect(plain.text(text, 'x', new Notes(), text.length).text.length).toBeGreaterThan(0);
      expect(redact({ text }).truncated).toBe(true);
    },
    20_000,
  );
});

describe('every field a client fills', () => {
  it('is redacted: names of tools, resources, methods, errors, attributes, the client itself', () => {
    const secret = 'ghp_0123456789abcdefghijklmnopqrstuvwxyz';
    const text = new CallText({}, () => Buffer.alloc(32, 1));
    const begun = text.beginning({
      method: `m ${secret}`,
      common: [text.common({ client_name: secret, session_id: secret })],
      toolName: secret,
      resourceUri: `file:///${secret}`,
      promptName: secret,
      requestId: secret,
      attributes: { note: secret, password: 'x' },
      arguments: { secret },
    });
    const end = text.end(begun, { outcome: 'tool_error', errorMessage: secret, result: { secret } });
    const event = JSON.parse(`{"a":1${begun.text}${end}`) as { redactions: string[] };
    expect(JSON.stringify(event)).not.toContain(secret);
    expect(event.redactions.sort()).toEqual([
      'arguments.secret:key',
      'attributes.note:github_token',
      'attributes.password:key',
      'client_name:github_token',
      'error_message:github_token',
      'method:github_token',
      'prompt_name:github_token',
      'request_id:github_token',
      'resource_uri:github_token',
      'result.secret:key',
      'session_id:github_token',
      'tool_name:github_token',
    ]);
    expect(begun.alone).not.toContain(secret);
  });
});
