/** Channels by their section's type. */
import type { NotifierSection } from '../../schemas/notification.js';
import type { Channel } from './channel.js';
import { makeEmail } from './email.js';
import type { SecretSources } from './secrets.js';
import { makeSlack } from './slack.js';
import { makeWebhook } from './webhook.js';

/** Makes one channel. Throws `configuration_invalid` when a secret of it cannot be read. */
export function makeChannel(name: string, section: NotifierSection, sources: SecretSources): Channel {
  const channel = section.channels[name]!;
  if (channel.type === 'slack') return makeSlack(name, channel, sources);
  if (channel.type === 'email') return makeEmail(name, channel, channel.zone ?? section.zone, sources);
  return makeWebhook(name, channel, sources);
}
