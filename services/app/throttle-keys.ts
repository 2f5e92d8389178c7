import type { Configuration } from '../../schemas/configuration.js';
import { fileOfValue } from '../../schemas/configuration-sources.js';
import type { GivenKey } from '../access/throttle-key.js';

/** A key of the section `throttler`, with the file to follow where its value came from one. */
export function givenKey(configuration: Configuration, name: 'signing_key' | 'public_keys'): GivenKey | undefined {
  const text = configuration.throttler[name];
  return text === undefined ? undefined : { text, file: fileOfValue(configuration, `throttler.${name}`) };
}
