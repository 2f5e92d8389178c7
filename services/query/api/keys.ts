/** Keys, as an admin sees and changes them: those of its own tenant, or of every tenant where its own is `*`. */
import { AuditdError } from '../../../schemas/errors.js';
import { createKey, type KeyEntry, type Keys, revokeKey, tenantDecided, tenantSeen } from '../../access/keys.js';
import { keyList, keyMade, keyRequest } from './contract.js';
import { type Route, route } from './routes.js';

export function keyRoutes(keys: Keys, data: string): Route[] {
  const within = (admin: KeyEntry, tenant: string) => (tenantSeen(admin) ?? tenant) === tenant;
  const change = async <T>(work: () => Promise<T>): Promise<T> => {
    if (keys.file !== undefined)
      throw new AuditdError('keys_file_fixed', `The keys come from ${keys.file}, which is only read here.`);
    try {
      return await work();
    } catch (error) {
      if (!['EROFS', 'EACCES', 'EPERM'].includes((error as NodeJS.ErrnoException).code ?? '')) throw error;
      throw new AuditdError('keys_file_fixed', `The keys can't be written here: ${(error as Error).message}`, {
        cause: error,
      });
    } finally {
      // The next request finds them changed, not the one a second later.
      keys.list();
    }
  };
  return [
    route('GET', '/keys', 'The keys, without their secrets', {
      role: 'admin',
      answer: keyList,
      handle: async ({ who }) => ({ keys: keys.list().filter(({ tenant }) => within(who.reader, tenant)) }),
    }),
    route('POST', '/keys', 'Makes a key, which is shown this once', {
      role: 'admin',
      body: keyRequest,
      answer: keyMade,
      status: 201,
      handle: async ({ body, who: { reader }, now, request }) => {
        const { name, role, tenant = tenantDecided(reader) } = body;
        if (!within(reader, tenant))
          throw new AuditdError('key_tenant_wrong', `The key ${reader.name} makes keys of its own tenant only.`);
        const { key, entry } = await change(() => createKey(data, { name, role, tenant }, now));
        request.log.info({ key: name, role, tenant, by: reader.name }, 'a key was made');
        return { name, role, tenant, created_at: entry.created_at, key };
      },
    }),
    route('DELETE', '/keys/:name', 'Revokes a key; its sessions end too', {
      role: 'admin',
      status: 204,
      handle: async ({ params, who: { reader }, request }) => {
        const name = params.name!;
        const check = (entries: readonly KeyEntry[]): void => {
          const entry = entries.find((each) => each.name === name);
          // A key of another tenant is as one that is not there, and no name of another is told.
          if (entry === undefined || !within(reader, entry.tenant))
            throw new AuditdError('key_unknown', `There is no key named ${JSON.stringify(name)}.`);
          const admins = entries.filter(({ role, tenant }) => role === 'admin' && tenant === reader.tenant);
          if (admins.length === 1 && admins[0] === entry)
            throw new AuditdError('key_last_admin', `${name} is the last admin of the tenant ${entry.tenant}.`);
        };
        await change(() => revokeKey(data, name, check));
        request.log.info({ key: name, by: reader.name }, 'a key was revoked');
      },
    }),
  ];
}
