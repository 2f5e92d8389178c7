/** Beginning and ending a session of the dashboard. */

import type { Access, Principal } from './access.js';
import { loginTokenAnswer, loginTokenRequest, sessionAnswer, sessionRequest } from './contract.js';
import { type Route, route } from './routes.js';

export function sessionRoutes(access: Access, version: string, traceUrl: string | undefined): Route[] {
  const told = ({ reader, role, expiresAt }: Principal) => ({
    key: reader.name,
    tenant: reader.tenant,
    role,
    expires_at: expiresAt,
    version,
    trace_url: traceUrl ?? null,
  });
  return [
    route('GET', '/session', 'Who asks', { answer: sessionAnswer, handle: async ({ who }) => told(who) }),
    route('POST', '/session', 'Begins a session, kept in a cookie', {
      role: 'anyone',
      body: sessionRequest,
      answer: sessionAnswer,
      handle: async ({ body, request, reply }) => told(access.begin(body.token, request, reply)),
    }),
    route('DELETE', '/session', 'Ends the session', {
      role: 'anyone',
      status: 204,
      handle: async ({ request, reply }) => access.end(request, reply),
    }),
    route('POST', '/login-tokens', 'Makes a one-time token for the dashboard', {
      body: loginTokenRequest,
      answer: loginTokenAnswer,
      status: 201,
      handle: async ({ body, who }) => {
        // A session that makes itself longer would outlive its end.
        const { token, expiresMs } = access.issue(who.reader, body.respond_key);
        return { token, path: `/#login=${token}`, expires_at: new Date(expiresMs).toISOString() };
      },
    }),
  ];
}
