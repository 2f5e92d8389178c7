/** The editor for SQL: highlighting, completion of tables, columns and functions. */
import { autocompletion, closeBrackets, completionKeymap } from '@codemirror/autocomplete';
import { defaultKeymap, history, historyKeymap } from '@codemirror/commands';
import { StandardSQL, sql } from '@codemirror/lang-sql';
import { HighlightStyle, syntaxHighlighting } from '@codemirror/language';
import { Compartment, EditorState, type Extension } from '@codemirror/state';
import { EditorView, keymap, lineNumbers } from '@codemirror/view';
import { tags } from '@lezer/highlight';
import { useEffect, useRef } from 'react';
import type { SqlSchema } from '../api/contract.js';

const colors = HighlightStyle.define([
  { tag: tags.keyword, color: 'var(--accent)', fontWeight: '600' },
  { tag: [tags.string, tags.special(tags.string)], color: 'var(--good)' },
  { tag: [tags.number, tags.bool, tags.null], color: 'var(--violet)' },
  { tag: tags.comment, color: 'var(--soft)', fontStyle: 'italic' },
  { tag: [tags.typeName, tags.function(tags.variableName)], color: 'var(--blue)' },
]);
const look = EditorView.theme({
  '&': { backgroundColor: 'transparent', color: 'var(--ink)' },
  '.cm-content': { fontFamily: 'var(--mono)', caretColor: 'var(--accent)', padding: '10px 0' },
  '.cm-gutters': { backgroundColor: 'transparent', color: 'var(--soft)', border: 'none' },
  '.cm-cursor': { borderLeftColor: 'var(--accent)' },
  '&.cm-focused .cm-selectionBackground, .cm-selectionBackground, ::selection': {
    backgroundColor: 'var(--accent-wash) !important',
  },
  '.cm-tooltip': { backgroundColor: 'var(--card)', border: '1px solid var(--line)', borderRadius: '8px' },
  '.cm-tooltip-autocomplete ul li[aria-selected]': { backgroundColor: 'var(--accent)', color: 'var(--paper)' },
});

/** `text` holds what is written; `run` is called with Ctrl and Enter. The editor stays the same while both change. */
export function Editor({
  text,
  run,
  schema,
  editor,
}: {
  text: React.RefObject<string>;
  run: () => void;
  schema: SqlSchema | undefined;
  editor: React.RefObject<EditorView | null>;
}) {
  const holder = useRef<HTMLDivElement>(null);
  const language = useRef(new Compartment());
  const latest = useRef(run);
  latest.current = run;
  useEffect(() => {
    if (holder.current === null) return;
    const nonce = document.querySelector<HTMLMetaElement>('meta[property="csp-nonce"]')?.content ?? '';
    const pressed = (): boolean => {
      latest.current();
      return true;
    };
    const view = new EditorView({
      parent: holder.current,
      state: EditorState.create({
        doc: text.current,
        extensions: [
          EditorView.cspNonce.of(nonce),
          keymap.of([{ key: 'Mod-Enter', run: pressed }, ...completionKeymap, ...historyKeymap, ...defaultKeymap]),
          history(),
          lineNumbers(),
          closeBrackets(),
          language.current.of(languageOf(undefined)),
          autocompletion(),
          syntaxHighlighting(colors),
          look,
          EditorView.lineWrapping,
          EditorView.contentAttributes.of({ 'aria-label': 'SQL', 'data-search': '' }),
          EditorView.updateListener.of((update) => {
            if (update.docChanged) text.current = update.state.doc.toString();
          }),
        ],
      }),
    });
    editor.current = view;
    return () => view.destroy();
  }, [text, editor]);
  // Whoever writes already goes on writing when the names come.
  useEffect(() => {
    editor.current?.dispatch({ effects: language.current.reconfigure(languageOf(schema)) });
  }, [schema, editor]);
  return <div className="editor" ref={holder} />;
}

function languageOf(schema: SqlSchema | undefined): Extension {
  const tables = Object.fromEntries((schema?.tables ?? []).map(({ name, columns }) => [name, [...columns]]));
  const functions = (schema?.functions ?? []).map((label) => ({ label, type: 'function', apply: `${label}(` }));
  const language = sql({ dialect: StandardSQL, schema: tables, upperCaseKeywords: true });
  return [language, language.language.data.of({ autocomplete: functionsOf(functions) })];
}

function functionsOf(options: readonly { label: string; type: string; apply: string }[]) {
  return (context: { matchBefore(pattern: RegExp): { from: number; to: number } | null; explicit: boolean }) => {
    const word = context.matchBefore(/\w+/);
    return word === null || (word.to - word.from < 2 && !context.explicit) ? null : { from: word.from, options };
  };
}
