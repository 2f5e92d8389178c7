import type { Logger } from 'pino';
import type { Configuration } from '../../schemas/configuration.js';
import { ensureKeys, type Keys, openKeys } from '../access/keys.js';

/** The keys that this process knows: those of `access.keys_file`, else those of the data directory, made where missing. */
export async function openAccess(configuration: Configuration, data: string, log: Logger): Promise<Keys> {
  const onError = (error: unknown): void => log.error({ err: error }, 'the keys could not be read again');
  const { keys_file: file } = configuration.access;
  if (file !== undefined) return openKeys(data, { file, onError });
  await ensureKeys(data);
  return openKeys(data, { onError });
}
