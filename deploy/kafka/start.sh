#!/bin/sh
# Starts one broker that is its own controller (KRaft). At the first start it makes the users of SCRAM from the secrets;
# afterwards passwords are changed with kafka-configs.sh.
set -eu
home=${KAFKA_HOME:-/opt/kafka}
secrets=${SECRETS:-/run/secrets}
data=${KAFKA_DATA:-/var/lib/kafka/data}
properties=${KAFKA_TEMPORARY:-/tmp}/server.properties

sed -e "s|{data}|$data|" \
  -e "s|{client_port}|${KAFKA_CLIENT_PORT:-9092}|" \
  -e "s|{controller_port}|${KAFKA_CONTROLLER_PORT:-9093}|" \
  -e "s|{broker_port}|${KAFKA_BROKER_PORT:-9094}|" \
  -e "s|{advertised}|${KAFKA_ADVERTISED:-kafka:9092}|" \
  "$(dirname "$0")/server.properties" > "$properties"

if [ ! -s "$data/meta.properties" ]; then
  set --
  for file in "$secrets"/kafka_*; do
    set -- "$@" --add-scram "SCRAM-SHA-512=[name=${file##*/kafka_},password=$(cat "$file")]"
  done
  "$home/bin/kafka-storage.sh" format -t "$("$home/bin/kafka-storage.sh" random-uuid)" -c "$properties" "$@"
fi
exec "$home/bin/kafka-server-start.sh" "$properties"
