/**
 * The fence before a user's SQL, judged by the engine's own parse (`EXPLAIN AST`), never by the text. `readonly = 1`
 * stands behind it but is no fence by itself (tried on 26.7): under it `file('/etc/passwd')` as a scalar function reads
 * any file of the host, also as `APPLY(file)` and `arrayMap(file, …)`; `aiGenerate` and its kin reach networks; a
 * subquery's own `SETTINGS readonly = 0` lifts it for that subquery; `DESCRIBE file(…)` opens files; `INTO OUTFILE`
 * writes them; and the engine in process takes a table's name for a file's where there is no such table.
 *
 * What is not known to be harmless is refused: a statement, a function, a table of the engine. So a newer engine's new
 * functions stay outside until somebody has looked at them. An identifier may hold line breaks and so write lines of the
 * AST, but each line can only be a reason to refuse, so lines that are added win nothing.
 */

/** Table functions that make rows out of nothing or of what the statement says itself. */
const harmlessTableFunctions: ReadonlySet<string> = new Set(
  'numbers numbers_mt zeros zeros_mt generateSeries generate_series generateRandom primes values VALUES view null'.split(
    ' ',
  ),
);
/** Those that open the store's tables by themselves, past the condition that keeps tenants apart. */
const ownTableFunctions: ReadonlySet<string> = new Set(
  'merge mergeTreeIndex mergeTreeProjection mergeTreeTextIndex'.split(' '),
);

/** Categories of functions that reach files, networks, models, dictionaries or the process itself. */
const outsideCategories: ReadonlySet<string> = new Set([
  'AI',
  'Dictionary',
  'Embedded Dictionary',
  'Internal',
  'Introspection',
  'Machine Learning',
]);
/** Of the categories `Other` and `Internal`, those that compute and tell nothing of the host. */
const harmlessOthers: ReadonlySet<string> = new Set(
  `bar identity materialize transform version uptime revision timezone displayName currentUser currentDatabase
  currentSchemas currentQueryID queryID initialQueryID connectionId currentRoles enabledRoles defaultRoles currentProfiles
  authenticatedUser toTypeName toColumnTypeName getTypeSerializationStreams dumpColumnStructure byteSize blockSize
  blockNumber rowNumberInBlock rowNumberInAllBlocks blockSerializedSize ignore indexHint isConstant throwIf
  formatReadableSize formatReadableDecimalSize formatReadableQuantity formatReadableTimeDelta parseTimeDelta
  parseReadableSize parseReadableSizeOrNull parseReadableSizeOrZero digits countDigits isDecimalOverflow visibleWidth
  runningDifference runningDifferenceStartingWithFirstValue runningAccumulate neighbor finalizeAggregation
  initializeAggregation defaultValueOfArgumentType defaultValueOfTypeName getSubcolumn variantElement variantType
  minSampleSizeConversion minSampleSizeContinuous normalizeQuery normalizeQueryKeepNames normalizedQueryHash
  normalizedQueryHashKeepNames obfuscateQuery obfuscateQueryWithSeed formatQuery formatQueryOrNull formatQuerySingleLine
  formatQuerySingleLineOrNull tokenizeQuery highlightQuery fuzzQuery lowCardinalityKeys lowCardinalityIndices
  getSizeOfEnumType hasColumnInTable MACNumToString MACStringToNum MACStringToOUI icebergBucket icebergTruncate
  colorSRGBToOKLCH colorSRGBToOKLAB colorOKLCHToSRGB colorOKLABToSRGB errorCodeToName flipCoordinates partitionId
  globalVariable _CAST caseWithExpression nested`
    .trim()
    .split(/\s+/),
);
/** Words of the grammar that the AST shows as functions. */
const syntax: ReadonlySet<string> = new Set('lambda untuple grouping exists columns in notIn'.split(' '));

/** The engine's own tables about the dialect and the schema. `tables` and `columns` also tell sizes of tables. */
const openSystemTables: ReadonlySet<string> = new Set(
  `aggregate_function_combinators build_options codecs collations columns completions constraints contributors
  data_skipping_index_types data_skipping_indices data_type_families databases database_engines disk_types documentation
  formats functions keywords licenses numbers numbers_mt one primes projections settings table_engines table_functions
  tables time_zones tokenizers unicode zeros zeros_mt`
    .trim()
    .split(/\s+/),
);
/** Those of them with sizes of tables, and the columns that hold the sizes: of everybody's rows. */
const sizedTable = /^(system\.(tables|columns|data_skipping_indices)|information_schema\.(tables|statistics))$/i;
const sizeColumn =
  /^(total_\w+|lifetime_\w+|parts|active_\w+|\w+_bytes|\w+_cache_size|serialization_hint|statistics|table_rows|data_length|index_length|cardinality)$/i;
/** Those that tell of everybody's rows and of the engine's work: for a reader of every tenant. */
const ownerSystemTables: ReadonlySet<string> = new Set(
  `asynchronous_metrics detached_parts disks errors events merges metrics mutations parts parts_columns processes
  projection_parts replicas`
    .trim()
    .split(/\s+/),
);

/** First words of an AST: the statements that a user may send. */
const allowedStatements =
  /^(SelectWithUnionQuery|SelectIntersectExceptQuery|SelectQuery|Explain EXPLAIN|ShowTables|ShowCreate(Table|View)Query|ShowColumns|ShowIndexes|ShowFunctions|DescribeQuery|ExistsTableQuery|ExistsViewQuery|ExistsDatabaseQuery)\b/;
const showStatements = /^(Show|Exists)/;
/** EXPLAIN of a query; ESTIMATE and TABLE OVERRIDE tell of other things. */
const allowedExplain = /^Explain EXPLAIN( AST| SYNTAX| QUERY TREE| PLAN| PIPELINE)?( \(children \d+\))?$/;
const plainName = /^[\p{L}_][\p{L}\p{N}_$]*$/u;

interface EngineFunction {
  readonly name: string;
  readonly aliasTo: string;
  readonly isAggregate: boolean;
  readonly isSystem: boolean;
  readonly categories: readonly string[];
}

/** Rows of `selectFunctions`, `selectTableFunctions` and `selectTables`, as the engine gives them. */
type AskEngine = (sql: string) => Promise<readonly Record<string, unknown>[]>;

const selectFunctions =
  'SELECT name, alias_to, is_aggregate, origin, categories, case_insensitive FROM system.functions';
const selectTableFunctions = 'SELECT name FROM system.table_functions';
const selectTables = 'SELECT name FROM system.tables WHERE database = currentDatabase()';

/** A function that somebody adds to a server is known after this time; until then it is refused by the reader's rights. */
const functionsKeptMs = 10_000;

/** What is asked of the fence about one statement. */
interface Statement {
  readonly sql: string;
  /** The output of EXPLAIN AST: one node a line, indented by depth. */
  readonly ast: string;
  /** One tenant's rows only. */
  readonly isTenant: boolean;
  readonly isOurs: boolean;
}

export class Fence {
  private functions: ReadonlyMap<string, EngineFunction> = new Map();
  private tableFunctions: ReadonlySet<string> = new Set();
  private tables: ReadonlySet<string> = new Set();
  private functionsReadAtMs = Number.NEGATIVE_INFINITY;

  /**
   * `isFile` says whether the engine would find a file under the name of a table that is not there; a server has none.
   */
  constructor(
    private readonly ask: AskEngine,
    private readonly database: string,
    private readonly isFile: (name: string) => boolean = () => false,
  ) {}

  /** Why the statement is refused, or undefined when it may run. */
  async refusalOf(statement: Statement): Promise<string | undefined> {
    const lines = statement.ast.split('\n').filter((line) => line.trim() !== '');
    const nodes = lines.map(nodeOf);
    if (!nodes.every((node) => this.isKnownFunction(node))) await this.readFunctions();
    if (!nodes.every((node) => this.isKnownTable(node))) await this.readTables();
    return (
      this.judgeStatement(lines, statement) ??
      this.judgeNodes(nodes, statement.isTenant) ??
      (statement.isTenant ? sizeRefusal(nodes) : undefined)
    );
  }

  private judgeStatement(lines: readonly string[], { sql, isTenant, isOurs }: Statement): string | undefined {
    const first = lines[0] ?? '';
    if (!allowedStatements.test(first))
      return `only SELECT, WITH, EXPLAIN, SHOW, DESCRIBE and EXISTS are taken, this is ${first.trim().split(' ')[0]}`;
    // The AST keeps the condition of a SHOW to itself. No function is called without a bracket.
    if (showStatements.test(first) && sql.includes('(')) return 'SHOW and EXISTS are not taken with brackets';
    if (first.startsWith('Explain')) {
      if (!allowedExplain.test(first)) return `${first.slice('Explain '.length)} is not taken`;
      if (!/^ (SelectWithUnionQuery|SelectIntersectExceptQuery|SelectQuery|Set)\b/.test(lines[1] ?? ''))
        return `only a query may be explained, this is ${lines[1]?.trim().split(' ')[0]}`;
    }
    // The AST shows its condition as that of a WHERE; a word of the grammar cannot be written in another way.
    if (isTenant && !isOurs && /prewhere/i.test(sql))
      return 'PREWHERE is not taken with a key of one tenant: it comes before the condition that keeps tenants apart';
    if (isTenant && showStatements.test(first) && lines.slice(1).some((line) => /^ Identifier system\b/.test(line)))
      return 'the tables of the engine are not listed for a key of one tenant';
    return undefined;
  }

  private judgeNodes(nodes: readonly AstNode[], isTenant: boolean): string | undefined {
    let previous: AstNode | undefined;
    for (const node of nodes) {
      const isTableFunction = node.type === 'Function' && previous?.type === 'TableExpression';
      const reason = isTableFunction
        ? this.tableFunctionRefusal(node.name, isTenant)
        : this.nodeRefusal(node, isTenant);
      if (reason !== undefined) return reason;
      previous = node;
    }
    return undefined;
  }

  private nodeRefusal({ type, name }: AstNode, isTenant: boolean): string | undefined {
    switch (type) {
      case 'Set':
        return 'SETTINGS are not taken: limits belong to the store';
      case 'ColumnsApplyTransformer':
        return 'APPLY is not taken: the engine does not say which function it applies';
      case 'TableOverride':
        return 'EXPLAIN TABLE OVERRIDE is not taken';
      case 'Function':
        return this.functionRefusal(name);
      case 'Identifier':
        return this.identifierRefusal(name, isTenant);
      case 'TableIdentifier':
        return this.tableRefusal(name, isTenant);
      default:
        return undefined;
    }
  }

  private functionRefusal(name: string): string | undefined {
    const found = this.find(name);
    if (found !== undefined)
      return isHarmless(found) ? undefined : `the function ${name} is not taken: it reaches outside the store`;
    // A name that is no function of the engine runs nothing: a lambda of the statement, an aggregate with suffixes, or
    // a mistake that the engine explains.
    return this.tableFunctions.has(name) && !harmlessTableFunctions.has(name)
      ? `the table function ${name} is not taken: it reaches outside the store`
      : undefined;
  }

  private tableFunctionRefusal(name: string, isTenant: boolean): string | undefined {
    if (harmlessTableFunctions.has(name)) return undefined;
    if (ownTableFunctions.has(name))
      return isTenant ? `the table function ${name} is not taken with a key of one tenant` : undefined;
    return `the table function ${name} is not taken: it reaches outside the store`;
  }

  /** A function may be handed on by its name (`arrayMap(file, …)`), and a table (`x IN system.parts`). */
  private identifierRefusal(name: string, isTenant: boolean): string | undefined {
    const found = this.find(name);
    if (found !== undefined && !isHarmless(found))
      return `the name ${name} is not taken: it is a function that reaches outside the store`;
    const [database = '', table = ''] = name.split('.');
    return table !== '' && database.toLowerCase() === 'system' ? systemRefusal(table, isTenant) : undefined;
  }

  private tableRefusal(name: string, isTenant: boolean): string | undefined {
    const parts = name.split('.');
    const [database, table] = parts.length === 1 ? [this.database, name] : [parts[0]!, parts[1]!];
    if (parts.length > 2 || !parts.every((part) => plainName.test(part)))
      return `the table ${JSON.stringify(name)} is not taken: a table's name is a word`;
    if (database === 'system') return systemRefusal(table, isTenant);
    if (/^information_schema$/i.test(database)) return undefined;
    if (database !== this.database) return `the database ${database} is not taken`;
    if (!this.tables.has(table) && this.isFile(table)) return `the table ${table} is not taken: it is a file`;
    return undefined;
  }

  private find(name: string): EngineFunction | undefined {
    let found = this.functions.get(name) ?? this.functions.get(name.toLowerCase());
    for (let hops = 0; hops < 4 && found !== undefined && found.aliasTo !== ''; hops++)
      found = this.functions.get(found.aliasTo) ?? this.functions.get(found.aliasTo.toLowerCase());
    return found;
  }

  /** Whether what the node names was there when the engine was last asked. */
  private isKnownFunction({ type, name }: AstNode): boolean {
    if (this.functions.size === 0) return false;
    return type !== 'Function' || syntax.has(name) || this.tableFunctions.has(name) || this.find(name) !== undefined;
  }

  private isKnownTable({ type, name }: AstNode): boolean {
    return type !== 'TableIdentifier' || name.includes('.') || this.tables.has(name);
  }

  private async readTables(): Promise<void> {
    this.tables = new Set((await this.ask(selectTables)).map(({ name }) => String(name)));
  }

  /** Names that are no function's must not cost a reading each. */
  private async readFunctions(): Promise<void> {
    if (performance.now() < this.functionsReadAtMs + functionsKeptMs) return;
    this.functionsReadAtMs = performance.now();
    const functions = new Map<string, EngineFunction>();
    const anyCase = new Map<string, EngineFunction>();
    for (const row of await this.ask(selectFunctions)) {
      const name = String(row.name);
      const one = {
        name,
        aliasTo: String(row.alias_to),
        isAggregate: Number(row.is_aggregate) === 1,
        isSystem: String(row.origin) === 'System',
        categories: String(row.categories ?? '').split(/\s*,\s*/),
      };
      functions.set(name, one);
      if (Number(row.case_insensitive) === 1) anyCase.set(name.toLowerCase(), one);
    }
    // A name as it is written comes before one that is equal in another case.
    this.functions = new Map([...anyCase, ...functions]);
    this.tableFunctions = new Set((await this.ask(selectTableFunctions)).map(({ name }) => String(name)));
  }
}

interface AstNode {
  readonly type: string;
  /** Of a function, identifier or table, without its alias. */
  readonly name: string;
}

function nodeOf(line: string): AstNode {
  const [, type = '', name = ''] = /^ *(\S+)(?: (.*?))?(?: \(alias .*\))?(?: \(children \d+\))?$/s.exec(line) ?? [];
  return { type, name };
}

/** Sizes are hidden by name, so whoever reads such a table has to name what is wanted. */
function sizeRefusal(nodes: readonly AstNode[]): string | undefined {
  if (!nodes.some(({ name }) => sizedTable.test(name))) return undefined;
  for (const { type, name } of nodes) {
    if (/Asterisk|Matcher/.test(type))
      return 'with a key of one tenant, name the columns that you want of the tables about tables: sizes are not told';
    if (type !== 'Identifier') continue;
    if (sizeColumn.test(name.split('.').at(-1) ?? '') || sizedTable.test(name))
      return `${name} is not told to a key of one tenant: it counts everybody's rows`;
  }
  return undefined;
}

function systemRefusal(table: string, isTenant: boolean): string | undefined {
  if (openSystemTables.has(table)) return undefined;
  if (!ownerSystemTables.has(table)) return `the table system.${table} is not taken: it tells of the host`;
  return isTenant ? `the table system.${table} is not taken with a key of one tenant` : undefined;
}

function isHarmless({ name, isAggregate, isSystem, categories }: EngineFunction): boolean {
  if (!isSystem) return false;
  if (isAggregate || harmlessOthers.has(name)) return true;
  if (categories.some((each) => outsideCategories.has(each))) return false;
  return !categories.some((each) => each === '' || each === 'Other');
}

/** True when the statement itself chooses a format (`… FORMAT JSON`): the caller has chosen one already. */
export function namesFormat(ast: string, database: string): boolean {
  const lines = ast.split('\n');
  // A child of the statement itself is indented by one; in EXPLAIN the statement is one deeper.
  const [, statement] = /^(SelectWithUnionQuery|ShowTables|DescribeQuery|Explain)/.exec(lines[0] ?? '') ?? [];
  if (statement === undefined) return false;
  const names = lines.filter((line) => /^ Identifier /.test(line)).map((line) => nodeOf(line).name);
  // SHOW TABLES FROM has the database in the same place.
  const databases = new RegExp(`^(${database}|system|information_schema)$`, 'i');
  return names.some((name) => statement !== 'ShowTables' || !databases.test(name));
}
