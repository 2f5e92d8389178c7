import { AuditdError, type ErrorCode, isCertificateCode } from '../../schemas/errors.js';

/** What kafkajs hangs on its errors; the name, type and code are its data, the message is for people. */
interface KafkaFault {
  readonly name?: string;
  readonly type?: string;
  readonly code?: string | number;
  readonly message?: string;
  readonly cause?: unknown;
}

const codeOfType: Readonly<Record<string, ErrorCode>> = {
  SASL_AUTHENTICATION_FAILED: 'kafka_login_refused',
  UNSUPPORTED_SASL_MECHANISM: 'kafka_login_refused',
  TOPIC_AUTHORIZATION_FAILED: 'kafka_not_allowed',
  GROUP_AUTHORIZATION_FAILED: 'kafka_not_allowed',
  CLUSTER_AUTHORIZATION_FAILED: 'kafka_not_allowed',
  UNKNOWN_TOPIC_OR_PARTITION: 'kafka_topic_missing',
  INVALID_TOPIC_EXCEPTION: 'kafka_topic_missing',
  MESSAGE_TOO_LARGE: 'record_too_large',
  RECORD_LIST_TOO_LARGE: 'record_too_large',
};

/** The causes of an error, outermost first; kafkajs wraps each fault in "retries exceeded" and the like. */
function chain(error: unknown): KafkaFault[] {
  const faults: KafkaFault[] = [];
  // 8: kafkajs nests three deep; the limit ends a chain that points at itself.
  for (let at = error; at instanceof Error && faults.length < 8; at = at.cause) faults.push(at as KafkaFault);
  return faults;
}

/** True when the fault has this protocol error type anywhere in its causes. */
export function hasType(error: unknown, type: string): boolean {
  return chain(error).some((fault) => fault.type === type);
}

/** The catalogue's error for a fault of kafkajs; `doing` says what was tried, with the brokers or the topic. */
export function kafkaError(error: unknown, doing: string): AuditdError {
  if (error instanceof AuditdError) return error;
  const faults = chain(error);
  const innermost = faults.at(-1)?.message ?? String(error);
  let code: ErrorCode = 'kafka_unreachable';
  for (const fault of faults) {
    if (fault.type !== undefined && codeOfType[fault.type] !== undefined) code = codeOfType[fault.type]!;
    else if (fault.name === 'KafkaJSSASLAuthenticationError') code = 'kafka_login_refused';
    else if (fault.name === 'KafkaJSNotImplemented') code = 'kafka_codec_unknown';
    else if (isCertificateCode(fault.code)) code = 'kafka_certificate_invalid';
  }
  return new AuditdError(code, `${doing}: ${innermost}`, { cause: error });
}
