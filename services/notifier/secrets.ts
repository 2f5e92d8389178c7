/** Secrets of channels: read when a channel is made, kept out of every message. */
import { readFileSync } from 'node:fs';
import { resolve } from 'node:path';
import { AuditdError } from '../../schemas/errors.js';

export interface SecretSources {
  /** Directory that relative file names are seen from. */
  readonly directory: string;
  readonly environment: Readonly<Record<string, string | undefined>>;
}

/**
 * The value of `NAME_file` or `NAME_variable` in a channel's section; undefined when it has neither.
 * Throws `configuration_invalid` when the file or the variable is not there or empty; the value is never part of it.
 */
export function readSecret(
  section: Readonly<Record<string, unknown>>,
  name: string,
  place: string,
  sources: SecretSources,
): string | undefined {
  const file = section[`${name}_file`];
  const variable = section[`${name}_variable`];
  const fail = (what: string): never => {
    throw new AuditdError('configuration_invalid', `${place}: ${what}`);
  };
  if (typeof file === 'string') {
    const path = resolve(sources.directory, file);
    let text = '';
    try {
      text = readFileSync(path, 'utf8').trim();
    } catch (error) {
      fail(`${name}_file: cannot read ${path}: ${(error as NodeJS.ErrnoException).code ?? 'failed'}`);
    }
    return text === '' ? fail(`${name}_file: ${path} is empty`) : text;
  }
  if (typeof variable === 'string') {
    const text = sources.environment[variable]?.trim();
    return text === undefined || text === '' ? fail(`${name}_variable: the variable ${variable} is not set`) : text;
  }
  return undefined;
}

/** The text without any of the secrets, whole or percent-encoded. */
export function withoutSecrets(text: string, secrets: readonly string[]): string {
  let result = text;
  for (const secret of secrets)
    if (secret.length >= 4)
      for (const form of [secret, encodeURIComponent(secret)]) result = result.replaceAll(form, '(hidden)');
  return result;
}
