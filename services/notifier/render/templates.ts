/** The operator's own words, by mustache, which runs no code. */
import Mustache from 'mustache';
import type { Fact, View } from './view.js';

export interface Templates {
  readonly title?: string | undefined;
  readonly sentence?: string | undefined;
  readonly details?: string | undefined;
}

/** What a template may name; docs/alerts.md lists it. */
export interface TemplateValues {
  readonly state: string;
  readonly title: string;
  readonly sentence: string;
  readonly channel: string;
  readonly level: string;
  readonly count: number;
  readonly group: Readonly<Record<string, string>>;
  readonly alerts: readonly Readonly<Record<string, string>>[];
}

const limits = { title: 150, sentence: 1_000, details: 2_500 } as const;

/**
 * The text of a template. What it gives is words, which the channel escapes like any others, so no value can become
 * markup, `{{{…}}}` included. Throws what mustache throws, or when the result is longer than its place allows.
 */
function renderTemplate(template: string, values: TemplateValues, most: number): string {
  const text = Mustache.render(template, values, undefined, { escape: (each) => String(each) });
  if (text.length > most) throw new Error(`gives ${text.length} characters, and there is room for ${most}`);
  return text;
}

/** The view with the operator's words; a template that fails is reported and leaves the built-in words. */
export function applyTemplates(
  view: View,
  templates: Templates,
  values: TemplateValues,
  failed: (name: string, error: unknown) => void,
): View {
  let result = view;
  for (const name of ['title', 'sentence', 'details'] as const) {
    const template = templates[name];
    if (template === undefined) continue;
    try {
      const text = renderTemplate(template, values, limits[name]);
      if (name === 'details' || text.trim() !== '')
        result = { ...result, [name]: name === 'title' ? text.replace(/\s+/g, ' ') : text };
    } catch (error) {
      failed(name, error);
      const note: Fact = {
        name: 'Note',
        text: `the template ${name} of this channel failed, so these are the built-in words`,
      };
      result = { ...result, facts: [...result.facts, note] };
    }
  }
  return result;
}
