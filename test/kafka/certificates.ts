import { execFile } from 'node:child_process';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';

const run = promisify(execFile);

export interface Certificate {
  readonly keyPem: string;
  readonly certificatePem: string;
}

/** An authority, and certificates of 127.0.0.1 that it signed: one that is valid and one that ran out long ago. */
export async function makeCertificates(): Promise<{ authorityPem: string; valid: Certificate; expired: Certificate }> {
  const directory = await mkdtemp(join(tmpdir(), 'mcp-auditd-certificates-'));
  const openssl = (...words: string[]) => run('openssl', words, { cwd: directory });
  const text = (name: string) => readFile(join(directory, name), 'utf8');
  const newKey = ['-newkey', 'rsa:2048', '-nodes'];
  try {
    await openssl('req', '-x509', ...newKey, '-keyout', 'ca.key', '-out', 'ca.pem', '-subj', '/CN=test authority');
    await writeFile(join(directory, 'extensions'), 'subjectAltName=IP:127.0.0.1\n');
    await writeFile(join(directory, 'index.txt'), '');
    await writeFile(
      join(directory, 'ca.conf'),
      '[ca]\ndefault_ca=d\n[d]\ndatabase=index.txt\nrand_serial=yes\nnew_certs_dir=.\ndefault_md=sha256\npolicy=p\nunique_subject=no\n[p]\ncommonName=supplied\n',
    );
    const issue = async (name: string, from: string, to: string): Promise<Certificate> => {
      await openssl('req', ...newKey, '-keyout', `${name}.key`, '-out', `${name}.csr`, '-subj', '/CN=broker');
      const dates = ['-startdate', from, '-enddate', to];
      const files = ['-in', `${name}.csr`, '-out', `${name}.pem`, '-cert', 'ca.pem', '-keyfile', 'ca.key'];
      await openssl('ca', '-batch', '-notext', '-config', 'ca.conf', '-extfile', 'extensions', ...dates, ...files);
      return { keyPem: await text(`${name}.key`), certificatePem: await text(`${name}.pem`) };
    };
    const valid = await issue('valid', '20200101000000Z', '20991231000000Z');
    const expired = await issue('expired', '20200101000000Z', '20200201000000Z');
    return { authorityPem: await text('ca.pem'), valid, expired };
  } finally {
    await rm(directory, { recursive: true, force: true });
  }
}
