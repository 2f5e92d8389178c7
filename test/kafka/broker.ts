/**
 * A real Apache Kafka broker (KRaft, one JVM) for tests and benchmarks, on free ports of 127.0.0.1. Its jars come
 * from Maven once and stay in the user's cache directory. KAFKA_BROKERS names another broker instead; what needs to
 * kill the broker cannot run there and says so.
 */
import { type ChildProcess, execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, readFileSync } from 'node:fs';
import { cp, mkdtemp, rename, rm, writeFile } from 'node:fs/promises';
import { connect, createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout } from 'node:timers/promises';
import { promisify } from 'node:util';
import { fetchJars } from '../jars.js';

const run = promisify(execFile);
export interface Broker {
  /** host:port list of the plain listener. */
  readonly brokers: string[];
  /** host:port list of the SASL_SSL listener; empty where none was asked for. */
  readonly secureBrokers: string[];
  readonly dataDirectory: string;
  /** SIGKILL; resolves when the process is gone. */
  kill(): Promise<void>;
  /** Starts it again on the same ports and data. */
  restart(): Promise<void>;
  /** Kills it and removes its files. */
  stop(): Promise<void>;
}

export interface BrokerOptions {
  /** PEM of the listener's certificate chain and key, and the users of SASL (plain and SCRAM share them). */
  readonly secure?: {
    readonly keyPem: string;
    readonly certificatePem: string;
    readonly users: Record<string, string>;
    /** Users may only do what ACLs say; who comes by the plain listener may do everything. */
    readonly authorize?: boolean;
    /** Users whom ACLs do not bind. */
    readonly administrators?: readonly string[];
  };
}

/** The broker that KAFKA_BROKERS names, or undefined. */
export function namedBrokers(): string[] | undefined {
  return process.env.KAFKA_BROKERS?.split(',');
}

/** Starts a broker and resolves when it answers. About 3 s; the first time ever, 10–30 s more for the jars. */
export async function startBroker(options: BrokerOptions = {}): Promise<Broker> {
  const libraries = await fetchLibraries();
  const warm = await warmUp(libraries);
  const directory = await mkdtemp(join(tmpdir(), 'mcp-auditd-kafka-'));
  const dataDirectory = join(directory, 'data');
  const [port, controllerPort, securePort] = (await freePorts(3)) as [number, number, number];
  let properties = serverProperties(port, controllerPort, dataDirectory);
  const formatArguments: string[] = [];
  if (options.secure !== undefined) {
    const { keyPem, certificatePem, users } = options.secure;
    const keystore = join(directory, 'listener.pem');
    await writeFile(keystore, `${keyPem}\n${certificatePem}`, { mode: 0o600 });
    const plainUsers = Object.entries(users).map(([name, password]) => `user_${name}="${password}"`);
    properties = properties
      .replace(/^(listeners=.*)$/m, `$1,SASL_SSL://127.0.0.1:${securePort}`)
      .replace(/^(advertised\.listeners=.*)$/m, `$1,SASL_SSL://127.0.0.1:${securePort}`);
    properties += `
ssl.keystore.type=PEM
ssl.keystore.location=${keystore}
sasl.enabled.mechanisms=PLAIN,SCRAM-SHA-256,SCRAM-SHA-512,OAUTHBEARER
listener.name.sasl_ssl.oauthbearer.sasl.jaas.config=org.apache.kafka.common.security.oauthbearer.OAuthBearerLoginModule required unsecuredLoginStringClaim_sub="broker";
listener.name.sasl_ssl.plain.sasl.jaas.config=org.apache.kafka.common.security.plain.PlainLoginModule required ${plainUsers.join(' ')};
listener.name.sasl_ssl.scram-sha-256.sasl.jaas.config=org.apache.kafka.common.security.scram.ScramLoginModule required;
listener.name.sasl_ssl.scram-sha-512.sasl.jaas.config=org.apache.kafka.common.security.scram.ScramLoginModule required;
`;
    if (options.secure.authorize === true)
      properties += `
authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer
super.users=${['ANONYMOUS', ...(options.secure.administrators ?? [])].map((name) => `User:${name}`).join(';')}
`;
    for (const [name, password] of Object.entries(users)) {
      for (const mechanism of ['SCRAM-SHA-256', 'SCRAM-SHA-512']) {
        formatArguments.push('--add-scram', `${mechanism}=[name=${name},password=${password}]`);
      }
    }
  }
  const configuration = join(directory, 'server.properties');
  await writeFile(configuration, properties);
  if (formatArguments.length === 0) await cp(warm.formatted, dataDirectory, { recursive: true });
  else await format(libraries, configuration, formatArguments, sharedClasses(warm.classes));

  let child: ChildProcess | undefined;
  const kill = async () => {
    const running = child;
    child = undefined;
    if (running === undefined || running.exitCode !== null || running.signalCode !== null) return;
    const exited = once(running, 'exit');
    running.kill('SIGKILL');
    await exited;
  };
  const killAtExit = () => child?.kill('SIGKILL');
  process.on('exit', killAtExit);
  const start = async () => {
    const started = spawn('java', brokerArguments(libraries, configuration, sharedClasses(warm.classes)), {
      stdio: ['ignore', 'pipe', 'pipe'],
      env: { ...process.env, LC_ALL: 'C' },
    });
    child = started;
    let output = '';
    const keep = (chunk: Buffer) => {
      output = (output + chunk.toString()).slice(-20_000);
    };
    started.stdout.on('data', keep);
    started.stderr.on('data', keep);
    // The broker logs nothing by default; it is there when its listener takes a connection.
    while (!(await accepts(port))) {
      if (started.exitCode !== null) throw new Error(`the broker ended with ${started.exitCode}:\n${output}`);
      await setTimeout(50);
    }
  };
  await start();
  return {
    brokers: [`127.0.0.1:${port}`],
    secureBrokers: options.secure === undefined ? [] : [`127.0.0.1:${securePort}`],
    dataDirectory,
    kill,
    restart: start,
    stop: async () => {
      process.off('exit', killAtExit);
      await kill();
      await rm(directory, { recursive: true, force: true });
    },
  };
}

export async function accepts(port: number): Promise<boolean> {
  const socket = connect(port, '127.0.0.1');
  try {
    await once(socket, 'connect');
    return true;
  } catch {
    return false;
  } finally {
    socket.destroy();
  }
}

/** The directory with the broker's jars. */
export function fetchLibraries(): Promise<string> {
  return fetchJars('kafka', join(import.meta.dirname, 'pom.xml'));
}

const sharedClasses = (archive: string): string => `-XX:SharedArchiveFile=${archive}`;

/** The words for `java` before the name of a class of the jars. */
function javaWords(libraries: string, archive: string): string[] {
  const flags = ['-Xmx512m', '-XX:+UseSerialGC', '-XX:TieredStopAtLevel=1', '-Xshare:auto', archive];
  return [...flags, '-cp', join(libraries, '*')];
}

/** As the shell takes them: for scripts that start Kafka's own programs. */
export async function javaCommand(): Promise<string> {
  const libraries = await fetchLibraries();
  const { classes } = await warmUp(libraries);
  return ['java', ...javaWords(libraries, sharedClasses(classes)).map((word) => `'${word}'`)].join(' ');
}

function brokerArguments(libraries: string, configuration: string, archive: string): string[] {
  return [...javaWords(libraries, archive), 'kafka.Kafka', configuration];
}

async function format(
  libraries: string,
  configuration: string,
  words: readonly string[],
  archive: string,
): Promise<void> {
  const tool = [...javaWords(libraries, archive), 'kafka.tools.StorageTool'];
  await run('java', [...tool, 'format', '-t', 'MkU3OEVBNTcwNTJENDM2Qk', '-c', configuration, ...words]);
}

/**
 * What halves a broker's start and is made once beside the jars: an archive of its loaded classes (the JVM goes without
 * where it does not fit) and a formatted data directory.
 */
async function warmUp(libraries: string): Promise<{ classes: string; formatted: string }> {
  const warm = `${libraries}-warm`;
  const found = { classes: join(warm, 'classes.jsa'), formatted: join(warm, 'formatted') };
  if (existsSync(warm)) return found;
  const filling = await mkdtemp(`${warm}-`);
  const [port, controllerPort] = (await freePorts(2)) as [number, number];
  const configuration = join(filling, 'server.properties');
  const data = join(filling, 'data');
  await writeFile(configuration, serverProperties(port, controllerPort, data));
  await format(libraries, configuration, [], '-Xshare:auto');
  await cp(data, join(filling, 'formatted'), { recursive: true });
  const archive = `-XX:ArchiveClassesAtExit=${join(filling, 'classes.jsa')}`;
  const broker = spawn('java', brokerArguments(libraries, configuration, archive), { stdio: 'ignore' });
  const exited = once(broker, 'exit');
  while (broker.exitCode === null && !(await accepts(port))) await setTimeout(50);
  broker.kill('SIGTERM');
  await exited;
  await rm(data, { recursive: true, force: true });
  try {
    await rename(filling, warm);
  } catch (error) {
    await rm(filling, { recursive: true, force: true });
    if (!existsSync(warm)) throw error;
  }
  return found;
}

function serverProperties(port: number, controllerPort: number, dataDirectory: string): string {
  return readFileSync(join(import.meta.dirname, 'server.properties'), 'utf8')
    .replaceAll('{port}', String(port))
    .replaceAll('{controllerPort}', String(controllerPort))
    .replaceAll('{dataDirectory}', dataDirectory);
}

/** Ports that nobody listened on a moment ago: a broker must know its advertised port before it starts. */
export async function freePorts(count: number): Promise<number[]> {
  const servers = Array.from({ length: count }, () => createServer().listen(0, '127.0.0.1'));
  await Promise.all(servers.map((server) => once(server, 'listening')));
  const ports = servers.map((server) => (server.address() as { port: number }).port);
  await Promise.all(servers.map((server) => new Promise((resolve) => server.close(resolve))));
  return ports;
}
