/**
 * A result as MCP means it: its blocks of text, what is structured, and its pictures, which stay closed until somebody
 * opens them. Nothing of it becomes markup or an address, and what was hidden stays marked.
 */
import { useState } from 'react';
import { bytes, plain } from './text.js';
import { Json } from './tree.js';

interface Block {
  readonly type?: unknown;
  readonly text?: unknown;
  readonly data?: unknown;
  readonly mimeType?: unknown;
}

/** Kinds that hold no script. */
const pictures = /^image\/(png|jpeg|gif|webp)$/;
const base64 = /^[A-Za-z0-9+/]+={0,2}$/;
const mostBlocks = 100;
const longestText = 100_000;

function blocksOf(text: string): readonly Block[] | undefined {
  try {
    const { content } = JSON.parse(text) as { content?: unknown };
    const isBlock = (each: unknown): boolean => typeof each === 'object' && each !== null;
    return Array.isArray(content) && content.length > 0 && content.every(isBlock) ? (content as Block[]) : undefined;
  } catch {
    return undefined;
  }
}

export function Result({ text, hidden }: { text: string; hidden: readonly string[] }) {
  const blocks = blocksOf(text);
  const json = <Json text={text} hidden={hidden} root="result" />;
  if (blocks === undefined) return json;
  return (
    <div className="stack">
      {blocks.slice(0, mostBlocks).map((block, index) => (
        // biome-ignore lint/suspicious/noArrayIndexKey: blocks have no other name.
        <Shown key={index} block={block} index={index} hidden={hidden} />
      ))}
      <details>
        <summary className="dim">all of it, as JSON</summary>
        {json}
      </details>
    </div>
  );
}

function Shown({ block, index, hidden }: { block: Block; index: number; hidden: readonly string[] }) {
  const { type, text, data, mimeType } = block;
  if (type === 'text' && typeof text === 'string') {
    const trimmed = text.trim();
    if (/^[[{]/.test(trimmed) && /[\]}]$/.test(trimmed)) return <Json text={trimmed} hidden={[]} root="" />;
    const kinds = hidden.flatMap((each) =>
      each.startsWith(`result.content.${index}.text:`) ? [each.slice(each.lastIndexOf(':') + 1)] : [],
    );
    return (
      <div>
        <pre>
          <bdi>{plain(text, longestText)}</bdi>
        </pre>
        {kinds.length > 0 && (
          <span className="tree">
            <span className="hidden">hidden in it: {kinds.map((kind) => plain(kind, 40)).join(', ')}</span>
          </span>
        )}
      </div>
    );
  }
  if (type === 'image' && typeof data === 'string' && pictures.test(String(mimeType)) && base64.test(data))
    return <Picture data={data} mimeType={String(mimeType)} />;
  return <Json text={JSON.stringify(block)} hidden={[]} root="" />;
}

function Picture({ data, mimeType }: { data: string; mimeType: string }) {
  const [open, setOpen] = useState(false);
  const size = bytes(data.length * 0.75);
  if (open) return <img src={`data:${mimeType};base64,${data}`} alt={`${mimeType}, ${size}, of the result`} />;
  return (
    <button type="button" className="button" onClick={() => setOpen(true)}>
      Show the picture ({mimeType.slice(6)}, {size})
    </button>
  );
}
