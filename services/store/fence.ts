/**
 * The fence before a user's SQL, judged by the engine's own parse (`EXPLAIN AST`), never by the text. `readonly = 1`
 * stands behind it but is no fence by itself (tried on 26.7): under it `file('/etc/passwd')` as a scalar function reads
 * any file of the host, also as `APPLY(file)` and `arrayMap(file, …)`; a subquery's own `SETTINGS readonly = 0` lifts it
 * for that subquery; `DESCRIBE file(…)` opens files; and `INTO OUTFILE` writes them.
 */

/** Table functions that make rows out of nothing or of the store's own tables. */
const harmlessTableFunctions: ReadonlySet<string> = new Set([
  'numbers',
  'numbers_mt',
  'zeros',
  'zeros_mt',
  'generateSeries',
  'generate_series',
  'generateRandom',
  'primes',
  'values',
  'view',
  'null',
  'merge',
  'mergeTreeIndex',
  'mergeTreeProjection',
]);

/** Scalar functions that reach outside the store; their names are refused as identifiers too (`arrayMap(file, …)`). */
const outsideFunctions: ReadonlySet<string> = new Set(['file', 'catboostEvaluate', 'evalMLMethod']);

/** First words of an AST: the statements that a user may send. */
const allowedStatements =
  /^(SelectWithUnionQuery|SelectIntersectExceptQuery|SelectQuery|Explain EXPLAIN|ShowTables|ShowCreate|ShowColumns|ShowIndexes|ShowFunctions|DescribeQuery|ExistsTableQuery|ExistsViewQuery|ExistsDatabaseQuery)/;

/**
 * Why the statement is refused, or undefined when it may run. `ast` is the output of EXPLAIN AST (one node a line,
 * indented by depth); `tableFunctions` are names that are table functions of this engine and no scalar functions.
 */
export function refusalOf(ast: string, tableFunctions: ReadonlySet<string>): string | undefined {
  const lines = ast.split('\n').filter((line) => line.trim() !== '');
  if (!allowedStatements.test(lines[0] ?? '')) {
    return `only SELECT, WITH, EXPLAIN, SHOW, DESCRIBE and EXISTS are taken, this is ${lines[0]?.trim().split(' ')[0]}`;
  }
  let previous = '';
  for (const line of lines) {
    const node = line.trim();
    const reason = refusalOfNode(node, previous, tableFunctions);
    if (reason) return reason;
    previous = node;
  }
  return undefined;
}

function refusalOfNode(node: string, previous: string, tableFunctions: ReadonlySet<string>): string | undefined {
  const [type, name = ''] = node.split(' ');
  switch (type) {
    case 'Set':
      return 'SETTINGS are not taken: limits belong to the store';
    case 'ColumnsApplyTransformer':
      return 'APPLY is not taken: the engine does not say which function it applies';
    case 'TableOverride':
      return 'EXPLAIN TABLE OVERRIDE is not taken';
    case 'Function':
      if (outsideFunctions.has(name)) return `the function ${name} is not taken: it reaches outside the store`;
      if (previous.startsWith('TableExpression') ? !harmlessTableFunctions.has(name) : tableFunctions.has(name)) {
        return `the table function ${name} is not taken: it reaches outside the store`;
      }
      return undefined;
    case 'Identifier':
      return outsideFunctions.has(name)
        ? `the name ${name} is not taken: it is a function that reads files`
        : undefined;
    default:
      return undefined;
  }
}

/** Names for the second argument of `refusalOf`; one column `name`. */
export const selectTableFunctions =
  'SELECT name FROM system.table_functions WHERE name NOT IN (SELECT name FROM system.functions)';

/** Of the names that `selectTableFunctions` gave, those that are refused anywhere. */
export function outsideTableFunctions(names: Iterable<string>): ReadonlySet<string> {
  return new Set([...names].filter((name) => !harmlessTableFunctions.has(name)));
}

/** True when the statement itself chooses a format (`… FORMAT JSON`): the caller has chosen one already. */
export function namesFormat(ast: string): boolean {
  const lines = ast.split('\n');
  // A child of the statement itself is indented by one; in EXPLAIN the statement is one deeper.
  return /^(SelectWithUnionQuery|ShowTables|DescribeQuery|Explain)/.test(lines[0] ?? '')
    ? lines.some((line) => /^ Identifier /.test(line))
    : false;
}
