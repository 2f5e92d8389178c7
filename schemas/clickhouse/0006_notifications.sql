-- One row for each record of a delivery: it was planned, left, arrived, failed. The columns follow the list in
-- schemas/delivery.ts; a test compares them. PARTITION BY as in calls: a block is one part.
CREATE TABLE IF NOT EXISTS deliveries
(
    delivery_id String CODEC(ZSTD(1)),
    revision UInt32 CODEC(T64, ZSTD(1)),
    state LowCardinality(String) CODEC(ZSTD(1)),
    reason LowCardinality(String) CODEC(ZSTD(1)),
    channel LowCardinality(String) CODEC(ZSTD(1)),
    via LowCardinality(String) CODEC(ZSTD(1)),
    tenant LowCardinality(String) CODEC(ZSTD(1)),
    lane String CODEC(ZSTD(1)),
    opened_at DateTime64(6, 'UTC') CODEC(T64, ZSTD(1)),
    sequence UInt32 CODEC(T64, ZSTD(1)),
    `group` Map(String, String) CODEC(ZSTD(1)),
    level LowCardinality(String) CODEC(ZSTD(1)),
    alert_ids Array(String) CODEC(ZSTD(1)),
    telling String CODEC(ZSTD(3)),
    told String CODEC(ZSTD(3)),
    attempt UInt32 CODEC(T64, ZSTD(1)),
    planned_at DateTime64(6, 'UTC') CODEC(T64, ZSTD(1)),
    at DateTime64(6, 'UTC') CODEC(T64, ZSTD(1)),
    next_attempt_at DateTime64(6, 'UTC') CODEC(T64, ZSTD(1)),
    error_kind LowCardinality(String) CODEC(ZSTD(1)),
    error String CODEC(ZSTD(1)),
    answer String CODEC(ZSTD(1)),
    reference String CODEC(ZSTD(1)),
    root String CODEC(ZSTD(1)),
    possible_duplicate Bool CODEC(ZSTD(1)),
    duration_ms Nullable(Decimal(18, 3)) CODEC(T64, ZSTD(1)),
    owner LowCardinality(String) CODEC(ZSTD(1)),
    attributes Map(String, String) CODEC(ZSTD(1)),
    recorded_at DateTime64(3, 'UTC') CODEC(T64, ZSTD(1)),
    stream_partition UInt32 CODEC(T64, ZSTD(1)),
    stream_offset UInt64 CODEC(Delta(8), ZSTD(1)),

    PROJECTION by_stream_partition
    (
        SELECT stream_partition, max(stream_offset), count()
        GROUP BY stream_partition
    )
)
ENGINE = MergeTree
PARTITION BY toDate(recorded_at)
ORDER BY (delivery_id, revision)
TTL toDate(recorded_at) + toIntervalDay(90)
SETTINGS ttl_only_drop_parts = 1, fsync_after_insert = 1, fsync_part_directory = 1, min_rows_to_fsync_after_merge = 1;

-- Each delivery as it is now: its newest record. Notes of the notifier to itself are left out.
CREATE OR REPLACE VIEW deliveries_latest AS
SELECT *
FROM deliveries
WHERE state != 'noted'
ORDER BY delivery_id, revision DESC
LIMIT 1 BY delivery_id;

-- One row for each decision of a person about alerts, deliveries and throttles: schemas/response.ts.
CREATE TABLE IF NOT EXISTS responses
(
    response_id String CODEC(ZSTD(1)),
    revision UInt32 CODEC(T64, ZSTD(1)),
    kind LowCardinality(String) CODEC(ZSTD(1)),
    target String CODEC(ZSTD(1)),
    matchers Array(String) CODEC(ZSTD(1)),
    starts_at DateTime64(6, 'UTC') CODEC(T64, ZSTD(1)),
    ends_at DateTime64(6, 'UTC') CODEC(T64, ZSTD(1)),
    throttle String CODEC(ZSTD(3)),
    reason String CODEC(ZSTD(1)),
    author String CODEC(ZSTD(1)),
    author_key LowCardinality(String) CODEC(ZSTD(1)),
    tenant LowCardinality(String) CODEC(ZSTD(1)),
    at DateTime64(6, 'UTC') CODEC(T64, ZSTD(1)),
    attributes Map(String, String) CODEC(ZSTD(1)),
    recorded_at DateTime64(3, 'UTC') CODEC(T64, ZSTD(1)),
    stream_partition UInt32 CODEC(T64, ZSTD(1)),
    stream_offset UInt64 CODEC(Delta(8), ZSTD(1)),

    PROJECTION by_stream_partition
    (
        SELECT stream_partition, max(stream_offset), count()
        GROUP BY stream_partition
    )
)
ENGINE = MergeTree
PARTITION BY toDate(recorded_at)
ORDER BY (response_id, revision)
TTL toDate(recorded_at) + toIntervalDay(90)
SETTINGS ttl_only_drop_parts = 1, fsync_after_insert = 1, fsync_part_directory = 1, min_rows_to_fsync_after_merge = 1;

-- Each decision as it is now.
CREATE OR REPLACE VIEW responses_latest AS
SELECT *
FROM responses
ORDER BY response_id, revision DESC
LIMIT 1 BY response_id;

-- Each alert as it is now, with what people decided about it.
CREATE OR REPLACE VIEW alert_states AS
SELECT
    alerts_latest.*,
    multiIf(alerts_latest.state = 'resolved' OR decided.resolved_by != '', 'resolved', decided.acknowledged_by != '', 'acknowledged', 'firing') AS standing,
    decided.acknowledged_by AS acknowledged_by,
    decided.acknowledged_at AS acknowledged_at,
    decided.resolved_by AS resolved_by,
    decided.said AS said
FROM alerts_latest
LEFT JOIN
(
    SELECT
        target,
        argMaxIf(if(author = '', 'somebody', author), at, kind = 'acknowledge') AS acknowledged_by,
        maxIf(at, kind = 'acknowledge') AS acknowledged_at,
        argMaxIf(if(author = '', 'somebody', author), at, kind = 'resolve') AS resolved_by,
        argMax(responses.reason, at) AS said
    FROM responses
    WHERE kind IN ('acknowledge', 'resolve')
    GROUP BY target
) AS decided ON alerts_latest.alert_id = decided.target;
