/** docker-compose.yml, with its anchors resolved. */
import { readFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { parse } from 'yaml';

export const root = resolve(import.meta.dirname, '..', '..');

interface SecretUse {
  readonly source: string;
  readonly target: string;
}

export interface Service {
  readonly image: string;
  readonly command?: readonly string[];
  readonly entrypoint?: readonly string[];
  readonly environment?: Readonly<Record<string, string>>;
  readonly ports?: readonly string[];
  readonly secrets?: readonly (string | SecretUse)[];
  readonly networks?: readonly string[];
  readonly volumes?: readonly string[];
  readonly depends_on?: Readonly<Record<string, { readonly condition: string }>>;
  readonly healthcheck?: { readonly test: readonly string[] };
  readonly read_only?: boolean;
  readonly cap_drop?: readonly string[];
  readonly security_opt?: readonly string[];
  readonly mem_limit?: string;
  readonly stop_grace_period?: string;
}

export interface Compose {
  readonly services: Readonly<Record<string, Service>>;
  readonly secrets: Readonly<Record<string, { readonly file: string }>>;
  readonly networks: Readonly<Record<string, { readonly internal?: boolean } | null>>;
}

export function readCompose(): Compose {
  return parse(readFileSync(join(root, 'docker-compose.yml'), 'utf8'), { merge: true }) as Compose;
}

/** Where a service's secrets lie, by their path in its container. */
export function secretsOf(compose: Compose, name: string, secretsDirectory: string): Map<string, string> {
  const uses = compose.services[name]?.secrets ?? [];
  return new Map(
    uses.map((use) => {
      const { source, target } = typeof use === 'string' ? { source: use, target: use } : use;
      const file = compose.secrets[source]!.file.replace('deploy/secrets', secretsDirectory);
      return [target.startsWith('/') ? target : `/run/secrets/${target}`, file];
    }),
  );
}
