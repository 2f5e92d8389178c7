"""Asks with the Python client and is interrupted, or has a second client end the question. Arguments: port, key, way, SQL."""
import sys
import threading

import clickhouse_connect
from clickhouse_connect.driver.exceptions import ClickHouseError

port, key, way, sql = sys.argv[1:5]


def client():
    return clickhouse_connect.get_client(
        host="127.0.0.1", port=int(port), proxy_path="/clickhouse", username="anyone", password=key
    )


def end():
    sys.stdin.readline()
    client().command("KILL QUERY WHERE query_id = 'of-python'")


if way == "kill":
    threading.Thread(target=end).start()
try:
    client().query(sql, settings={"query_id": "of-python"})
except ClickHouseError as error:
    print(error)
