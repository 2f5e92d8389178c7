import { Asking } from '../../services/query/asking.js';
import { defaultLimits } from '../../services/store/query-errors.js';
import type { Store } from '../../services/store/store.js';
import type { NewRecord, Stream } from '../../services/stream/stream.js';

/** Questions to a store, recorded in `recorded` instead of in a stream. */
export function askingOf(store: Store, recorded: NewRecord[] = []): Asking {
  const append: Stream['append'] = async (_topic, records) =>
    records.map((record) => ({ partition: 0, offset: recorded.push(record) - 1 }));
  const onFault = (error: unknown): never => {
    throw error;
  };
  return new Asking({ store, stream: { append }, limits: defaultLimits, onFault });
}
