/** The sections `limits` and `throttler` of the configuration. */
import { z } from 'zod';
import { limitShape } from './rule.js';
import { type ScopeName, scopeNames } from './throttle.js';

const scopeName = z.enum(Object.keys(scopeNames) as [ScopeName, ...ScopeName[]]);
const value = z.string().min(1).max(256);
const values = z.array(value).max(100);

export const fixedLimitSchema = z
  .strictObject({
    actor: value.optional().describe('Only calls of this actor.'),
    session: value.optional().describe('Only calls of this session.'),
    client: value.optional().describe('Only calls of this client id.'),
    server: value.optional().describe('Only calls of this server.'),
    tool: value.optional().describe('Only calls of this tool.'),
    each: z
      .union([scopeName, z.array(scopeName).min(1)])
      .optional()
      .describe('Each value of these has a limit of its own: each: actor is a limit for every actor.'),
    ...limitShape,
    tenant: value.default('default').describe('Whose calls.'),
    dry_run: z.boolean().default(false).describe('Recorded only: nobody is held back.'),
    message: z.string().max(500).optional().describe('For the caller, in a sentence.'),
  })
  .refine(
    ({ rate, delay, block }) => rate !== undefined || delay !== undefined || block === true,
    'expected a rate, a delay or block: true',
  );

export const limitsSection = z
  .array(fixedLimitSchema)
  .max(1_000)
  .default([])
  .meta({ 'x-file-only': true })
  .describe('Limits that hold without any rule, in the words of a rule’s throttle action.');

export const throttlerSection = z.strictObject({
  protect: z
    .strictObject({
      actors: values.default([]).describe('Never held back.'),
      tools: values.default([]).describe('Never held back.'),
      servers: values.default([]).describe('Never held back.'),
    })
    .prefault({})
    .describe('Whom and what no signal of a rule holds back.'),
  most_actors: z
    .int()
    .min(1)
    .default(20)
    .describe(
      'Actors of a tenant that rules hold back at once; further ones are on record as dry runs until a person decides.',
    ),
  public_keys: z
    .string()
    .regex(/-----BEGIN PUBLIC KEY-----/, 'expected public keys as PEM text, or their file in public_keys_file')
    .meta({ contentMediaType: 'application/x-pem-file' })
    .optional()
    .describe(
      'Ed25519 public keys (SPKI, PEM) whose signals a gateway hands out and a throttler goes on with, besides those of keys/throttle.pub in the data directory. Their file is read again while the process runs.',
    ),
  signing_key: z
    .string()
    .min(1)
    .meta({ writeOnly: true })
    .optional()
    .describe(
      'Ed25519 private key (PKCS #8, PEM) that signs signals. Default: keys/throttle.key in the data directory, made where missing. Its file is read again while the process runs.',
    ),
});
