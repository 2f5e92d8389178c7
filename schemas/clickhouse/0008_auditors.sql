-- What an auditor asks by name. Each view groups calls, so a condition on tenant, actor_id or server_name goes down to
-- the rows; a range of time is asked of calls itself. Failed: any outcome but success, task_created, input_required.

-- One row for each actor: who calls, since when, what and how well.
CREATE OR REPLACE VIEW actors AS
SELECT
    tenant,
    actor_id,
    argMax(actor_type, occurred_at) AS actor_type,
    max(actor_verified) AS verified,
    min(occurred_at) AS first_at,
    max(occurred_at) AS last_at,
    count() AS calls,
    countIf(method = 'tools/call') AS tool_calls,
    countIf(outcome NOT IN ('success', 'task_created', 'input_required')) AS failed,
    uniqExactIf(session_id, session_id != '') AS sessions,
    arraySort(groupUniqArrayIf(server_name, server_name != '')) AS servers,
    arraySort(groupUniqArrayIf(tool_name, tool_name != '')) AS tools,
    arraySort(groupUniqArrayIf(client_name, client_name != '')) AS clients
FROM calls
GROUP BY tenant, actor_id;

-- One row for each definition that a tool has had, as its hash.
CREATE OR REPLACE VIEW tool_definitions AS
SELECT
    tenant,
    server_name,
    tool_name,
    tool_definition_hash AS definition,
    min(occurred_at) AS first_at,
    max(occurred_at) AS last_at,
    count() AS calls,
    argMax(tool_read_only, occurred_at) AS read_only,
    argMax(tool_destructive, occurred_at) AS destructive
FROM calls
WHERE method = 'tools/call'
GROUP BY tenant, server_name, tool_name, definition;

-- One row for each tool: how much it is used, by how many, how well, and the definitions it has had in their order.
CREATE OR REPLACE VIEW tools AS
SELECT
    tenant,
    server_name,
    tool_name,
    sum(calls_of_one) AS calls,
    sum(failed_of_one) AS failed,
    uniqExactMerge(actors_of_one) AS actors,
    min(first_of_one) AS first_at,
    max(last_of_one) AS last_at,
    argMax(read_only_of_one, last_of_one) AS read_only,
    argMax(destructive_of_one, last_of_one) AS destructive,
    arrayMap(each -> each.2, arraySort(groupArrayIf((first_of_one, tool_definition_hash), tool_definition_hash != ''))) AS definitions,
    arrayMap(each -> each.1, arraySort(groupArrayIf((first_of_one, tool_definition_hash), tool_definition_hash != ''))) AS defined_at
FROM
(
    SELECT
        tenant,
        server_name,
        tool_name,
        tool_definition_hash,
        count() AS calls_of_one,
        countIf(outcome NOT IN ('success', 'task_created', 'input_required')) AS failed_of_one,
        uniqExactState(actor_id) AS actors_of_one,
        min(occurred_at) AS first_of_one,
        max(occurred_at) AS last_of_one,
        argMax(tool_read_only, occurred_at) AS read_only_of_one,
        argMax(tool_destructive, occurred_at) AS destructive_of_one
    FROM calls
    WHERE method = 'tools/call'
    GROUP BY tenant, server_name, tool_name, tool_definition_hash
)
GROUP BY tenant, server_name, tool_name;

-- One row for each session: who, with what, from when to when, and its calls in their order (the first 1,000).
CREATE OR REPLACE VIEW sessions AS
SELECT
    tenant,
    session_id,
    argMax(actor_id, occurred_at) AS actor_id,
    argMax(client_name, occurred_at) AS client_name,
    arraySort(groupUniqArray(server_name)) AS servers,
    min(occurred_at) AS started_at,
    max(occurred_at) AS last_at,
    count() AS calls,
    countIf(outcome NOT IN ('success', 'task_created', 'input_required')) AS failed,
    arrayMap(each -> each.2, groupArraySorted(1000)((occurred_at, if(tool_name = '', toString(method), toString(tool_name))))) AS sequence
FROM calls
WHERE session_id != ''
GROUP BY tenant, session_id;
