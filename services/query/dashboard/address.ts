/** The address is the state: range and filters are in it, so that a view can be shared and the back button works. */
import { useCallback, useMemo } from 'react';
import { useLocation, useSearch } from 'wouter';

export const ranges = {
  '15m': 900,
  '1h': 3_600,
  '6h': 21_600,
  '24h': 86_400,
  '7d': 604_800,
  '30d': 2_592_000,
} as const;
export type RangeName = keyof typeof ranges;

export interface Address {
  /** A name of `ranges`, or two times joined by `..`. */
  readonly range: string;
  readonly filters: readonly string[];
  readonly get: (name: string) => string | undefined;
  /** Changes parts of the address; undefined takes a part away. */
  readonly set: (changes: Readonly<Record<string, string | readonly string[] | undefined>>, replace?: boolean) => void;
}

export function useAddress(usual: RangeName = '1h'): Address {
  const search = useSearch();
  const [path, go] = useLocation();
  const parameters = useMemo(() => new URLSearchParams(search), [search]);
  const set = useCallback<Address['set']>(
    (changes, replace = false) => {
      const next = new URLSearchParams(search);
      for (const [name, value] of Object.entries(changes)) {
        next.delete(name);
        for (const each of value === undefined ? [] : typeof value === 'string' ? [value] : value)
          next.append(name, each);
      }
      const text = next.toString();
      go(`${path}${text === '' ? '' : `?${text}`}`, { replace });
    },
    [search, path, go],
  );
  return {
    range: parameters.get('range') ?? usual,
    filters: useMemo(() => parameters.getAll('filter'), [parameters]),
    get: (name) => parameters.get(name) ?? undefined,
    set,
  };
}

/** The times of a range; those of a name end now, on a whole step so that equal questions have equal answers. */
export function timesOf(range: string, now: number): { from: string; to: string } {
  const [first, second] = range.split('..');
  if (first !== undefined && second !== undefined) {
    const from = Number(first);
    const to = Number(second);
    if (to > from) return { from: new Date(from).toISOString(), to: new Date(to).toISOString() };
  }
  const seconds = ranges[(range in ranges ? range : '1h') as RangeName];
  const to = Math.ceil(now / 5_000) * 5_000;
  return { from: new Date(to - seconds * 1000).toISOString(), to: new Date(to).toISOString() };
}

/** An address with filters, for links. */
export function linkTo(path: string, filters: readonly string[], range?: string): string {
  const search = new URLSearchParams();
  if (range !== undefined) search.set('range', range);
  for (const filter of filters) search.append('filter', filter);
  const text = search.toString();
  return `${path}${text === '' ? '' : `?${text}`}`;
}
