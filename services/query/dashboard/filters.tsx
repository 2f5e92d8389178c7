/** Filters in the address, typed with help: fields first, then the values that they have in this time. */
import { useState } from 'react';
import type { Groups, SqlSchema } from '../api/contract.js';
import { type Address, timesOf } from './address.js';
import { useAnswer } from './ask.js';
import { plain } from './text.js';

/** Fields of a call, as the store names them; asked for once they are wanted. */
export function useFields(wanted: boolean): readonly string[] {
  const schema = useAnswer<SqlSchema>(
    wanted ? '/sql/schema' : undefined,
    undefined,
    undefined,
    Number.POSITIVE_INFINITY,
  );
  return schema.data?.tables.find(({ name }) => name === 'calls')?.columns ?? [];
}

const begun = /^([a-z_]+(?:\.[^=!~<>]+)?)(!=|=)(.*)$/s;

function useSuggestions(text: string, address: Address, wanted: boolean): readonly string[] {
  const fields = useFields(wanted);
  const [, field = '', sign = ''] = begun.exec(text) ?? [];
  const valued = fields.includes(field) || field.startsWith('attributes.');
  // Whole minutes: what is typed meanwhile is answered from what was answered.
  const times = timesOf(address.range, Math.ceil(Date.now() / 60_000) * 60_000);
  const found = useAnswer<Groups>(
    wanted && valued ? '/groups' : undefined,
    { ...times, filter: address.filters, by: field, limit: 20 },
    undefined,
    60_000,
  );
  if (!valued) return fields.map((each) => `${each}=`);
  return (found.data?.groups ?? []).map(({ value }) => `${field}${sign}${value.slice(0, 200)}`);
}

export function Filters({ address }: { address: Address }) {
  const [text, setText] = useState('');
  const [wanted, setWanted] = useState(false);
  const suggestions = useSuggestions(text, address, wanted);
  const add = (typed: string): void => {
    const written = typed.trim();
    if (written === '') return;
    address.set({ filter: [...address.filters, /[=~<>]/.test(written) ? written : `arguments~${written}`] });
    setText('');
  };
  return (
    <div className="filters">
      {address.filters.map((filter) => (
        <span className="chip" key={filter}>
          <bdi>{plain(filter, 120)}</bdi>
          <button
            type="button"
            aria-label={`Remove the filter ${plain(filter, 60)}`}
            onClick={() => address.set({ filter: address.filters.filter((each) => each !== filter) })}
          >
            ×
          </button>
        </span>
      ))}
      <form
        onSubmit={(event) => {
          event.preventDefault();
          add(text);
        }}
      >
        <input
          type="text"
          data-search
          list="filter-suggestions"
          aria-label="Add a filter"
          placeholder="Filter: tool=read_file, outcome!=success, arguments~passwd"
          value={text}
          spellCheck={false}
          autoComplete="off"
          onFocus={() => setWanted(true)}
          onChange={(event) => setText(event.target.value)}
        />
        <datalist id="filter-suggestions">
          {suggestions.map((each) => (
            <option key={each} value={each} />
          ))}
        </datalist>
      </form>
    </div>
  );
}
