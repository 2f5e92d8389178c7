/** Access tokens for Kafka's OAUTHBEARER by the grant client_credentials (RFC 6749, section 4.4). */
import { z } from 'zod';
import { AuditdError } from '../../schemas/errors.js';

export interface ClientCredentials {
  readonly endpoint: string;
  readonly clientId: string;
  readonly clientSecret: string;
  readonly scope: string | undefined;
}

/** A login waits this long for its token; the brokers wait longer for a login. */
const timeoutMs = 10_000;
const tokenAnswer = z.object({ access_token: z.string().min(1) });

/**
 * Asks for a token. Each login of a connection asks anew, which is as often as tokens run out.
 * @throws AuditdError `kafka_login_refused` with the endpoint's address and its error code, never with the secret.
 */
export async function clientCredentialsToken(client: ClientCredentials): Promise<string> {
  const { endpoint, clientId, clientSecret, scope } = client;
  const refused = (why: string, cause?: unknown) =>
    new AuditdError('kafka_login_refused', `${endpoint} gave no token: ${why}`, { cause });
  // RFC 6749, 2.3.1: both parts form-encoded before they are joined.
  const credentials = Buffer.from(`${encodeURIComponent(clientId)}:${encodeURIComponent(clientSecret)}`);
  const body = new URLSearchParams({ grant_type: 'client_credentials', ...(scope === undefined ? {} : { scope }) });
  let response: Response;
  try {
    response = await fetch(endpoint, {
      method: 'POST',
      headers: { authorization: `Basic ${credentials.toString('base64')}`, accept: 'application/json' },
      body,
      redirect: 'error',
      signal: AbortSignal.timeout(timeoutMs),
    });
  } catch (error) {
    throw refused(((error as Error).cause as Error | undefined)?.message ?? (error as Error).message, error);
  }
  const answer: unknown = await response.json().catch(() => undefined);
  if (!response.ok) {
    const code = (answer as { error?: unknown } | undefined)?.error;
    throw refused(`it answered ${response.status}${typeof code === 'string' ? ` ${code}` : ''}`);
  }
  const token = tokenAnswer.safeParse(answer);
  if (!token.success) throw refused('its answer has no access_token');
  return token.data.access_token;
}
