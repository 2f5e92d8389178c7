#!/bin/sh
# Makes what docker-compose.yml needs in deploy/secrets/: random passwords and keys, each once. What is there stays.
#
# The directory has mode 0700, so nobody else on this machine gets in. The files that containers read have mode 0644,
# because each container has a user of its own.
set -eu
cd "$(dirname "$0")"
umask 022
mkdir -p secrets
chmod 700 secrets
cd secrets

random() { openssl rand -hex 32; }
sha256() { printf %s "$1" | openssl dgst -sha256 -r | cut -d' ' -f1; }

for name in kafka_admin kafka_gateway kafka_ingestor kafka_detector kafka_throttler kafka_notifier kafka_query clickhouse_ingestor clickhouse_query; do
  [ -s "$name" ] || random > "$name"
done

# The keys of the gateway and of the query role: hashes for the servers, the keys themselves for you.
if [ ! -s keys.json ]; then
  emit="mca_emit_$(openssl rand -base64 32 | tr '+/' '-_' | tr -d '=\n')"
  read="mca_read_$(openssl rand -base64 32 | tr '+/' '-_' | tr -d '=\n')"
  now=$(date -u +%Y-%m-%dT%H:%M:%SZ)
  (umask 077 && printf '%s\n' "$emit" > emitter.key && printf '%s\n' "$read" > reader.key)
  cat > keys.json <<END
[
  {"name": "emitter", "role": "emit", "tenant": "default", "hash": "$(sha256 "$emit")", "created_at": "$now"},
  {"name": "reader", "role": "read", "tenant": "default", "hash": "$(sha256 "$read")", "created_at": "$now"}
]
END
fi

# The key that signs throttle signals, and the public one, which gateways and emitters check them with.
if [ ! -s throttle.key ]; then
  openssl genpkey -algorithm ed25519 -out throttle.key
  openssl pkey -in throttle.key -pubout -out throttle.pub
fi

# ClickHouse knows hashes only. Made anew each time, so that a password that was replaced takes effect.
cat > clickhouse_users.xml <<END
<clickhouse>
  <profiles>
    <mcp_auditd_query>
      <!-- 2: reads only, and may set its own limits. -->
      <readonly>2</readonly>
    </mcp_auditd_query>
  </profiles>
  <users>
    <!-- The server's own user stays inside its container. -->
    <default>
      <networks replace="replace"><ip>127.0.0.1</ip><ip>::1</ip></networks>
    </default>
    <mcp_auditd_ingestor>
      <password_sha256_hex>$(sha256 "$(cat clickhouse_ingestor)")</password_sha256_hex>
      <networks><ip>::/0</ip></networks>
      <profile>default</profile>
      <quota>default</quota>
      <grants>
        <query>GRANT SELECT, INSERT, CREATE DATABASE, CREATE TABLE, CREATE VIEW, DROP VIEW, ALTER TABLE ON mcp_auditd.*</query>
        <query>GRANT SELECT ON system.*</query>
      </grants>
    </mcp_auditd_ingestor>
    <mcp_auditd_query>
      <password_sha256_hex>$(sha256 "$(cat clickhouse_query)")</password_sha256_hex>
      <networks><ip>::/0</ip></networks>
      <profile>mcp_auditd_query</profile>
      <quota>default</quota>
      <grants>
        <query>GRANT SELECT ON mcp_auditd.*</query>
        <query>GRANT SELECT ON system.*</query>
      </grants>
    </mcp_auditd_query>
  </users>
</clickhouse>
END
chmod 644 kafka_* clickhouse_* keys.json throttle.key throttle.pub
echo "deploy/secrets/ is complete. Emitters send with the key in deploy/secrets/emitter.key."
