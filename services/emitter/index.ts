/** Public API of @mcp-auditd/emitter. No type of an MCP SDK appears in it. */
export type { Actor, ActorRequest, ActorSource } from './actor.js';
export { type AuditHandle, type AuditOptions, audit } from './audit.js';
export { runWrap, type WrapOptions } from './wrap.js';
