import type { Actor, ActorSource, Actors } from './actor.js';
import type { CommonFields, Recorder } from './recorder.js';

/** A name and a version that a client or a server gave itself. */
export interface Implementation {
  readonly name: string;
  readonly version: string;
}

/** What is known of a connection before its first message. */
export interface ConnectionOptions {
  /** stdio, http, sse, memory or other. */
  readonly transport: string;
  readonly actor?: ActorSource | undefined;
  /** Name and version the server gave itself, where they are known before an initialize. */
  readonly server: Implementation;
  /** Where each request is a connection of its own and none has a session: what they have in common. */
  readonly sessionless?: { readonly fields: PartyFields; readonly actors: Actors };
}

/** Who calls whom over what: what the events of a connection have in common. */
export interface Parties {
  /** Undefined where the server asks and the client answers. */
  readonly actor: Actor | undefined;
  readonly clientId: string;
  readonly client: Implementation;
  readonly server: Implementation;
  readonly sessionId: string;
  readonly protocolVersion: string;
  readonly transport: string;
}

/** Writes the parties of a connection as fields, anew only when one of them has changed. */
export class PartyFields {
  readonly #recorder: Recorder;
  #parties: Parties | undefined;
  #fields: readonly CommonFields[] = [];

  constructor(recorder: Recorder) {
    this.#recorder = recorder;
  }

  of(parties: Parties): readonly CommonFields[] {
    if (this.#parties !== undefined && areSame(this.#parties, parties)) return this.#fields;
    this.#parties = parties;
    const { actor, clientId, client, server, sessionId, protocolVersion, transport } = parties;
    const ofActor =
      actor === undefined
        ? {}
        : {
            actor_id: actor.id,
            actor_type: actor.type ?? 'unknown',
            ...(actor.verified === true ? { actor_verified: true } : {}),
            client_id: clientId,
          };
    const fields = this.#recorder.common({
      ...ofActor,
      client_name: client.name,
      client_version: client.version,
      session_id: sessionId,
      server_name: server.name,
      server_version: server.version,
      protocol_version: protocolVersion,
      transport,
    });
    this.#fields = [fields];
    return this.#fields;
  }
}

function areSame(a: Parties, b: Parties): boolean {
  return (
    isSameActor(a.actor, b.actor) &&
    a.clientId === b.clientId &&
    isSameImplementation(a.client, b.client) &&
    isSameImplementation(a.server, b.server) &&
    a.sessionId === b.sessionId &&
    a.protocolVersion === b.protocolVersion &&
    a.transport === b.transport
  );
}

function isSameImplementation(a: Implementation, b: Implementation): boolean {
  return a === b || (a.name === b.name && a.version === b.version);
}

function isSameActor(a: Actor | undefined, b: Actor | undefined): boolean {
  if (a === b) return true;
  return a !== undefined && b !== undefined && a.id === b.id && a.type === b.type && a.verified === b.verified;
}
