/** Statements that must be refused, each with the word that its refusal names. */
export interface Hostile {
  readonly sql: string;
  readonly names: RegExp;
}

const all = (names: string, make: (name: string) => string, reason?: (name: string) => RegExp): Hostile[] =>
  names
    .trim()
    .split(/\s+/)
    .map((name) => ({ sql: make(name), names: reason?.(name) ?? new RegExp(`\\b${name}\\b`) }));

const tableFunctions = all(
  `file fileCluster filesystem url urlCluster s3 s3Cluster gcs oss cosn hdfs hdfsCluster azureBlobStorage
  azureBlobStorageCluster remote remoteSecure cluster clusterAllReplicas mysql postgresql mongodb redis sqlite jdbc odbc
  executable dictionary input loop eval deltaLake deltaLakeLocal iceberg icebergLocal hudi paimon paimonLocal ytsaurus
  arrowstream viewExplain viewIfPermitted format fuzzJSON timeSeriesData timeSeriesTags prometheusQuery`,
  (name) => `SELECT * FROM ${name}('/etc/passwd', 'CSV', 'a String')`,
);
const inPlaces = [
  (call: string) => `SELECT 1 WHERE 1 IN (SELECT a FROM ${call})`,
  (call: string) => `WITH t AS (SELECT * FROM ${call}) SELECT * FROM t`,
  (call: string) => `SELECT * FROM calls AS c JOIN ${call} AS f ON 1 = 1`,
  (call: string) => `SELECT (SELECT any(a) FROM ${call})`,
  (call: string) => `SELECT 1 UNION ALL SELECT a FROM ${call}`,
  (call: string) => `DESCRIBE ${call}`,
  (call: string) => `EXPLAIN SELECT * FROM ${call}`,
  (call: string) => `SELECT * FROM view(SELECT * FROM ${call})`,
  (call: string) => `SELECT exists(SELECT 1 FROM ${call})`,
  (call: string) => `/* harmless */ SELECT -- really\n * FROM ${call}`,
].flatMap((place) => [
  { sql: place("url('http://127.0.0.1:1/', 'CSV', 'a String')"), names: /\burl\b/ },
  { sql: place("file('/etc/passwd', 'LineAsString', 'a String')"), names: /\bfile\b/ },
]);
const functions = all(
  `file catboostEvaluate evalMLMethod naiveBayesClassifier aiGenerate aiClassify aiExtract aiTranslate aiEmbed sleep
  sleepEachRow dictGet dictGetString dictGetOrDefault dictHas dictIsIn joinGet joinGetOrNull getSetting getServerSetting
  getMergeTreeSetting getMacro getServerPort tcpPort hostName FQDN serverUUID buildId getOSKernelVersion
  showCertificate filesystemAvailable filesystemCapacity filesystemUnreserved zookeeperSessionUptime addressToLine
  addressToSymbol demangle logTrace tid transactionID getClientHTTPHeader regionToName regionToCity hasThreadFuzzer
  generateSerialID __getScalar mergeTreePartInfo`,
  (name) => `SELECT ${name}('a', 'b', 'c')`,
);
const otherSpellings = [
  "SELECT FILE('/etc/passwd')",
  'SELECT AIGenerate(1)',
  "SELECT `file`('/etc/passwd')",
  'SELECT "file"(\'/etc/passwd\')',
  "SELECT fi/**/le('/etc/passwd') FROM (SELECT file('/etc/passwd'))",
  "SELECT\u00a0file('/etc/passwd')",
  "SELECT arrayMap(file, ['/etc/passwd'])",
  "SELECT arrayMap(x -> file(x), ['/etc/passwd'])",
  "SELECT arrayFilter(p -> file(p) != '', ['/etc/passwd'])",
  "SELECT arrayFold((a, p) -> a || file(p), ['/etc/passwd'], '')",
  "WITH file AS f SELECT arrayMap(f, ['/etc/passwd'])",
  "WITH (p -> file(p)) AS f SELECT f('/etc/passwd')",
  "SELECT * APPLY(file) FROM (SELECT '/etc/passwd')",
  "SELECT * APPLY(x -> file(x)) FROM (SELECT '/etc/passwd')",
  "SELECT COLUMNS('.') APPLY(file) FROM (SELECT '/etc/passwd' AS p)",
  "SELECT * REPLACE(file(p) AS p) FROM (SELECT '/etc/passwd' AS p)",
  "SELECT sum(1) OVER (PARTITION BY file('/etc/passwd'))",
  "SELECT sum(1) OVER w WINDOW w AS (ORDER BY file('/etc/passwd'))",
  "SELECT 1 ORDER BY file('/etc/passwd')",
  "SELECT 1 AS n ORDER BY n WITH FILL FROM 1 TO length(file('/etc/passwd'))",
  "SELECT 1 LIMIT length(file('/etc/passwd'))",
  "SELECT 1 LIMIT 1 BY file('/etc/passwd')",
  "SELECT 1 GROUP BY file('/etc/passwd')",
  "SELECT 1 HAVING file('/etc/passwd') != ''",
  "SELECT 1 QUALIFY file('/etc/passwd') != ''",
  "SELECT 1 FROM calls PREWHERE file('/etc/passwd') != ''",
  "SELECT 1 FROM calls ARRAY JOIN [file('/etc/passwd')] AS a",
  "SELECT DISTINCT ON (file('/etc/passwd')) 1",
  "SELECT 1 FROM calls GROUP BY GROUPING SETS ((file('/etc/passwd')))",
  "WITH RECURSIVE r AS (SELECT 1 UNION ALL SELECT file('/etc/passwd')) SELECT * FROM r",
  "SELECT * FROM values('a String', file('/etc/passwd'))",
  "SELECT CASE WHEN 1 THEN file('/etc/passwd') END",
  "SELECT file('/etc/passwd')::UInt8",
  "SELECT 1 IN (file('/etc/passwd'))",
  "SELECT [file('/etc/passwd')][1]",
  "SELECT (file('/etc/passwd'), 1).1",
  "SELECT {'a': file('/etc/passwd')}",
  "EXPLAIN SELECT file('/etc/passwd')",
  "EXPLAIN QUERY TREE SELECT file('/etc/passwd')",
  "EXPLAIN SYNTAX SELECT file('/etc/passwd')",
  "EXPLAIN PIPELINE SELECT file('/etc/passwd')",
  "DESCRIBE (SELECT file('/etc/passwd'))",
  "SHOW TABLES WHERE name = file('/etc/passwd')",
  "SHOW COLUMNS FROM calls WHERE file('/etc/passwd') = ''",
  "SHOW INDEX FROM calls WHERE file('/etc/passwd') = ''",
].map((sql) => ({ sql, names: /file|APPLY|brackets|AIGenerate|Syntax error/i }));
const statements = all(
  `INSERT_INTO_calls_SELECT_*_FROM_calls INSERT_INTO_FUNCTION_file('/tmp/x','CSV','a_String')_SELECT_'a'
  DROP_TABLE_calls DROP_VIEW_tool_calls DROP_DATABASE_default TRUNCATE_TABLE_calls ALTER_TABLE_calls_DELETE_WHERE_1
  ALTER_TABLE_calls_UPDATE_method='x'_WHERE_1 ALTER_TABLE_calls_DROP_PARTITION_ALL DELETE_FROM_calls_WHERE_1
  UPDATE_calls_SET_method='x'_WHERE_1 CREATE_TABLE_x(a_String)_ENGINE=Memory CREATE_TEMPORARY_TABLE_x(a_String)
  CREATE_TABLE_x_ENGINE=File(CSV)_AS_SELECT_1 CREATE_VIEW_x_AS_SELECT_1 CREATE_MATERIALIZED_VIEW_x_ENGINE=Memory_AS_SELECT_1
  CREATE_FUNCTION_f_AS_x->x CREATE_DATABASE_x CREATE_USER_x CREATE_ROLE_x CREATE_QUOTA_x CREATE_NAMED_COLLECTION_x_AS_a='b'
  CREATE_DICTIONARY_x(a_UInt8)_PRIMARY_KEY_a_SOURCE(FILE(path_'/etc/passwd'_format_'CSV'))_LAYOUT(FLAT())_LIFETIME(1)
  RENAME_TABLE_calls_TO_x EXCHANGE_TABLES_calls_AND_dead DETACH_TABLE_calls ATTACH_TABLE_calls OPTIMIZE_TABLE_calls_FINAL
  CHECK_TABLE_calls KILL_QUERY_WHERE_1 KILL_MUTATION_WHERE_1 SET_readonly=0 SET_max_execution_time=0 SET_dialect='prql'
  USE_system SYSTEM_SHUTDOWN SYSTEM_KILL SYSTEM_FLUSH_LOGS SYSTEM_DROP_MARK_CACHE SYSTEM_RELOAD_CONFIG SYSTEM_STOP_MERGES
  SYSTEM_ENABLE_FAILPOINT_x GRANT_ALL_ON_*.*_TO_x REVOKE_ALL_ON_*.*_FROM_x BACKUP_TABLE_calls_TO_File('x')
  RESTORE_TABLE_calls_FROM_File('x') WATCH_calls BEGIN_TRANSACTION COMMIT ROLLBACK SHOW_PROCESSLIST SHOW_GRANTS SHOW_ACCESS
  SHOW_ENGINES SHOW_SETTING_readonly EXPLAIN_INSERT_INTO_calls_SELECT_1 EXPLAIN_ESTIMATE_SELECT_1 EXPLAIN_CURRENT_TRANSACTION
  EXISTS_DICTIONARY_x UNDROP_TABLE_calls MOVE_USER_x_TO_y EXECUTE_AS_x_SELECT_1 PREPARE_x_AS_SELECT_1`,
  (name) =>
    name
      .replaceAll('_', ' ')
      .replaceAll('tool calls', 'tool_calls')
      .replaceAll('max execution time', 'max_execution_time'),
  () => /./,
);
const settings = [
  'SELECT 1 SETTINGS readonly = 0',
  'SELECT 1 SETTINGS max_execution_time = 0',
  'SELECT (SELECT 1 SETTINGS readonly = 0)',
  'SELECT * FROM (SELECT 1 SETTINGS max_result_rows = 0)',
  'WITH a AS (SELECT 1 SETTINGS max_memory_usage = 0) SELECT * FROM a',
  'SELECT 1 UNION ALL SELECT 2 SETTINGS readonly = 0',
  "SELECT * FROM calls SETTINGS additional_table_filters = {'calls': '1'}",
  'SELECT * FROM view(SELECT 1 SETTINGS readonly = 0)',
  'SELECT 1 IN (SELECT 1 SETTINGS readonly = 0)',
  'EXPLAIN SELECT 1 SETTINGS readonly = 0',
  'DESCRIBE (SELECT 1 SETTINGS readonly = 0)',
  'SELECT 1 FORMAT JSON SETTINGS output_format_json_quote_64bit_integers = 0',
].map((sql) => ({ sql, names: /SETTINGS|FORMAT|read/ }));
const several = [
  'SELECT 1; DROP TABLE calls',
  'SELECT 1;; SELECT 2',
  'SELECT 1; -- and then\nDROP TABLE calls',
  'SELECT 1 /* ; */; TRUNCATE TABLE calls',
  'EXPLAIN AST SELECT 1; DROP TABLE calls',
  'SELECT 1 FORMAT CSV; DROP TABLE calls',
  'INSERT INTO calls (method) FORMAT CSV\n1\n',
  'SELECT 1 PARALLEL WITH DROP TABLE calls',
  'DROP TABLE calls PARALLEL WITH DROP TABLE dead',
  '',
  ';',
  '-- nothing',
].map((sql) => ({ sql, names: /statement|Syntax error|Empty query|only SELECT|read/i }));
const files = [
  "SELECT 1 INTO OUTFILE 'out.csv'",
  "SELECT 1 INTO OUTFILE 'out.csv' FORMAT CSV",
  "SELECT 1 INTO OUTFILE 'out.csv' TRUNCATE",
  "SELECT 1 INTO OUTFILE 'out.csv' AND STDOUT",
  "SELECT 1 INTO /* */ OUTFILE 'out.csv' COMPRESSION 'gzip'",
  "EXPLAIN SELECT 1 INTO OUTFILE 'out.csv'",
  "SHOW TABLES INTO OUTFILE 'out.csv'",
  "DESCRIBE calls INTO OUTFILE 'out.csv'",
  "(SELECT 1) UNION ALL (SELECT 2) INTO OUTFILE 'out.csv'",
  "SELECT * FROM '/etc/passwd'",
  'SELECT * FROM `/etc/passwd`',
  'SELECT * FROM "/etc/passwd"',
  'SELECT * FROM `package.json`',
  'SELECT * FROM LICENSE',
  'DESCRIBE LICENSE',
  'SELECT * FROM default.LICENSE',
  'SELECT * FROM `default.LICENSE`',
  'SELECT 1 IN (SELECT * FROM LICENSE)',
  'SELECT * FROM `../../etc/passwd`',
].map((sql) => ({ sql, names: /OUTFILE|read|table|database|name|LICENSE/i }));
const systemTables = all(
  `query_log server_settings settings_changes clusters user_processes users grants role_grants quotas row_policies
  settings_profiles named_collections macros stack_trace certificates dns_cache zookeeper disks_x resources workloads
  backups dictionaries storage_policies remote_data_paths user_directories privileges masking_policies symbols fail_points
  jemalloc_stats kafka_consumers asynchronous_loader warnings text_log session_log trace_log`,
  (name) => `SELECT * FROM system.${name}`,
);
const otherDatabases = [
  'SELECT * FROM other.calls',
  'SELECT * FROM `system`.`users`',
  'SELECT * FROM SYSTEM.users',
  'SELECT 1 IN system.users',
  'SELECT count() FROM system.query_log AS calls',
  'SELECT * FROM calls JOIN system.users ON 1 = 1',
  'DESCRIBE system.users',
].map((sql) => ({ sql, names: /other|users|SYSTEM|query_log/ }));

/** Beyond what anybody may not do: what a key of one tenant may not. */
export const hostileToTenants: readonly Hostile[] = [
  ...all(
    'merge mergeTreeIndex mergeTreeProjection mergeTreeTextIndex',
    (name) => `SELECT * FROM ${name}('default', 'calls')`,
  ),
  ...all(
    'parts parts_columns processes events metrics errors merges mutations disks replicas projection_parts detached_parts',
    (name) => `SELECT * FROM system.${name}`,
  ),
  { sql: "SELECT * FROM calls SETTINGS additional_table_filters = {'calls': '1'}", names: /SETTINGS|readonly/ },
  { sql: 'SELECT 1 IN system.parts', names: /parts/ },
  { sql: 'SHOW TABLES FROM system', names: /tenant/ },
  ...[
    'SELECT * FROM system.tables',
    'SELECT t.* FROM `system`.`tables` AS t',
    "SELECT COLUMNS('rows') FROM system.tables",
    'SELECT COLUMNS(total_rows) FROM system.tables',
    'SELECT * EXCEPT name FROM system.columns',
    'SELECT total_rows FROM system.tables',
    'SELECT t.`total_bytes` FROM system.tables AS t',
    'SELECT name FROM system.tables WHERE system.tables.total_rows > 10',
    'SELECT name FROM system.tables ORDER BY parts',
    'SELECT sum(data_compressed_bytes) FROM system.columns',
    'WITH t AS (SELECT * FROM system.tables) SELECT name FROM t',
    'SELECT name FROM (SELECT name, data_uncompressed_bytes AS n FROM system.data_skipping_indices) WHERE n > 1',
    'SELECT table_rows FROM information_schema.tables',
    'SELECT DATA_LENGTH FROM INFORMATION_SCHEMA.TABLES',
    'SELECT 1 IN (SELECT total_rows FROM system.tables)',
    'SELECT tuple(1) IN system.tables',
    'SELECT a.name FROM system.tables AS a JOIN system.tables AS b USING (total_rows)',
  ].map((sql) => ({ sql, names: /one tenant/ })),
];

export const hostile: readonly Hostile[] = [
  ...tableFunctions,
  ...inPlaces,
  ...functions,
  ...otherSpellings,
  ...statements,
  ...settings,
  ...several,
  ...files,
  ...systemTables,
  ...otherDatabases,
];
