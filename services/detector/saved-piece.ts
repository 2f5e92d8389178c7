/** The engine's state in pieces, as checkpoints have it. What changes its meaning changes the checkpoint's format. */
import type { SavedGroup } from './groups.js';
import type { SavedOutlet } from './outlet.js';

export type SavedPiece =
  | ({
      readonly of: 'engine';
      readonly rules: readonly (readonly [id: string, version: string])[];
      readonly clock: number;
      readonly swept: number;
      readonly records: number;
      readonly ids: unknown;
    } & SavedOutlet)
  | {
      readonly of: 'share';
      readonly id: string;
      readonly version: string;
      readonly tenant: string;
      readonly watchedSince: number;
      readonly groups: unknown;
      readonly episodes: unknown;
    }
  | { readonly of: 'groups'; readonly saved: readonly SavedGroup[] };
