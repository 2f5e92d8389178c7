/** Which time a view is about: a range that ends now, or two times of somebody's choice. All of it is in the address. */
import { ToggleGroup } from 'radix-ui';
import { useRef } from 'react';
import { type Address, ranges, timesOf } from './address.js';
import { dayText } from './text.js';

const hourMs = 3_600_000;

export function Range({ address }: { address: Address }) {
  const dialog = useRef<HTMLDialogElement>(null);
  const chosen = address.range.includes('..');
  const move = (by: number, wider = 0): void => {
    const { from, to } = timesOf(address.range, Date.now());
    const [first, last] = [Date.parse(from), Date.parse(to)];
    const size = last - first;
    address.set({ range: `${first + by * size - wider * size}..${last + by * size + wider * size}` });
  };
  const { from, to } = timesOf(address.range, Date.now());
  return (
    <div className="range" data-range={address.range}>
      <div className="group">
        <button type="button" data-key="[" aria-label="Earlier" title="earlier  [" onClick={() => move(-1)}>
          ‹
        </button>
        <button type="button" data-key="-" aria-label="Twice as long" title="wider  -" onClick={() => move(0, 0.5)}>
          −
        </button>
        <button
          type="button"
          data-key="]"
          aria-label="Later"
          title="later  ]"
          disabled={!chosen}
          onClick={() => move(1)}
        >
          ›
        </button>
      </div>
      <ToggleGroup.Root
        type="single"
        className="group"
        aria-label="Time range"
        value={address.range}
        onValueChange={(range) => range !== '' && address.set({ range })}
      >
        {Object.keys(ranges).map((name) => (
          <ToggleGroup.Item key={name} value={name}>
            {name}
          </ToggleGroup.Item>
        ))}
      </ToggleGroup.Root>
      <button
        type="button"
        className="button"
        aria-pressed={chosen}
        aria-label="Choose two times"
        data-key="."
        onClick={() => dialog.current?.showModal()}
      >
        {chosen ? `${dayText(Date.parse(from))} – ${dayText(Date.parse(to))}` : '…'}
      </button>
      <dialog ref={dialog} aria-labelledby="range-title">
        <h3 id="range-title">From when until when</h3>
        <form
          key={address.range}
          onSubmit={(event) => {
            event.preventDefault();
            const values = new FormData(event.currentTarget);
            const [first, last] = ['from', 'to'].map((name) => new Date(String(values.get(name))).getTime());
            address.set({ range: `${first}..${Math.max(last!, first! + 1_000)}` });
            dialog.current?.close();
          }}
        >
          <label>
            From
            <input type="datetime-local" name="from" step="1" required defaultValue={localText(Date.parse(from))} />
          </label>
          <label>
            Until
            <input type="datetime-local" name="to" step="1" required defaultValue={localText(Date.parse(to))} />
          </label>
          <div className="actions">
            <button type="submit" className="button primary">
              Show
            </button>
            <button type="button" className="button" onClick={() => dialog.current?.close()}>
              Cancel
            </button>
          </div>
        </form>
      </dialog>
    </div>
  );
}

/** As the input wants it: the clock of this place, to the second. */
function localText(ms: number): string {
  return new Date(ms - new Date(ms).getTimezoneOffset() * (hourMs / 60)).toISOString().slice(0, 19);
}
