/** The keys of the form that runs on several machines: Kafka as the stream, a ClickHouse server as the store. */
import { z } from 'zod';

/** A value that is never shown: `config show`, messages and the log leave it out. A file may hold it (`NAME_file`). */
const secret = () => z.string().min(1).meta({ writeOnly: true });

/** PEM text. A file may hold it (`NAME_file`). */
const pem = (what: string) =>
  z
    .string()
    .regex(/-----BEGIN [A-Z0-9 ]+-----/, `expected ${what} as PEM text, or its file in the key with _file at its end`)
    .meta({ contentMediaType: 'application/x-pem-file' });

const tls = (server: string) =>
  z
    .strictObject({
      enabled: z
        .boolean()
        .default(true)
        .describe('Whether to speak TLS. The section alone says so; false keeps its keys without using them.'),
      ca: pem('certificates')
        .optional()
        .describe(`Authorities that ${server} certificate may come from. Default: those that Node.js knows.`),
      cert: pem('a certificate').optional().describe('Certificate of this client, where mutual TLS is asked for.'),
      key: secret().optional().describe("Private key of this client's certificate, PEM."),
    })
    .refine(
      ({ cert, key }) => (cert === undefined) === (key === undefined),
      'expected cert and key together, or neither',
    );

const sasl = z
  .strictObject({
    mechanism: z
      .enum(['plain', 'scram-sha-256', 'scram-sha-512', 'oauthbearer'])
      .describe('How to log in. plain sends the password itself, so it wants ssl.'),
    username: z.string().min(1).optional().describe('User of plain and scram.'),
    password: secret().optional().describe('Password of plain and scram.'),
    token_file: z
      .string()
      .min(1)
      .optional()
      .describe('oauthbearer: file with the token (a JWT), read anew for each login, as a platform renews it.'),
    token_endpoint: z
      .url({ protocol: /^https?$/ })
      .optional()
      .describe('oauthbearer: where a token is asked for with the grant client_credentials (RFC 6749, 4.4).'),
    token_client_id: z.string().min(1).optional().describe('oauthbearer: client of token_endpoint.'),
    token_client_secret: secret().optional().describe('oauthbearer: secret of that client.'),
    token_scope: z.string().min(1).optional().describe('oauthbearer: scope to ask for.'),
  })
  .check((context) => {
    const { value } = context;
    const oauth = value.mechanism === 'oauthbearer';
    const given = (name: keyof typeof value) => value[name] !== undefined;
    const refuse = (name: string, message: string): void => {
      context.issues.push({ code: 'custom', message, input: undefined, path: [name] });
    };
    for (const name of ['username', 'password'] as const) {
      if (!oauth && !given(name)) refuse(name, `${value.mechanism} needs it`);
      if (oauth && given(name)) refuse(name, 'oauthbearer has none');
    }
    for (const name of [
      'token_file',
      'token_endpoint',
      'token_client_id',
      'token_client_secret',
      'token_scope',
    ] as const)
      if (!oauth && given(name)) refuse(name, `belongs to oauthbearer, and mechanism is ${value.mechanism}`);
    if (oauth && given('token_file') === given('token_endpoint'))
      refuse('token_file', 'oauthbearer needs one of token_file and token_endpoint');
    if (oauth && given('token_endpoint'))
      for (const name of ['token_client_id', 'token_client_secret'] as const)
        if (!given(name)) refuse(name, 'token_endpoint needs it');
  });

/** Whole numbers of at least one. */
const count = () => z.int().min(1);

export const kafkaSection = z
  .strictObject({
    brokers: z
      .array(z.string().regex(/^(\[[0-9a-fA-F:]+\]|[^:\s[\]/]+):\d{1,5}$/, 'expected HOST:PORT, as in kafka-1:9092'))
      .min(1, 'expected at least one HOST:PORT')
      .describe(
        'Some brokers as HOST:PORT; the others are found through them. Required. A variable separates by commas.',
      ),
    client_id: z
      .string()
      .regex(/^[\w.-]{1,128}$/, 'expected 1 to 128 letters, digits or any of . _ -')
      .default('mcp-auditd')
      .describe("Name of this program in the brokers' logs and quotas."),
    topic_prefix: z
      .string()
      .regex(/^[\w.-]{0,128}$/, 'expected at most 128 letters, digits or any of . _ -')
      .default('')
      .describe('Put before the name of every topic and consumer group, so that several installations share brokers.'),
    partitions: count()
      .max(1024)
      .default(4)
      .describe('Partitions of the topic calls, which bound how many ingestors share the work. The others have one.'),
    replication_factor: count()
      .max(16)
      .optional()
      .describe('Copies of each partition. Default: as many as there are brokers, at most 3.'),
    retention_days: count().default(7).describe('Days that the topics keep records.'),
    compression: z.enum(['zstd', 'gzip', 'none']).default('zstd').describe('How batches are compressed.'),
    session_timeout_ms: z
      .int()
      .min(1000)
      .max(300_000)
      .default(10_000)
      .describe('A consumer that is silent for so many milliseconds loses its partitions to the others.'),
    ssl: tls("the brokers'").optional().describe('TLS to the brokers.'),
    sasl: sasl.optional().describe('Login at the brokers.'),
  })
  .describe('Apache Kafka 3.0 or later, or what speaks its protocol.');

export const clickhouseSection = z
  .strictObject({
    url: z
      .url({ protocol: /^https?$/, error: 'expected http://HOST:PORT or https://HOST:PORT' })
      .refine((text) => !URL.canParse(text) || (new URL(text).username === '' && new URL(text).password === ''), {
        error: 'expected no user in it: username and password are keys of their own, and are not shown',
      })
      .describe('HTTP interface of the server. Required.'),
    username: z.string().min(1).default('default').describe('User.'),
    password: secret().optional().describe('Password of the user. Default: none.'),
    database: z
      .string()
      .regex(/^[A-Za-z_]\w{0,63}$/, 'expected a plain name: a letter or _, then letters, digits and _')
      .default('mcp_auditd')
      .describe('Database of the tables; made where it is missing.'),
    cluster: z
      .string()
      .regex(/^[\w.-]{1,128}$/, 'expected the name of a cluster in remote_servers')
      .optional()
      .describe('Cluster whose servers share the tables (ON CLUSTER, ReplicatedMergeTree). Default: one server.'),
    ssl: tls("the server's").optional().describe('Authorities and client certificate for an https URL.'),
  })
  .refine(({ ssl, url }) => ssl?.enabled !== true || !url.startsWith('http:'), {
    error: 'expected an https URL where the section ssl is',
    path: ['url'],
  })
  .describe('A ClickHouse server, 25.3 or later.');
