import type { Command } from 'commander';
import { AuditdError } from '../../schemas/errors.js';
import type { Role } from '../app/roles.js';
import type { TopicFinding } from '../stream/kafka-topics.js';
import { addCommonOptions, type CommonOptions, loadConfiguration } from './context.js';

interface TopicsOptions extends CommonOptions {
  readonly json?: boolean;
  readonly print?: boolean;
  readonly grant?: readonly string[];
}

/** `topics`: make the topics of the stream, compare them, allow users what roles need. */
export function addTopics(program: Command): void {
  const topics = program.command('topics').description('make and check the topics on Kafka, and who may use them');
  const add = (words: string) =>
    addCommonOptions(topics.command(words)).option('--json', 'print one JSON object instead of lines');
  add('create')
    .description('make the topics that are missing; what is there stays as it is')
    .option(
      '--grant <role=user>',
      'allow a user what a role needs, as grant does; may be given several times',
      collect,
      [],
    )
    .addHelpText(
      'after',
      `
Partitions, copies and days come from the section stream.kafka. Afterwards all
topics are compared as check does.

Examples:
  mcp-auditd topics create --config admin.yaml
  mcp-auditd topics create --grant gateway=web --grant ingestor=ingestor`,
    )
    .action((options: TopicsOptions) => compare(options, true));
  add('check')
    .description('compare the topics with the configuration')
    .addHelpText(
      'after',
      `
The exit code is 1 when there is something to mend.

Examples:
  mcp-auditd topics check --config cluster.yaml`,
    )
    .action((options: TopicsOptions) => compare(options, false));
  add('grant')
    .argument('<role>', 'the role, as in up --roles')
    .argument('<user>', 'the user of the brokers that runs the role')
    .description("allow a user what a role needs, by Kafka's ACLs")
    .option('--print', "print Kafka's own commands for it and change nothing")
    .addHelpText(
      'after',
      `
What is allowed already stays. The configuration's own user must be one who may alter ACLs.

Examples:
  mcp-auditd topics grant ingestor mcp-auditd-ingestor --config admin.yaml
  mcp-auditd topics grant gateway mcp-auditd-gateway --print`,
    )
    .action(grant);
}

async function open(options: TopicsOptions) {
  const { configuration } = await loadConfiguration(options);
  const [kafka, { openLog }] = await Promise.all([import('../app/kafka.js'), import('../app/log.js')]);
  const section = kafka.requireKafka(configuration);
  return { ...kafka, section, log: openLog(configuration.log) };
}

function collect(value: string, previous: readonly string[]): string[] {
  return [...previous, value];
}

/** Roles with their users, of ROLE=USER. Throws `argument_invalid`. */
async function readGrants(texts: readonly string[]): Promise<{ role: Role; user: string }[]> {
  const { chooseRoles } = await import('../app/roles.js');
  return texts.map((text) => {
    const at = text.indexOf('=');
    if (at < 1 || at === text.length - 1)
      throw new AuditdError('argument_invalid', `--grant ${text}: expected ROLE=USER, as in gateway=web`);
    return { role: chooseRoles([text.slice(0, at)])[0]!, user: text.slice(at + 1) };
  });
}

async function compare(options: TopicsOptions, create: boolean): Promise<void> {
  const grants = await readGrants(options.grant ?? []);
  const { withKafka, topicPlan, section, log } = await open(options);
  const [{ createTopics, checkTopics }, { grantAcls }, { aclsOf }] = await Promise.all([
    import('../stream/kafka-topics.js'),
    import('../stream/kafka-acls.js'),
    import('../app/permissions.js'),
  ]);
  await withKafka(section, log, async (_kafka, admin) => {
    const plan = await topicPlan(section, admin);
    const created = create ? await createTopics(admin, plan) : [];
    for (const { role, user } of grants) await grantAcls(admin, user, aclsOf(role, section));
    const findings = await checkTopics(admin, plan);
    if (findings.length > 0) process.exitCode = 1;
    if (options.json === true) {
      process.stdout.write(
        `${JSON.stringify({ ok: findings.length === 0, created, granted: grants.map(({ role, user }) => ({ role: role.name, user })), findings }, null, 2)}\n`,
      );
      return;
    }
    for (const topic of created) process.stdout.write(`made ${topic}\n`);
    for (const { role, user } of grants) process.stdout.write(`${user} may work as ${role.name}\n`);
    process.stdout.write(findings.length === 0 ? 'all topics are as configured\n' : findings.map(lineOf).join(''));
  });
}

function lineOf({ message, mend }: TopicFinding): string {
  return `${message}\n  ${mend}\n`;
}

async function grant(name: string, user: string, options: TopicsOptions): Promise<void> {
  const [{ chooseRoles }, { aclsOf }, { aclCommand, grantAcls }] = await Promise.all([
    import('../app/roles.js'),
    import('../app/permissions.js'),
    import('../stream/kafka-acls.js'),
  ]);
  const [role] = chooseRoles([name]);
  const { withKafka, section, log } = await open(options);
  const acls = aclsOf(role!, section);
  if (options.print !== true) await withKafka(section, log, (_kafka, admin) => grantAcls(admin, user, acls));
  if (options.json === true) {
    process.stdout.write(`${JSON.stringify({ user, granted: options.print !== true, acls }, null, 2)}\n`);
    return;
  }
  for (const acl of acls) {
    const line = `${user} may ${acl.operation} ${acl.resource} ${acl.name}${acl.pattern === 'prefixed' ? '*' : ''}`;
    process.stdout.write(`${options.print === true ? aclCommand(user, acl) : line}\n`);
  }
}
