import type { Command } from 'commander';
import { AuditdError } from '../../schemas/errors.js';

interface Entry {
  /** Words after the program's name. */
  readonly path: string;
  readonly commands: readonly { readonly name: string; readonly description: string }[];
  readonly options: readonly { readonly name: string; readonly description: string; readonly value: boolean }[];
}

/** Every command with what may follow it. */
function entries(command: Command, path: readonly string[] = []): Entry[] {
  const own: Entry = {
    path: path.join(' '),
    commands: command.commands.map((each) => ({ name: each.name(), description: each.description() })),
    options: [
      ...command.options.map((option) => ({
        name: option.long ?? option.short ?? '',
        description: option.description,
        value: option.required || option.optional,
      })),
      { name: '--help', description: 'show help', value: false },
    ],
  };
  return [own, ...command.commands.flatMap((each) => entries(each, [...path, each.name()]))];
}

function words(entry: Entry): string {
  return [...entry.commands, ...entry.options].map((each) => each.name).join(' ');
}

function bash(all: readonly Entry[]): string {
  const cases = all.map((entry) => `    '${entry.path}') words='${words(entry)}' ;;`).join('\n');
  const groups = all.filter((entry) => entry.commands.length > 0 && entry.path !== '').map((entry) => entry.path);
  return `# mcp-auditd completion for bash: eval "$(mcp-auditd completion bash)"
_mcp_auditd() {
  local current="\${COMP_WORDS[COMP_CWORD]}" previous="\${COMP_WORDS[COMP_CWORD-1]}" path='' words='' index
  for ((index = 1; index < COMP_CWORD && index <= 2; index++)); do
    [[ \${COMP_WORDS[index]} == -* ]] && break
    if [[ $index == 1 ]]; then path="\${COMP_WORDS[index]}"
    else case "$path" in ${groups.join('|')}) path="$path \${COMP_WORDS[index]}" ;; esac
    fi
  done
  case "$previous" in
    --data) COMPREPLY=($(compgen -d -- "$current")); return ;;
    --config|--file) COMPREPLY=($(compgen -f -- "$current")); return ;;
  esac
  case "$path" in
${cases}
  esac
  COMPREPLY=($(compgen -W "$words" -- "$current"))
}
complete -F _mcp_auditd mcp-auditd
`;
}

function quoted(text: string): string {
  return text.replaceAll("'", '’').replaceAll(':', ' -').replaceAll('[', '(').replaceAll(']', ')');
}

function zsh(all: readonly Entry[]): string {
  const groups = all.filter((entry) => entry.commands.length > 0 && entry.path !== '').map((entry) => entry.path);
  const cases = all
    .map((entry) => {
      const items = [...entry.commands, ...entry.options].map((each) => `'${each.name}:${quoted(each.description)}'`);
      return `    '${entry.path}') items=(${items.join(' ')}) ;;`;
    })
    .join('\n');
  return `#compdef mcp-auditd
# mcp-auditd completion for zsh: eval "$(mcp-auditd completion zsh)"
_mcp_auditd() {
  local -a items
  local place="\${words[2]}"
  if (( CURRENT <= 2 )); then place=''; fi
  case "$place" in ${groups.join('|')}) if (( CURRENT > 3 )); then place="$place \${words[3]}"; fi ;; esac
  case "\${words[CURRENT-1]}" in
    --data) _files -/; return ;;
    --config|--file) _files; return ;;
  esac
  case "$place" in
${cases}
  esac
  _describe 'mcp-auditd' items
}
compdef _mcp_auditd mcp-auditd
`;
}

function fish(all: readonly Entry[]): string {
  const lines = ['# mcp-auditd completion for fish: mcp-auditd completion fish | source', 'complete -c mcp-auditd -f'];
  for (const entry of all) {
    const path = entry.path.split(' ').filter((word) => word !== '');
    const seen = path.map((word) => `__fish_seen_subcommand_from ${word}`);
    const unseen = entry.commands.map((each) => each.name).join(' ');
    const condition = [...(path.length === 0 ? ['__fish_use_subcommand'] : seen)];
    if (path.length > 0 && unseen !== '') condition.push(`not __fish_seen_subcommand_from ${unseen}`);
    const when = `-n '${condition.join('; and ')}'`;
    for (const each of entry.commands)
      lines.push(`complete -c mcp-auditd ${when} -a ${each.name} -d '${quoted(each.description)}'`);
    for (const each of entry.options) {
      const value = each.value ? (/^--(data|config|file)$/.test(each.name) ? ' -r -F' : ' -x') : '';
      lines.push(
        `complete -c mcp-auditd ${when} -l ${each.name.replace(/^--/, '')}${value} -d '${quoted(each.description)}'`,
      );
    }
  }
  return `${lines.join('\n')}\n`;
}

/** `completion`: a script for the shell, made from the commands themselves. */
export function addCompletion(program: Command): void {
  program
    .command('completion')
    .description('print a completion script')
    .argument('<shell>', 'bash, zsh or fish')
    .addHelpText('after', '\nExamples:\n  eval "$(mcp-auditd completion bash)"\n  mcp-auditd completion fish | source')
    .action((shell: string) => {
      const make = { bash, zsh, fish }[shell];
      if (make === undefined) throw new AuditdError('argument_invalid', `${shell}: expected bash, zsh or fish.`);
      process.stdout.write(make(entries(program)));
    });
}
