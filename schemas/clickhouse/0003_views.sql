-- Calls by minute, answered from the projection by_minute.
CREATE OR REPLACE VIEW calls_per_minute AS
SELECT
    tenant,
    toStartOfMinute(occurred_at) AS minute,
    server_name,
    tool_name,
    method,
    outcome,
    count() AS calls,
    sum(duration_ms) AS total_duration_ms,
    max(duration_ms) AS max_duration_ms,
    sum(arguments_bytes) AS arguments_bytes,
    sum(result_bytes) AS result_bytes
FROM calls
GROUP BY tenant, minute, server_name, tool_name, method, outcome;

-- The everyday questions: who called which tool, when, with what, and how it went.
CREATE OR REPLACE VIEW tool_calls AS
SELECT
    occurred_at AS time,
    tenant,
    actor_id AS actor,
    actor_verified,
    client_name AS client,
    session_id AS session,
    server_name AS server,
    tool_name AS tool,
    outcome,
    CAST(outcome NOT IN ('success', 'task_created', 'input_required'), 'Bool') AS failed,
    duration_ms,
    error_message AS error,
    arguments,
    result,
    tool_read_only,
    tool_destructive,
    event_id
FROM calls
WHERE method = 'tools/call';

-- What each actor called on each day, answered from the projection by_actor_day.
CREATE OR REPLACE VIEW calls_per_actor_day AS
SELECT
    tenant,
    toDate(occurred_at) AS day,
    actor_id,
    server_name,
    tool_name,
    outcome,
    count() AS calls,
    min(occurred_at) AS first_at,
    max(occurred_at) AS last_at
FROM calls
GROUP BY tenant, day, actor_id, server_name, tool_name, outcome;

-- How each tool did on each day, answered from the projection by_tool_day.
CREATE OR REPLACE VIEW calls_per_tool_day AS
SELECT
    tenant,
    toDate(occurred_at) AS day,
    server_name,
    tool_name,
    method,
    outcome,
    count() AS calls,
    sum(duration_ms) / nullIf(count(duration_ms), 0) AS average_duration_ms,
    sum(duration_ms) AS total_duration_ms,
    max(duration_ms) AS max_duration_ms
FROM calls
GROUP BY tenant, day, server_name, tool_name, method, outcome;
