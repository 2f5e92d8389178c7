/** Lines of a chart and the moments that are marked in it, as values: before anything of them is drawn. */

export interface Line {
  readonly name: string;
  readonly values: readonly (number | null)[];
  /** One of the classes c0 to c8. */
  readonly color?: number;
  readonly kind?: 'line' | 'area' | 'bars' | 'dashed';
}

/** A moment that matters, drawn as an upright line with its name. */
export interface Mark {
  /** Seconds since the epoch. */
  readonly at: number;
  readonly name: string;
  readonly color?: number;
}

/** A bar of nothing is not drawn. */
export function drawnValues({ values, kind }: Line): readonly (number | null)[] {
  return kind === 'bars' ? values.map((value) => (value === 0 ? null : value)) : values;
}

/** Each line upon those after it, so that the first one drawn is the highest and all stay to be seen. */
export function piled(lines: readonly Line[]): readonly (readonly (number | null)[])[] {
  const result: (readonly (number | null)[])[] = [];
  let below: number[] | undefined;
  for (const line of [...lines].reverse()) {
    const sums: number[] = line.values.map((value, index) => (value ?? 0) + (below?.[index] ?? 0));
    result.unshift(drawnValues({ ...line, values: sums }));
    below = sums;
  }
  return result;
}
