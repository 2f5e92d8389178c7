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
values = {
    "String": "it's \\ a\t'text'\n é",
    "UInt64": 18446744073709551615,
    "Int64": -9007199254740993,
    "Float64": 0.5,
    "Bool": True,
    "Nullable(String)": None,
    "UUID": "019ab3f0-8c1b-7001-9f3e-5d2c8a417be6",
    "Date": "2026-01-02",
    "DateTime64(6, 'UTC')": "2026-01-02 03:04:05.123456",
    "Array(String)": ["it's", ""],
}
columns = ", ".join(f"{{p{at}:{type_}}}" for at, type_ in enumerate(values))
found["different"] = []
for compress in (False, True, "gzip", "lz4"):
    packed = clickhouse_connect.get_client(
        host=host, port=int(port), username="anyone", password=key, compress=compress
    )
    row = packed.query(f"SELECT {columns}", parameters={f"p{at}": value for at, value in enumerate(values.values())})
    for type_, value, seen in zip(values, values.values(), row.result_rows[0]):
        if value != seen and str(value) != str(seen).removesuffix("+00:00"):
            found["different"].append([type_, compress, str(seen)])
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
