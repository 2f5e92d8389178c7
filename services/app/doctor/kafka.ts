/** The brokers: whether they answer, the topics, what this user may do. */
import { connect } from 'node:net';
import { AuditdError } from '../../../schemas/errors.js';
import { kafkaError } from '../../stream/kafka-errors.js';
import { topicName } from '../../stream/kafka-names.js';
import { missingPermissions } from '../../stream/kafka-permissions.js';
import { checkTopics, type TopicFinding } from '../../stream/kafka-topics.js';
import { type Finding, failed, failedBy, ok, type Patient, warned } from '../doctor.js';
import { type KafkaAdmin, topicPlan, withKafka } from '../kafka.js';
import { topicsOf, wantedBy } from '../permissions.js';
import type { KafkaSection } from '../ports.js';

/** Problems of a topic with which a role does not work. */
const stopping: ReadonlySet<TopicFinding['problem']> = new Set(['missing', 'not_allowed', 'partitions', 'no_leader']);
const connectTimeoutMs = 3_000;
/** Clocks that differ by more make a time in a query mean another one on each machine. */
const clockToleranceMs = 2_000;

export async function* kafka(patient: Patient): AsyncGenerator<Finding> {
  const section = patient.configuration.stream.kafka!;
  yield* security(section);
  for (const broker of section.brokers) yield await reachable('broker', broker, 'stream.kafka.brokers');
  const findings: Finding[] = [];
  try {
    await withKafka(section, patient.log, async (client, admin) => {
      for await (const finding of advertised(section, admin)) findings.push(finding);
      for await (const finding of topics(patient, section, admin)) findings.push(finding);
      for await (const finding of permissions(patient, section, client)) findings.push(finding);
      findings.push(await clock(section, admin));
    });
  } catch (error) {
    findings.push(failedBy('kafka', kafkaError(error, 'asking the brokers')));
  }
  yield* findings;
}

function* security({ ssl, sasl }: KafkaSection): Generator<Finding> {
  const encrypted = ssl?.enabled === true;
  if (sasl?.mechanism === 'plain' && !encrypted)
    yield warned(
      'login',
      'the password goes over the network as it is',
      'Configure stream.kafka.ssl, or scram-sha-512.',
    );
  else if (sasl === undefined && ssl?.cert === undefined)
    yield warned(
      'login',
      'nobody logs in at the brokers: whoever reaches them can read and change what is recorded',
      'Configure stream.kafka.sasl, and ACLs on the brokers.',
    );
  else yield ok('login', `${sasl?.mechanism ?? 'client certificate'}${encrypted ? ' over TLS' : ' without TLS'}`);
}

/** A plain connection: the login comes later and says more about itself. */
function reachable(name: string, address: string, key: string): Promise<Finding> {
  const at = address.lastIndexOf(':');
  const host = address.slice(0, at).replace(/^\[|\]$/g, '');
  return new Promise((resolve) => {
    const socket = connect({ host, port: Number(address.slice(at + 1)), timeout: connectTimeoutMs });
    const end = (finding: Finding) => {
      socket.destroy();
      resolve(finding);
    };
    const mend = `Check ${key}, the network between here and there, and that the broker runs.`;
    socket
      .once('connect', () => end(ok(name, `${address} answers`)))
      .once('timeout', () => end(failed(name, `${address} does not answer within ${connectTimeoutMs} ms`, mend)))
      .once('error', (error: NodeJS.ErrnoException) =>
        end(failed(name, `${address}: ${error.code ?? error.message}`, mend)),
      );
  });
}

/** Brokers tell clients their own addresses, and those are the ones that are used: often the wrong ones for this place. */
async function* advertised(section: KafkaSection, admin: KafkaAdmin): AsyncGenerator<Finding> {
  const { brokers } = await admin.describeCluster();
  for (const { host, port, nodeId } of brokers) {
    const address = `${host.includes(':') ? `[${host}]` : host}:${port}`;
    if (section.brokers.includes(address)) continue;
    yield await reachable(`broker ${nodeId}`, address, 'advertised.listeners of the broker');
  }
  yield ok('cluster', `${brokers.length} ${brokers.length === 1 ? 'broker' : 'brokers'}`);
}

async function* topics(patient: Patient, section: KafkaSection, admin: KafkaAdmin): AsyncGenerator<Finding> {
  let plan: Awaited<ReturnType<typeof topicPlan>>;
  try {
    plan = await topicPlan(section, admin);
  } catch (error) {
    if (!(error instanceof AuditdError)) throw error;
    yield failedBy('topics', error);
    return;
  }
  const used = [...new Set(patient.roles.flatMap(topicsOf))];
  // Settings are for who made the topics; a role works without seeing them.
  const found = (await checkTopics(admin, plan, used)).filter(({ problem }) => problem !== 'settings_hidden');
  for (const { problem, message, mend, topic } of found)
    yield (stopping.has(problem) ? failed : warned)(`topic ${topic}`, message, mend);
  if (found.length === 0) yield ok('topics', used.map((topic) => topicName(section.topic_prefix, topic)).join(', '));
}

async function* permissions(
  patient: Patient,
  section: KafkaSection,
  client: Parameters<typeof missingPermissions>[0],
): AsyncGenerator<Finding> {
  for (const role of patient.roles) {
    let missing: Awaited<ReturnType<typeof missingPermissions>>;
    try {
      missing = await missingPermissions(client, wantedBy(role, section));
    } catch (error) {
      yield failedBy(`role ${role.name}`, kafkaError(error, `looking what this user may do as ${role.name}`));
      continue;
    }
    const user = section.sasl?.username ?? 'USER';
    for (const { operation, resource, name } of missing)
      yield failed(
        `role ${role.name}`,
        `${user} may not ${operation} ${resource} ${name}`,
        `As a user who may alter ACLs: mcp-auditd topics grant ${role.name} ${user}`,
      );
    if (missing.length === 0) yield ok(`role ${role.name}`, 'may read and write what it needs');
  }
}

/** A record with a time after ours was stamped by a broker that is ahead. Brokers tell no time of their own. */
async function clock(section: KafkaSection, admin: KafkaAdmin): Promise<Finding> {
  const topic = topicName(section.topic_prefix, 'calls');
  const ends = await admin.fetchTopicOffsets(topic);
  const later = await admin.fetchTopicOffsetsByTimestamp(topic, Date.now() + clockToleranceMs);
  const ahead = later.some(({ partition, offset }) => {
    const end = ends.find((one) => one.partition === partition);
    return end !== undefined && Number(offset) < Number(end.offset);
  });
  return ahead
    ? warned('clock', 'the brokers stamp records with a time that is still to come here', 'Let NTP set both clocks.')
    : ok('clock', 'no record is from the future');
}
