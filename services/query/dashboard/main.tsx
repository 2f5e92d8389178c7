/** The dashboard: who looks, the frame around the views, and the keys that lead to them. */
import '@fontsource-variable/geist';
import '@fontsource-variable/geist-mono';
import './style.css';
import { QueryClientProvider } from '@tanstack/react-query';
import { lazy, StrictMode, Suspense, useEffect, useRef, useState } from 'react';
import { createRoot } from 'react-dom/client';
import { Link, Redirect, Route, Switch, useLocation } from 'wouter';
import type { AlertList, SessionAnswer } from '../api/contract.js';
import { Problem, post, queries, send, useAnswer } from './ask.js';
import { Alerts } from './views/alerts.js';
import { Call } from './views/call.js';
import { Actors, Explore } from './views/explore.js';
import { Health } from './views/health.js';
import { Now } from './views/now.js';
import { Rules } from './views/rules.js';
import { Sessions } from './views/sessions.js';
import { Tools } from './views/tools.js';

/** The editor is as large as all the rest. */
const Sql = lazy(async () => ({ default: (await import('./views/sql.js')).Sql }));

const views = [
  ['now', 'Now', 'n'],
  ['explore', 'Explore', 'e'],
  ['actors', 'Actors', 'c'],
  ['tools', 'Tools', 't'],
  ['sessions', 'Sessions', 's'],
  ['alerts', 'Alerts', 'a'],
  ['rules', 'Rules', 'r'],
  ['sql', 'SQL', 'q'],
  ['health', 'Health', 'h'],
] as const;

function App() {
  const me = useAnswer<SessionAnswer>('/session', {}, 60_000);
  if (me.error instanceof Problem && me.error.status === 401) return <Login />;
  if (me.data === undefined) return me.error === null ? null : <Login told={me.error.message} />;
  return <Frame me={me.data} />;
}

function Login({ told }: { told?: string }) {
  const [key, setKey] = useState('');
  const [message, setMessage] = useState(told ?? '');
  return (
    <main className="login">
      <div className="brand">
        <Mark />
        <span>mcp-auditd</span>
      </div>
      <h1>Open the record</h1>
      <p className="dim">
        <code>mcp-auditd dashboard</code> prints a link that opens this page for you, once. A key with the role read
        opens it too, to look on.
      </p>
      {message !== '' && (
        <div className="problem" role="alert">
          {message}
        </div>
      )}
      <form
        className="stack"
        onSubmit={(event) => {
          event.preventDefault();
          begin(key.trim()).catch((error: Error) => setMessage(error.message));
        }}
      >
        <input
          type="password"
          aria-label="Key or one-time token"
          placeholder="mca_read_…"
          value={key}
          autoComplete="off"
          onChange={(event) => setKey(event.target.value)}
        />
        <button type="submit" className="button primary">
          Open
        </button>
      </form>
    </main>
  );
}

async function begin(token: string): Promise<void> {
  await post('/session', { token });
  await queries.resetQueries();
}

function Mark() {
  return (
    <svg width="22" height="22" viewBox="0 0 32 32" fill="none" aria-hidden="true">
      <path
        d="M3 21h6l4-13 6 19 4-12h6"
        stroke="currentColor"
        strokeWidth="3"
        strokeLinecap="round"
        strokeLinejoin="round"
      />
    </svg>
  );
}

function Frame({ me }: { me: SessionAnswer }) {
  const [path] = useLocation();
  const alerts = useAnswer<AlertList>('/alerts', { limit: 8 }, 5_000);
  const help = useRef<HTMLDialogElement>(null);
  useKeys(() => help.current?.showModal());
  const firing = alerts.data?.counts.firing ?? 0;
  const here = path.split('/')[1] === 'calls' ? 'explore' : path.split('/')[1];
  useEffect(() => {
    const name = views.find(([view]) => view === here)?.[1] ?? 'mcp-auditd';
    document.title = `${firing > 0 ? `(${firing}) ` : ''}${name} · mcp-auditd`;
  }, [here, firing]);
  return (
    <div className="app">
      <a className="skip" href="#content">
        Skip to the content
      </a>
      <div className="rail">
        <Link href="/now" className="brand" aria-label="mcp-auditd, now">
          <Mark />
          <span>mcp-auditd</span>
        </Link>
        <nav aria-label="Views">
          {views.map(([view, name, key]) => (
            <Link key={view} href={`/${view}`} aria-current={here === view ? 'page' : undefined}>
              {name}
              {view === 'alerts' && firing > 0 ? <span className="badge">{firing}</span> : <kbd>g {key}</kbd>}
            </Link>
          ))}
        </nav>
        <div className="foot">
          <button type="button" className="button quiet" onClick={() => help.current?.showModal()}>
            Keys <kbd>?</kbd>
          </button>
          <ThemeButton />
          <span>
            {me.role} · {me.tenant === '*' ? 'every tenant' : me.tenant}
          </span>
          <span>{me.version}</span>
          <button
            type="button"
            className="button quiet"
            onClick={() => void send('DELETE', '/session').then(() => queries.resetQueries())}
          >
            Sign out
          </button>
        </div>
      </div>
      <main id="content" tabIndex={-1}>
        <Suspense fallback={null}>
          <Switch>
            <Route path="/now" component={Now} />
            <Route path="/explore" component={Explore} />
            <Route path="/calls/:id">{({ id }) => <Call id={id} key={id} />}</Route>
            <Route path="/actors/:id?">{({ id }) => <Actors id={id} key={id} />}</Route>
            <Route path="/tools/:server?/:tool?">{({ server, tool }) => <Tools server={server} tool={tool} />}</Route>
            <Route path="/sessions/:id?">{({ id }) => <Sessions id={id} key={id} />}</Route>
            <Route path="/rules/:id?">{({ id }) => <Rules id={id} key={id} />}</Route>
            <Route path="/sql" component={Sql} />
            <Route path="/health" component={Health} />
            <Route path="/alerts/:id?">{({ id }) => <Alerts id={id} />}</Route>
            <Route>
              <Redirect to="/now" replace />
            </Route>
          </Switch>
        </Suspense>
      </main>
      <dialog ref={help} aria-labelledby="help-title">
        <h3 id="help-title">Keys</h3>
        <dl className="keys">
          {views.map(([view, name, key]) => (
            <div key={view} style={{ display: 'contents' }}>
              <dt>
                <kbd>g {key}</kbd>
              </dt>
              <dd>{name}</dd>
            </div>
          ))}
          <dt>
            <kbd>/</kbd>
          </dt>
          <dd>filter</dd>
          <dt>
            <kbd>j</kbd> <kbd>k</kbd>
          </dt>
          <dd>next and previous row</dd>
          <dt>
            <kbd>a</kbd> <kbd>r</kbd> <kbd>s</kbd> <kbd>l</kbd>
          </dt>
          <dd>on an alert: acknowledge, resolve, silence, lift</dd>
          <dt>
            <kbd>t</kbd>
          </dt>
          <dd>dark or light</dd>
          <dt>
            <kbd>?</kbd>
          </dt>
          <dd>this page</dd>
          <dt>
            <kbd>Esc</kbd>
          </dt>
          <dd>leave</dd>
        </dl>
        <div className="actions" style={{ marginTop: 18 }}>
          <button type="button" className="button" onClick={() => help.current?.close()}>
            Close
          </button>
        </div>
      </dialog>
    </div>
  );
}

function theme(next?: 'dark' | 'light'): void {
  if (next !== undefined) localStorage.setItem('theme', next);
  const chosen = localStorage.getItem('theme');
  if (chosen === 'dark' || chosen === 'light') document.documentElement.dataset.theme = chosen;
  dispatchEvent(new Event('theme'));
}

function isDark(): boolean {
  const chosen = document.documentElement.dataset.theme;
  return chosen === undefined ? matchMedia('(prefers-color-scheme: dark)').matches : chosen === 'dark';
}

function ThemeButton() {
  return (
    <button type="button" className="button quiet" onClick={() => theme(isDark() ? 'light' : 'dark')}>
      Dark or light <kbd>t</kbd>
    </button>
  );
}

/** `g` and a letter lead to a view, `/` to the filter, `j` and `k` into a list; other letters press the button that names them. */
function useKeys(help: () => void): void {
  const [, go] = useLocation();
  const first = useRef(0);
  useEffect(() => {
    const pressed = (event: KeyboardEvent): void => {
      const target = event.target as HTMLElement;
      if (
        event.metaKey ||
        event.ctrlKey ||
        event.altKey ||
        target.closest('input, textarea, select, [contenteditable], dialog') !== null
      )
        return;
      const took = (): void => event.preventDefault();
      if (Date.now() - first.current < 1_500) {
        first.current = 0;
        const view = views.find(([, , key]) => key === event.key)?.[0];
        if (view !== undefined) {
          took();
          go(`/${view}`);
          return;
        }
      }
      if (event.key === 'g') first.current = Date.now();
      else if (event.key === '/') {
        took();
        document.querySelector<HTMLElement>('[data-search]')?.focus();
      } else if (event.key === '?') {
        took();
        help();
      } else if (event.key === 't') theme(isDark() ? 'light' : 'dark');
      else if ((event.key === 'j' || event.key === 'k') && target.closest('.list') === null) {
        took();
        document.querySelector<HTMLElement>('.list a.row, .alert-row, .table a')?.focus();
      } else document.querySelector<HTMLElement>(`[data-key="${CSS.escape(event.key)}"]`)?.click();
    };
    addEventListener('keydown', pressed);
    return () => removeEventListener('keydown', pressed);
  }, [go, help]);
}

async function start(): Promise<void> {
  theme();
  const token = /^#login=([\w-]+)$/.exec(location.hash)?.[1];
  let told: string | undefined;
  if (token !== undefined) {
    history.replaceState(null, '', location.pathname + location.search);
    await post('/session', { token }).catch((error: Error) => {
      told = error.message;
    });
  }
  createRoot(document.getElementById('root')!).render(
    <StrictMode>
      <QueryClientProvider client={queries}>{told === undefined ? <App /> : <Login told={told} />}</QueryClientProvider>
    </StrictMode>,
  );
}

void start();
