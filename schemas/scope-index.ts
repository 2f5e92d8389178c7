/**
 * Finds what holds for a call among many scopes: one look-up for each set of fields that scopes name (there are few),
 * whatever the number of scopes.
 */
import { type ScopeField, scopeFields, type ThrottleSignal } from './throttle.js';

/** The fields of a call that a scope may name; '' or absent when the call has none. */
export type ScopedCall = Readonly<Partial<Record<ScopeField, string>>>;

/** Maps in maps, one level for each field; the last level holds the items. */
type Level<T> = Map<string, Level<T> | T[]>;

interface Shape<T> {
  readonly fields: readonly ScopeField[];
  readonly first: Level<T>;
  /** Of a scope without fields: every call is in it. */
  readonly everywhere: T[];
}

export class ScopeIndex<T extends { readonly scope: ThrottleSignal['scope'] }> {
  /** By the bits of the fields they name. */
  readonly #shapes = new Map<number, Shape<T>>();
  #size = 0;

  get size(): number {
    return this.#size;
  }

  add(item: T): void {
    const fields = fieldsOf(item.scope);
    const bits = bitsOf(fields);
    let shape = this.#shapes.get(bits);
    if (shape === undefined) {
      shape = { fields, first: new Map(), everywhere: [] };
      this.#shapes.set(bits, shape);
    }
    this.#size += 1;
    if (fields.length === 0) {
      shape.everywhere.push(item);
      return;
    }
    let level = shape.first;
    for (const [at, field] of fields.entries()) {
      const value = item.scope[field] as string;
      const isLast = at === fields.length - 1;
      let next = level.get(value);
      if (next === undefined) {
        next = isLast ? [] : new Map();
        level.set(value, next);
      }
      if (Array.isArray(next)) next.push(item);
      else level = next;
    }
  }

  delete(item: T): void {
    const fields = fieldsOf(item.scope);
    const bits = bitsOf(fields);
    const shape = this.#shapes.get(bits);
    const items = shape === undefined ? undefined : itemsOf(shape, item.scope);
    const at = items?.indexOf(item) ?? -1;
    if (shape === undefined || items === undefined || at < 0) return;
    items.splice(at, 1);
    this.#size -= 1;
    if (items.length === 0 && fields.length > 0) prune(shape.first, fields, item.scope, 0);
    if (shape.first.size === 0 && shape.everywhere.length === 0) this.#shapes.delete(bits);
  }

  /** Everything whose scope the call is in. Not to be kept: it may be the index's own. */
  match(call: ScopedCall): readonly T[] {
    let found: readonly T[] = none;
    for (const shape of this.#shapes.values()) {
      const items = itemsOf(shape, call);
      if (items === undefined || items.length === 0) continue;
      found = found.length === 0 ? items : [...found, ...items];
    }
    return found;
  }
}

const none: readonly never[] = [];

function itemsOf<T>({ fields, first, everywhere }: Shape<T>, values: ScopedCall): T[] | undefined {
  if (fields.length === 0) return everywhere;
  let level: Level<T> | T[] | undefined = first;
  for (const field of fields) {
    level = (level as Level<T>).get(values[field] ?? '');
    if (level === undefined) return undefined;
  }
  return level as T[];
}

/** Takes away the levels that lead to nothing any more. */
function prune<T>(level: Level<T>, fields: readonly ScopeField[], values: ScopedCall, at: number): void {
  const value = values[fields[at] as ScopeField] ?? '';
  const next = level.get(value);
  if (next instanceof Map) prune(next, fields, values, at + 1);
  if (next === undefined || (Array.isArray(next) ? next.length : next.size) === 0) level.delete(value);
}

function fieldsOf(scope: ThrottleSignal['scope']): ScopeField[] {
  return scopeFields.filter((field) => scope[field] !== undefined);
}

function bitsOf(fields: readonly ScopeField[]): number {
  return fields.reduce((bits, field) => bits | (1 << scopeFields.indexOf(field)), 0);
}
