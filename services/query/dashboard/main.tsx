/** The dashboard: who looks, the frame around the views, and the keys that lead to them. */
import '@fontsource-variable/geist';
import '@fontsource-variable/geist-mono';
import './style.css';
import { QueryClientProvider } from '@tanstack/react-query';
import { Component, lazy, type ReactNode, StrictMode, Suspense, useCallback, useEffect, useRef, useState } from 'react';
import { createRoot } from 'react-dom/client';
import { Link, Redirect, Route, Switch, useLocation } from 'wouter';
import type { AlertList, SessionAnswer } from '../api/contract.js';
import { Problem, post, queries, send, useAnswer } from './ask.js';
import { keyHelp, theme, turnTheme, useKeys, views } from './keys.js';
import { Waiting } from './table.js';
import { plain } from './text.js';
import { Actors } from './views/actors.js';
import { Alerts } from './views/alerts.js';
import { Call } from './views/call.js';
import { Explore } from './views/explore.js';
import { Health } from './views/health.js';
import { Now } from './views/now.js';
import { Rules } from './views/rules.js';
import { Sessions } from './views/sessions.js';
import { Tools } from './views/tools.js';

/** The editor is as large as all the rest. */
const Sql = lazy(async () => ({ default: (await import('./views/sql.js')).Sql }));

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
  const alerts = useAnswer<AlertList>('/alerts', { limit: 6 }, 5_000);
  const help = useRef<HTMLDialogElement>(null);
  const nav = useRef<HTMLElement>(null);
  const [told, setTold] = useState('');
  useKeys(
    useCallback(() => help.current?.showModal(), []),
    useCallback(() => setTold('The address is copied, with its times made fixed.'), []),
  );
  useEffect(() => {
    if (told === '') return;
    const timer = setTimeout(() => setTold(''), 4_000);
    return () => clearTimeout(timer);
  }, [told]);
  const firing = alerts.data?.counts.firing ?? 0;
  const first = path.split('/')[1];
  const here = first === 'calls' ? 'explore' : first;
  useEffect(() => {
    const name = views.find(([view]) => view === here)?.[1] ?? 'mcp-auditd';
    document.title = `${firing > 0 ? `(${firing}) ` : ''}${name} · mcp-auditd`;
  }, [here, firing]);
  // biome-ignore lint/correctness/useExhaustiveDependencies: on a phone the views stand side by side.
  useEffect(() => {
    nav.current?.querySelector('[aria-current]')?.scrollIntoView({ block: 'nearest', inline: 'center' });
  }, [here]);
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
        <nav aria-label="Views" ref={nav}>
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
          <button type="button" className="button quiet" onClick={turnTheme}>
            Dark or light <kbd>t</kbd>
          </button>
          <span>
            {me.role} · {me.tenant === '*' ? 'every tenant' : plain(me.tenant, 40)}
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
        {alerts.error instanceof Problem && alerts.error.status === 0 && (
          <div className="problem" role="alert">
            <strong>{alerts.error.message}</strong> What stands here is as it was. {alerts.error.mend}
          </div>
        )}
        <Caught key={path}>
          <Suspense fallback={<Waiting />}>
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
        </Caught>
      </main>
      <div className="told" role="status">
        {told}
      </div>
      <dialog ref={help} aria-labelledby="help-title">
        <h3 id="help-title">Keys</h3>
        <dl className="keys">
          {keyHelp.map(([keys, what]) => (
            <div key={what}>
              <dt>
                {keys.map((key) => (
                  <kbd key={key}>{key}</kbd>
                ))}
              </dt>
              <dd>{what}</dd>
            </div>
          ))}
        </dl>
        <div className="actions">
          <button type="button" className="button" onClick={() => help.current?.close()}>
            Close <kbd>Esc</kbd>
          </button>
        </div>
      </dialog>
    </div>
  );
}

/** A view that fails takes nothing else with it. */
class Caught extends Component<{ children: ReactNode }, { error?: Error }> {
  override state: { error?: Error } = {};
  static getDerivedStateFromError(error: Error): { error: Error } {
    return { error };
  }
  override render(): ReactNode {
    const { error } = this.state;
    if (error === undefined) return this.props.children;
    return (
      <div className="problem" role="alert">
        <strong>This view failed: {plain(error.message, 300)}</strong>
        <div>Other views go on. The address of this one, in a report, lets somebody mend it.</div>
        <button type="button" className="button" onClick={() => location.reload()}>
          Try again
        </button>
      </div>
    );
  }
}

async function start(): Promise<void> {
  theme();
  const token = /^#login=([\w-]+)$/.exec(location.hash)?.[1];
  let told: string | undefined;
  if (token !== undefined) {
    history.replaceState(null, '', location.pathname + location.search);
    await post<SessionAnswer>('/session', { token }).then(
      (me) => queries.setQueryData(['/session', {}], me),
      (error: Error) => {
        told = error.message;
      },
    );
  }
  createRoot(document.getElementById('root')!).render(
    <StrictMode>
      <QueryClientProvider client={queries}>{told === undefined ? <App /> : <Login told={told} />}</QueryClientProvider>
    </StrictMode>,
  );
}

void start();
