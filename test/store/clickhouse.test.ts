import { openClickHouseStore } from '../../services/store/clickhouse.js';
import { startClickHouse } from '../contract/clickhouse-server.js';
import { storeContract } from '../contract/store.js';

storeContract('clickhouse', async () => {
  const server = await startClickHouse();
  const store = await openClickHouseStore(server.connection);
  return {
    store,
    async remove() {
      await store.close();
      await server.stop();
    },
  };
});
