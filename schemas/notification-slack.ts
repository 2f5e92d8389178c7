/** The section of a Slack channel. */
import { z } from 'zod';
import { channelKeys, checkSecret, secretKeys } from './notification-channel.js';

export const slackSection = z
  .strictObject({
    type: z.literal('slack'),
    ...channelKeys,
    ...secretKeys('token', "the bot's token (xoxb-…)"),
    ...secretKeys('webhook', 'the URL of an incoming webhook, which is a secret'),
    channel: z
      .string()
      .regex(
        /^[CGD][A-Z0-9]{7,}$/,
        'expected the id of a channel such as C0123456789 (About, at the end of its details)',
      )
      .optional()
      .describe('Id of the channel that the bot posts to. The bot must be a member, or have chat:write.public.'),
    api_url: z
      .url({ protocol: /^https?$/ })
      .default('https://slack.com/api/')
      .describe("Slack's Web API, or a proxy before it."),
  })
  .check((context) => {
    const { value } = context;
    const bot = value.token_file ?? value.token_variable;
    const webhook = value.webhook_file ?? value.webhook_variable;
    const refuse = (message: string): void => {
      context.issues.push({ code: 'custom', message, input: undefined, path: [] });
    };
    if ((bot === undefined) === (webhook === undefined))
      refuse('expected token_file or token_variable with a bot’s token, or webhook_file or webhook_variable');
    checkSecret(context, 'token', false);
    checkSecret(context, 'webhook', false);
    if (bot !== undefined && value.channel === undefined) refuse('expected channel, the id of the channel to post to');
    if (webhook !== undefined && value.channel !== undefined)
      refuse('channel belongs to a bot: an incoming webhook posts to the channel it was made for');
  })
  .describe('Slack, as a bot (threads, updates, look-up after an ambiguous error) or by an incoming webhook.');

export type SlackSection = z.infer<typeof slackSection>;
