/** What routes, silences and groups know of an alert. */
import type { Alert } from '../../schemas/alert.js';
import type { Labels } from '../../schemas/matcher.js';

/**
 * Labels of an alert: `tenant`, `rule`, `level`, `tag` (several), and each field of its group under its own name and,
 * where no other label has it, without `_id` or `_name`: `actor_id` is `actor` as well.
 */
export function labelsOf(alert: Alert): Labels {
  const labels = new Map<string, readonly string[]>();
  for (const [field, value] of Object.entries(alert.group)) labels.set(field, [value]);
  for (const [field, value] of Object.entries(alert.group)) {
    const short = field.replace(/_(id|name)$/, '');
    if (!labels.has(short)) labels.set(short, [value]);
  }
  labels.set('tenant', [alert.tenant]);
  labels.set('rule', [alert.rule_id]);
  labels.set('level', [alert.level]);
  labels.set('tag', alert.tags);
  return labels;
}

/** One text for a label, for grouping; '' when the alert has no such label. */
export function labelText(labels: Labels, name: string): string {
  return (labels.get(name) ?? []).join(',');
}
