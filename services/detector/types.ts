/** The rule types. A new one is a file in `types/` and a line here. */
import type { RuleType } from './rule.js';
import { absence } from './types/absence.js';
import { eventCount } from './types/event_count.js';
import { match } from './types/match.js';
import { newValue } from './types/new_value.js';
import { sequenceGap } from './types/sequence_gap.js';
import { temporal, temporalOrdered } from './types/temporal.js';
import { valueCount } from './types/value_count.js';
import { ratio, valueAvg, valueMedian, valuePercentile, valueSum } from './types/values.js';

export const ruleTypes: ReadonlyMap<string, RuleType> = new Map(
  [
    match,
    eventCount,
    valueCount,
    valueSum,
    valueAvg,
    valueMedian,
    valuePercentile,
    ratio,
    newValue,
    temporal,
    temporalOrdered,
    absence,
    sequenceGap,
  ].map((type) => [type.name, type]),
);
