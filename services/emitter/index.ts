/** Public API of @mcp-auditd/emitter. No type of an MCP SDK appears in it. */
export type { Actor, ActorRequest, ActorSource } from './actor.js';
export { type AuditHandle, type AuditOptions, audit } from './audit.js';
export { type Authenticator, apiKeyAuthenticator, type Caller, type Denial } from './proxy/auth.js';
export { type OAuthOptions, oauthAuthenticator } from './proxy/oauth.js';
export { openProxy, type ProxyOptions, type RunningProxy } from './proxy/proxy.js';
export { runWrap, type WrapOptions } from './wrap.js';
