/**
 * Finds what holds for a call among many scopes: one look-up for each set of fields that scopes name (there are few),
 * whatever the number of scopes.
 */
import { type ScopeField, scopeFields, type ThrottleSignal } from './throttle.js';

/** The fields of a call that a scope may name; '' or absent when the call has none. */
export type ScopedCall = Readonly<Partial<Record<ScopeField, string>>>;

interface Shape<T> {
  readonly fields: readonly ScopeField[];
  readonly entries: Map<string, T[]>;
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
      shape = { fields, entries: new Map() };
      this.#shapes.set(bits, shape);
    }
    const key = keyOf(fields, item.scope);
    const same = shape.entries.get(key);
    if (same === undefined) shape.entries.set(key, [item]);
    else same.push(item);
    this.#size += 1;
  }

  delete(item: T): void {
    const fields = fieldsOf(item.scope);
    const bits = bitsOf(fields);
    const shape = this.#shapes.get(bits);
    const key = keyOf(fields, item.scope);
    const same = shape?.entries.get(key);
    const at = same?.indexOf(item) ?? -1;
    if (shape === undefined || same === undefined || at < 0) return;
    same.splice(at, 1);
    this.#size -= 1;
    if (same.length === 0) shape.entries.delete(key);
    if (shape.entries.size === 0) this.#shapes.delete(bits);
  }

  /** Everything whose scope the call is in. The array is the caller's. */
  match(call: ScopedCall): readonly T[] {
    let found: T[] | undefined;
    for (const { fields, entries } of this.#shapes.values()) {
      const same = entries.get(keyOf(fields, call));
      if (same === undefined) continue;
      if (found === undefined) found = [...same];
      else found.push(...same);
    }
    return found ?? none;
  }
}

const none: readonly never[] = [];

function fieldsOf(scope: ThrottleSignal['scope']): ScopeField[] {
  return scopeFields.filter((field) => scope[field] !== undefined);
}

function bitsOf(fields: readonly ScopeField[]): number {
  return fields.reduce((bits, field) => bits | (1 << scopeFields.indexOf(field)), 0);
}

/** The values of some fields as one text; NUL stands in no value that matters. */
export function keyOf(fields: readonly ScopeField[], values: ScopedCall): string {
  if (fields.length === 1) return values[fields[0] as ScopeField] ?? '';
  let key = '';
  for (const field of fields) key += `${values[field] ?? ''}\0`;
  return key;
}
