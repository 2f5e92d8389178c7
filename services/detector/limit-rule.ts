/** The rule that nobody writes: a limit of the engine dropped something. */
import { attributeField } from './fields.js';
import type { Rule } from './rule.js';

const minute = 60e6;

export const limitRule: Rule = {
  id: 'mcp-auditd.limit',
  type: 'match',
  version: '1',
  title: 'The detector reached a limit',
  description:
    'More groups, values, alerts or bytes than the detector keeps. What it dropped is counted; attacks may hide in it.',
  level: 'high',
  tags: ['attack.t1562'],
  references: [],
  runbook:
    'limit `groups`: a rule has more groups than its max_keys; look for a flood of fresh names, raise max_keys, or group by less. `values`: one group has more distinct values than are kept. `alerts`: a rule fired too often in one minute; its selection is too wide. `bytes`: the rules together need more memory than detector.max_bytes.',
  enabled: true,
  dryRun: false,
  roles: [
    {
      name: 'limit',
      expression: { op: 'constant', value: false },
      groupBy: [attributeField('limit'), attributeField('rule')],
    },
  ],
  groupNames: ['limit', 'rule'],
  latenessMicros: 0,
  options: {},
  realert: { everyMicros: 60 * minute, factor: 2, maxMicros: 24 * 60 * minute },
  resolveAfterMicros: 10 * minute,
  maxKeys: 100_000,
  actions: [],
  tests: [],
  file: '',
  place: { line: 1, column: 1 },
};
