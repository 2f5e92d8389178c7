/**
 * The catalogue of errors that a user can meet: a stable code, what it means and how to mend it. A test holds it
 * against docs/errors.md in both directions.
 */
export const errorCatalogue = {
  data_directory_held: {
    retriable: false,
    mend: 'Stop the process that is named, or give another directory with --data.',
  },
  data_directory_newer: {
    retriable: false,
    mend: 'The data directory was written by a newer mcp-auditd: run that version or a later one.',
  },
  data_directory_unknown: {
    retriable: false,
    mend: 'Give a directory with --data or MCP_AUDITD_DATA.',
  },
  record_too_large: {
    retriable: false,
    mend: 'Send smaller records; arguments and results can be cut with the limits of the emitter.',
  },
  segments_full: {
    retriable: true,
    mend: 'Wait until records were delivered, free disk space, or raise the limit that is named.',
  },
  store_unavailable: {
    retriable: true,
    mend: 'Look at free disk space and memory; the same action is tried again.',
  },
  store_refused_block: {
    retriable: false,
    mend: 'The store cannot take this block as it is: bring store and program to the same version.',
  },
  store_inconsistent: {
    retriable: false,
    mend: 'The table holds other rows of this range than were inserted: find out who else writes to it.',
  },
  store_fenced: {
    retriable: false,
    mend: 'Another ingestor has taken the partition; this one joins its group again by itself.',
  },
  store_overloaded: {
    retriable: true,
    mend: 'ClickHouse cannot keep up; inserts go on after a pause. If it lasts, look at its parts, memory and running queries.',
  },
  clickhouse_unreachable: {
    retriable: true,
    mend: 'Check store.clickhouse.url, the network and that ClickHouse runs: mcp-auditd doctor.',
  },
  clickhouse_login_refused: {
    retriable: false,
    mend: 'Check the user and the password of store.clickhouse.',
  },
  clickhouse_not_allowed: {
    retriable: false,
    mend: 'Give the user of store.clickhouse the privileges that docs/cluster.md lists for the role.',
  },
  clickhouse_certificate_invalid: {
    retriable: false,
    mend: "Renew the server's certificate, or trust its authority with store.clickhouse.ca.",
  },
  clickhouse_too_old: {
    retriable: false,
    mend: 'Run ClickHouse of the version that is named, or a later one.',
  },
  query_refused: {
    retriable: false,
    mend: 'Send one read-only statement without SETTINGS, FORMAT, INTO OUTFILE and functions that reach outside the store.',
  },
  query_failed: {
    retriable: false,
    mend: 'Mend the SQL as the message says.',
  },
  query_limit: {
    retriable: false,
    mend: 'Ask for less (a shorter time, fewer columns, a LIMIT), or raise the limit that is named.',
  },
  query_busy: {
    retriable: true,
    mend: 'Wait until other queries have ended.',
  },
  query_aborted: {
    retriable: false,
    mend: 'The caller ended the query.',
  },
  secret_file_readable: {
    retriable: false,
    mend: 'Run chmod 600 on the file that is named, and replace the key if others may have read it.',
  },
  keys_file_invalid: {
    retriable: false,
    mend: 'Mend the entry of keys.json that is named, or delete keys.json and start again.',
  },
  keys_file_busy: {
    retriable: true,
    mend: 'Wait for the process that is named, or end it.',
  },
  key_name_taken: {
    retriable: false,
    mend: 'Choose another name, or revoke that key first: mcp-auditd keys revoke NAME.',
  },
  key_name_invalid: {
    retriable: false,
    mend: 'Use 1 to 256 letters, digits or any of _ . @ : - in names of keys and tenants.',
  },
  key_unknown: {
    retriable: false,
    mend: 'mcp-auditd keys list shows the names.',
  },
  key_tenant_wrong: {
    retriable: false,
    mend: 'Use an admin key of that tenant, or one of every tenant: mcp-auditd keys create NAME --role admin --tenant TENANT.',
  },
  key_last_admin: {
    retriable: false,
    mend: 'Make another admin key first; mcp-auditd keys revoke NAME, on the machine that has the keys, takes the last one too.',
  },
  keys_file_fixed: {
    retriable: false,
    mend: 'Change the keys where the file comes from: mcp-auditd keys create and revoke with its directory as --data.',
  },
  keys_limit_reached: {
    retriable: false,
    mend: 'Revoke keys that nobody uses: mcp-auditd keys revoke NAME.',
  },
  key_missing: {
    retriable: false,
    mend: 'Send the header authorization: Bearer KEY; mcp-auditd keys create makes a key.',
  },
  key_role_wrong: {
    retriable: false,
    mend: 'Use a key of the role that is named: mcp-auditd keys create --role ROLE.',
  },
  content_type_wrong: {
    retriable: false,
    mend: 'Send content-type: application/x-ndjson with one event a line, and no content-encoding or gzip.',
  },
  body_invalid: {
    retriable: false,
    mend: 'Send one JSON object a line; with content-encoding: gzip, a complete gzip stream.',
  },
  body_too_large: {
    retriable: false,
    mend: 'Send smaller requests: the limit that was passed is named.',
  },
  body_too_slow: {
    retriable: true,
    mend: 'Send the whole request within the time that is named.',
  },
  line_too_long: {
    retriable: false,
    mend: 'Truncate bodies in the emitter, and set truncated.',
  },
  rate_limited: {
    retriable: true,
    mend: 'Send again after the seconds in Retry-After, or raise gateway.eventsPerSecond.',
  },
  gateway_busy: {
    retriable: true,
    mend: 'Send again after the seconds in Retry-After.',
  },
  stream_unwritable: {
    retriable: true,
    mend: 'Look for a full disk or an unreachable broker: mcp-auditd status. Then send again.',
  },
  configuration_invalid: {
    retriable: false,
    mend: 'Mend what is named; mcp-auditd config schema and docs/configuration.md list every key.',
  },
  address_taken: {
    retriable: true,
    mend: 'Stop what listens there, or give another address with --listen; port 0 takes a free one.',
  },
  daemon_unreachable: {
    retriable: true,
    mend: 'See what mcp-auditd status says; start the daemon with mcp-auditd up.',
  },
  daemon_needed: {
    retriable: false,
    mend: 'Start it with mcp-auditd up.',
  },
  request_invalid: {
    retriable: false,
    mend: 'Mend the part of the request that is named.',
  },
  tail_clients_limit: {
    retriable: true,
    mend: 'Close another tail first.',
  },
  rules_invalid: {
    retriable: false,
    mend: 'Mend what the message names; docs/rules.md and mcp-auditd rules schema say what there is.',
  },
  argument_invalid: {
    retriable: false,
    mend: 'mcp-auditd COMMAND --help shows what it takes.',
  },
  package_missing: {
    retriable: false,
    mend: 'Run npm ci in the clone.',
  },
  stream_overloaded: {
    retriable: true,
    mend: 'Send again after a moment; if it lasts, the disk under the data directory is too slow for the load.',
  },
  stream_partitions_fixed: {
    retriable: false,
    mend: 'Configure the number of partitions the stream was made with, or begin with an empty data directory.',
  },
  dead_letter_unknown: {
    retriable: false,
    mend: 'mcp-auditd dead list shows the ids.',
  },
  kafka_unreachable: {
    retriable: true,
    mend: 'Check stream.kafka.brokers, the network and that the brokers run: mcp-auditd doctor.',
  },
  kafka_login_refused: {
    retriable: false,
    mend: 'Check the mechanism, the user and the password of stream.kafka.sasl.',
  },
  kafka_certificate_invalid: {
    retriable: false,
    mend: "Renew the broker's certificate, or trust its authority with stream.kafka.ssl.ca.",
  },
  kafka_not_allowed: {
    retriable: false,
    mend: 'Give the user of stream.kafka.sasl the ACLs that docs/cluster.md lists for the role.',
  },
  kafka_topic_missing: {
    retriable: false,
    mend: 'Run mcp-auditd topics create, or mend the topic prefix of stream.kafka.',
  },
  kafka_partitions_too_few: {
    retriable: false,
    mend: 'Add partitions with kafka-topics.sh --alter while no emitter sends, or configure fewer.',
  },
  kafka_codec_unknown: {
    retriable: false,
    mend: 'Let producers compress with zstd or gzip, or not at all; snappy and lz4 cannot be read.',
  },
  kafka_offsets_lost: {
    retriable: false,
    mend: 'The topic was made anew under a store that remembers the old one: use a new topic prefix or an empty store.',
  },
  kafka_consumer_stuck: {
    retriable: true,
    mend: 'Start the role again; if it lasts, look at the broker and at the log of the role.',
  },
  not_found: {
    retriable: false,
    mend: 'Look at the address or the id; GET /api/v1/openapi.json lists what there is.',
  },
  cursor_invalid: {
    retriable: false,
    mend: 'Begin the list again without a cursor.',
  },
  login_token_spent: {
    retriable: false,
    mend: 'mcp-auditd dashboard prints a new link; a key with the role read opens the dashboard too.',
  },
  origin_wrong: {
    retriable: false,
    mend: 'Open the dashboard at its own address; other programs send a key as Bearer.',
  },
} as const satisfies Record<string, { retriable: boolean; mend: string }>;

export type ErrorCode = keyof typeof errorCatalogue;

/** Node's TLS codes: https://nodejs.org/docs/latest-v20.x/api/tls.html#x509-certificate-error-codes. */
const certificateCodes = /^(CERT_|ERR_TLS_|UNABLE_TO_|SELF_SIGNED_|DEPTH_ZERO_|ERR_SSL_|EPROTO$|HOSTNAME_MISMATCH)/;

/** True for the `code` of an error of Node that says that the other side's certificate is not good. */
export function isCertificateCode(code: unknown): boolean {
  return typeof code === 'string' && certificateCodes.test(code);
}

/** An error with a stable code. `retriable` says as data whether the same action may succeed later. */
export class AuditdError extends Error {
  readonly code: ErrorCode;
  readonly retriable: boolean;
  readonly mend: string;

  constructor(code: ErrorCode, message: string, options?: { cause?: unknown }) {
    super(message, options);
    this.name = 'AuditdError';
    this.code = code;
    this.retriable = errorCatalogue[code].retriable;
    this.mend = errorCatalogue[code].mend;
  }
}
