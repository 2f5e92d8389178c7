-- One row for each recorded request. The columns follow the list in schemas/event.ts; a test compares them.
--
-- PARTITION BY the day of recorded_at: a block is of one day, so it is one part and stored whole or not at all.
-- ORDER BY actor, session, time: the question asked most is what one actor did, and equal neighbours compress best.
-- Skip indexes: time and id's time prune granules; the bloom filter finds one id; offsets serve the check after an insert.
-- The bloom filter of words finds a rare word (hasToken) for 2 bytes an event; a text index would be three times as fast
-- and take 22 bytes, as much as the arguments themselves, and twice the time of an insert.
-- Projections are parts of the part: a kill leaves them neither ahead nor behind.
CREATE TABLE IF NOT EXISTS calls
(
    event_id UUID CODEC(ZSTD(1)),
    schema_version UInt32 CODEC(T64, ZSTD(1)),
    tenant LowCardinality(String) CODEC(ZSTD(1)),
    producer_id LowCardinality(String) CODEC(ZSTD(1)),
    producer_sequence UInt64 CODEC(Delta(8), ZSTD(1)),
    producer_key LowCardinality(String) CODEC(ZSTD(1)),
    occurred_at DateTime64(6, 'UTC') CODEC(T64, ZSTD(1)),
    recorded_at DateTime64(3, 'UTC') CODEC(T64, ZSTD(1)),
    duration_ms Nullable(Decimal(18, 3)) CODEC(T64, ZSTD(1)),
    actor_id LowCardinality(String) CODEC(ZSTD(1)),
    actor_type LowCardinality(String) CODEC(ZSTD(1)),
    actor_verified Bool CODEC(ZSTD(1)),
    client_id LowCardinality(String) CODEC(ZSTD(1)),
    client_name LowCardinality(String) CODEC(ZSTD(1)),
    client_version LowCardinality(String) CODEC(ZSTD(1)),
    session_id LowCardinality(String) CODEC(ZSTD(1)),
    client_address LowCardinality(String) CODEC(ZSTD(1)),
    server_name LowCardinality(String) CODEC(ZSTD(1)),
    server_version LowCardinality(String) CODEC(ZSTD(1)),
    method LowCardinality(String) CODEC(ZSTD(1)),
    tool_name LowCardinality(String) CODEC(ZSTD(1)),
    resource_uri String CODEC(ZSTD(1)),
    prompt_name LowCardinality(String) CODEC(ZSTD(1)),
    request_id String CODEC(ZSTD(1)),
    protocol_version LowCardinality(String) CODEC(ZSTD(1)),
    transport LowCardinality(String) CODEC(ZSTD(1)),
    outcome LowCardinality(String) CODEC(ZSTD(1)),
    error_type LowCardinality(String) CODEC(ZSTD(1)),
    error_code Int64 CODEC(T64, ZSTD(1)),
    error_message String CODEC(ZSTD(1)),
    arguments String CODEC(ZSTD(3)) TTL toDate(recorded_at) + toIntervalDay(30),
    result String CODEC(ZSTD(3)) TTL toDate(recorded_at) + toIntervalDay(30),
    arguments_bytes UInt32 CODEC(T64, ZSTD(1)),
    result_bytes UInt32 CODEC(T64, ZSTD(1)),
    arguments_hash String CODEC(ZSTD(1)),
    truncated Bool CODEC(ZSTD(1)),
    redactions Array(String) CODEC(ZSTD(1)),
    tool_definition_hash LowCardinality(String) CODEC(ZSTD(1)),
    tool_read_only Nullable(Bool) CODEC(ZSTD(1)),
    tool_destructive Nullable(Bool) CODEC(ZSTD(1)),
    tool_idempotent Nullable(Bool) CODEC(ZSTD(1)),
    tool_open_world Nullable(Bool) CODEC(ZSTD(1)),
    trace_id String CODEC(ZSTD(1)),
    span_id String CODEC(ZSTD(1)),
    parent_event_id String CODEC(ZSTD(1)),
    task_id String CODEC(ZSTD(1)),
    attributes Map(String, String) CODEC(ZSTD(1)),
    stream_partition UInt32 CODEC(T64, ZSTD(1)),
    stream_offset UInt64 CODEC(Delta(8), ZSTD(1)),

    INDEX occurred_at_range occurred_at TYPE minmax GRANULARITY 1,
    INDEX event_id_time UUIDv7ToDateTime(event_id) TYPE minmax GRANULARITY 1,
    INDEX event_id_bloom event_id TYPE bloom_filter(0.01) GRANULARITY 1,
    INDEX stream_offset_range stream_offset TYPE minmax GRANULARITY 1,
    INDEX arguments_words arguments TYPE tokenbf_v1(16384, 4, 0) GRANULARITY 1,

    PROJECTION by_minute
    (
        SELECT
            tenant, toStartOfMinute(occurred_at), server_name, tool_name, method, outcome,
            count(), sum(duration_ms), max(duration_ms), sum(arguments_bytes), sum(result_bytes)
        GROUP BY tenant, toStartOfMinute(occurred_at), server_name, tool_name, method, outcome
    ),
    PROJECTION by_tool_day
    (
        SELECT
            tenant, toDate(occurred_at), server_name, tool_name, method, outcome,
            count(), sum(duration_ms), max(duration_ms), count(duration_ms)
        GROUP BY tenant, toDate(occurred_at), server_name, tool_name, method, outcome
    ),
    PROJECTION by_actor_day
    (
        SELECT
            tenant, toDate(occurred_at), actor_id, server_name, tool_name, outcome,
            count(), min(occurred_at), max(occurred_at)
        GROUP BY tenant, toDate(occurred_at), actor_id, server_name, tool_name, outcome
    ),
    PROJECTION by_stream_partition
    (
        SELECT
            tenant, stream_partition, max(stream_offset), max(toUnixTimestamp64Milli(UUIDv7ToDateTime(event_id))), count()
        GROUP BY tenant, stream_partition
    )
)
ENGINE = MergeTree
PARTITION BY toDate(recorded_at)
ORDER BY (tenant, actor_id, session_id, occurred_at)
TTL toDate(recorded_at) + toIntervalDay(90)
SETTINGS ttl_only_drop_parts = 1, fsync_after_insert = 1, fsync_part_directory = 1, min_rows_to_fsync_after_merge = 1;
