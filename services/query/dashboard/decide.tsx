/** What a person decides, with the reason and the name that go on record. */
import { useQueryClient } from '@tanstack/react-query';
import { type ReactNode, useRef, useState } from 'react';
import type { SessionAnswer } from '../api/contract.js';
import { post, useAnswer } from './ask.js';
import { Trouble } from './parts.js';

export interface Said {
  readonly reason: string;
  readonly author: string;
  /** Of a decision that ends by itself. */
  readonly hours: number;
}

export interface Decision {
  readonly button: string;
  readonly title: string;
  readonly note: string;
  /** Letter that presses the button, anywhere in the view. */
  readonly letter?: string;
  readonly primary?: boolean;
  /** Whether it is asked how long it holds. */
  readonly lasts?: boolean;
  /** What is sent to the API, one after the other. */
  readonly responses: (said: Said) => readonly Readonly<Record<string, unknown>>[];
}

const hours = { '1 hour': 1, '8 hours': 8, '1 day': 24, '7 days': 168 };

/** Whether this session may decide; undefined: not known yet. */
export function useMayDecide(): boolean | undefined {
  const me = useAnswer<SessionAnswer>('/session', {}, undefined, 60_000);
  return me.data === undefined ? undefined : me.data.role !== 'viewer';
}

/** A button and the dialog behind it. */
export function Decide({ decision, children }: { decision: Decision; children?: ReactNode }) {
  const { button, title, note, letter, primary, lasts, responses } = decision;
  const client = useQueryClient();
  const dialog = useRef<HTMLDialogElement>(null);
  const [error, setError] = useState<unknown>(null);
  const [busy, setBusy] = useState(false);
  const decide = async (form: HTMLFormElement): Promise<void> => {
    const values = new FormData(form);
    const text = (name: string): string => String(values.get(name) ?? '');
    setBusy(true);
    setError(null);
    localStorage.setItem('author', text('author'));
    const said = { reason: text('reason'), author: text('author') };
    try {
      for (const response of responses({ ...said, hours: Number(text('hours')) }))
        await post('/responses', { ...said, ...response });
      dialog.current?.close();
      form.reset();
      // The decision reaches the table a moment after the stream.
      for (const ms of [300, 1_000, 2_500]) setTimeout(() => void client.invalidateQueries(), ms);
    } catch (told) {
      setError(told);
    } finally {
      setBusy(false);
    }
  };
  return (
    <>
      <button
        type="button"
        className={primary === true ? 'button primary' : 'button'}
        data-key={letter}
        onClick={() => dialog.current?.showModal()}
      >
        {button}
        {letter !== undefined && <kbd>{letter}</kbd>}
      </button>
      <dialog ref={dialog} aria-label={title}>
        <h3>{title}</h3>
        <p className="dim">{note}</p>
        {children}
        <Trouble error={error} />
        <form
          onSubmit={(event) => {
            event.preventDefault();
            void decide(event.currentTarget);
          }}
        >
          {lasts === true && (
            <label>
              For how long
              <select name="hours">
                {Object.entries(hours).map(([name, value]) => (
                  <option key={name} value={value}>
                    {name}
                  </option>
                ))}
              </select>
            </label>
          )}
          <label>
            Why, for the record
            <textarea name="reason" rows={3} maxLength={2000} />
          </label>
          <label>
            Your name
            <input type="text" name="author" maxLength={256} defaultValue={localStorage.getItem('author') ?? ''} />
          </label>
          <div className="actions">
            <button type="submit" className="button primary" disabled={busy}>
              {button}
            </button>
            <button type="button" className="button" onClick={() => dialog.current?.close()}>
              Cancel
            </button>
          </div>
        </form>
      </dialog>
    </>
  );
}

export function liftOf(signals: readonly string[], letter?: string): Decision {
  return {
    button: 'Lift',
    title: 'Let the caller through again',
    note: 'What this throttle holds back goes through from now on.',
    ...(letter === undefined ? {} : { letter }),
    responses: () => signals.map((target) => ({ kind: 'lift', target })),
  };
}
