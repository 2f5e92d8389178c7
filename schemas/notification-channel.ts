/** What every channel's section has, whatever its type. */
import { z } from 'zod';
import { durationPattern } from './duration.js';

export const durationText = () => z.string().regex(durationPattern, 'expected a duration such as 30s, 5m or 1h');

/** A secret never stands in the configuration: a file or a variable holds it. */
export function secretKeys<Name extends string>(name: Name, what: string) {
  return {
    [`${name}_file`]: z.string().min(1).optional().describe(`File that holds ${what}.`),
    [`${name}_variable`]: z
      .string()
      .regex(/^[A-Za-z_][A-Za-z0-9_]*$/, 'expected the name of an environment variable')
      .optional()
      .describe(`Environment variable that holds ${what}.`),
  } as Record<`${Name}_file` | `${Name}_variable`, z.ZodOptional<z.ZodString>>;
}

/** Adds an issue unless exactly one (or, where it is optional, at most one) of a secret's two keys is there. */
export function checkSecret(
  context: { readonly value: object; readonly issues: unknown[] },
  name: string,
  required: boolean,
): void {
  const value = context.value as Record<string, unknown>;
  const given = [`${name}_file`, `${name}_variable`].filter((key) => value[key] !== undefined);
  const refuse = (message: string): void => {
    context.issues.push({ code: 'custom', message, input: undefined, path: [] });
  };
  if (given.length > 1) refuse(`expected ${given.join(' or ')}, not both`);
  if (given.length === 0 && required) refuse(`expected ${name}_file or ${name}_variable`);
}

const templateText = z.string().max(16_384);

export const channelKeys = {
  zone: z.string().optional().describe('Time zone of times that the reader’s program does not convert itself.'),
  send_resolved: z.boolean().default(true).describe('Whether to tell that an alert is over.'),
  groups_per_minute: z
    .int()
    .min(1)
    .default(10)
    .describe('Conversations that may open in a minute; further alerts join one that counts them by rule.'),
  fallback: z.string().optional().describe('Channel to use instead when this one refuses or stays away.'),
  fallback_after: durationText().default('5m').describe('How long a failing delivery waits for its own channel.'),
  give_up_after: durationText()
    .default('4h')
    .describe('How long a delivery is tried; then an alert is raised elsewhere.'),
  templates: z
    .strictObject({
      title: templateText.optional().describe('One line: the heading, and the subject of a mail.'),
      sentence: templateText.optional().describe('What happened, in a sentence.'),
      details: templateText.optional().describe('Further lines, after the facts.'),
    })
    .default({})
    .describe('Mustache templates instead of the built-in words; docs/alerts.md lists what they may use.'),
} as const;
