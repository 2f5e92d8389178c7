"""Asks a ClickHouse server with the Python client and prints what it found as JSON. Arguments: host, port, key."""
import json
import sys

import clickhouse_connect
from clickhouse_connect.driver.exceptions import ClickHouseError, DatabaseError

host, port, key = sys.argv[1:4]
client = clickhouse_connect.get_client(host=host, port=int(port), username="anyone", password=key)
found = {"version": client.server_version, "calls": client.query("SELECT count() FROM calls").result_rows[0][0]}
rows = client.query(
    "SELECT tool_name, count() AS calls, max(occurred_at) AS last FROM calls WHERE stream_offset < {end:UInt64} GROUP BY tool_name ORDER BY calls DESC LIMIT 3",
    parameters={"end": 100},
)
found["columns"] = list(rows.column_names)
found["rows"] = len(rows.result_rows)
found["year"] = rows.result_rows[0][2].year
found["attributes"] = client.query("SELECT map('a', 'b') AS m, [1, 2] AS l, NULL AS n, toLowCardinality('x') AS c").result_rows[0]
try:
    client.command("DROP TABLE calls")
    found["drop"] = "done"
except DatabaseError as error:
    found["drop"] = str(error)
try:
    late = client.query("SELECT number, throwIf(number = 500000, 'too late') FROM numbers(600000)")
    found["late"] = len(late.result_rows)
except ClickHouseError as error:
    found["late"] = str(error)
print(json.dumps(found))
