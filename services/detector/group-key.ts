/** One text for the values of a group's fields, and back. Values are anybody's text: no two groups share a key. */

/** One value is its own key; of several each but the last goes with its length before it. */
export function groupKey(values: readonly string[]): string {
  if (values.length <= 1) return values[0] ?? '';
  let key = '';
  for (let index = 0; index < values.length - 1; index++) {
    const value = values[index] as string;
    key += `${value.length}:${value}`;
  }
  return key + (values[values.length - 1] as string);
}

/** @param count How many values the key was made of. */
export function groupValues(key: string, count: number): string[] {
  if (count === 0) return [];
  const values: string[] = [];
  let at = 0;
  for (let index = 0; index < count - 1; index++) {
    const colon = key.indexOf(':', at);
    const start = colon + 1;
    at = start + Number(key.slice(at, colon));
    values.push(key.slice(start, at));
  }
  return [...values, key.slice(at)];
}
