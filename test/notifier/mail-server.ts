/** A real SMTP server on loopback whose mails are parsed by a real MIME parser, and which fails as it is told. */
import { once } from 'node:events';
import type { AddressInfo } from 'node:net';
import { type ParsedMail, simpleParser } from 'mailparser';
import { SMTPServer, type SMTPServerOptions } from 'smtp-server';

export type MailFault =
  | 'slow_greeting'
  | 'closes_after_data'
  | 'never_answers_data'
  /** It has the mail, this is called, and there is no answer. */
  | { readonly arrived: () => void }
  | { readonly at: 'greeting' | 'sender' | 'recipient' | 'data'; readonly code: number; readonly text: string };

export interface MailServerOptions {
  readonly certificate?: { readonly keyPem: string; readonly certificatePem: string };
  /** TLS from the start, by STARTTLS, or not offered at all. */
  readonly tls?: 'always' | 'starttls' | 'none';
  readonly user?: { readonly name: string; readonly password: string };
}

export interface ReceivedMail {
  readonly recipients: readonly string[];
  readonly mail: ParsedMail;
  readonly raw: string;
  /** Whether it came over TLS. */
  readonly secure: boolean;
}

export class MailServer {
  readonly mails: ReceivedMail[] = [];
  /** Passwords that were sent over a connection without TLS. */
  readonly leaked: string[] = [];
  readonly faults: MailFault[] = [];
  private readonly waiting: (() => void)[] = [];
  private current: MailFault | undefined;

  private constructor(private readonly server: SMTPServer) {}

  static async start(options: MailServerOptions = {}): Promise<MailServer> {
    const { certificate, tls = 'none', user } = options;
    let self: MailServer | undefined;
    const serverOptions: SMTPServerOptions = {
      secure: tls === 'always',
      ...(certificate === undefined ? {} : { key: certificate.keyPem, cert: certificate.certificatePem }),
      ...(tls === 'none' ? { hideSTARTTLS: true } : {}),
      authOptional: user === undefined,
      allowInsecureAuth: true,
      ...(user === undefined ? { disabledCommands: ['AUTH'] } : {}),
      logger: false,
      closeTimeout: 100,
      onAuth(auth, session, callback) {
        if (!session.secure) self!.leaked.push(String(auth.password));
        if (auth.username === user?.name && auth.password === user?.password) callback(null, { user: auth.username });
        else callback(refusal(535, '5.7.8 authentication failed'));
      },
      onConnect(_session, callback) {
        self!.current = self!.faults.shift();
        const { current } = self!;
        if (current === 'slow_greeting') return;
        callback(refusalAt(current, 'greeting'));
      },
      onMailFrom(_address, _session, callback) {
        callback(refusalAt(self!.current, 'sender'));
      },
      onRcptTo(_address, _session, callback) {
        callback(refusalAt(self!.current, 'recipient'));
      },
      onData(stream, session, callback) {
        const chunks: Buffer[] = [];
        stream.on('data', (chunk: Buffer) => chunks.push(chunk));
        stream.on('end', () => {
          const fault = self!.current;
          const refused = refusalAt(fault, 'data');
          if (refused !== undefined) {
            callback(refused);
            return;
          }
          const raw = Buffer.concat(chunks);
          void simpleParser(raw).then((mail) => {
            const recipients = session.envelope.rcptTo.map(({ address }) => address);
            self!.mails.push({ recipients, mail, raw: raw.toString('latin1'), secure: session.secure });
            for (const resolve of self!.waiting.splice(0)) resolve();
            if (fault === 'never_answers_data') return;
            if (typeof fault === 'object' && 'arrived' in fault) {
              fault.arrived();
              return;
            }
            if (fault === 'closes_after_data') closeAll(self!.server);
            else callback(null, 'Ok: queued as 4711');
          });
        });
      },
    };
    const server = new SMTPServer(serverOptions);
    server.on('error', () => undefined);
    const made = new MailServer(server);
    self = made;
    server.listen(0, '127.0.0.1');
    await once(server.server, 'listening');
    return made;
  }

  get port(): number {
    return (this.server.server.address() as AddressInfo).port;
  }

  async until(count: number): Promise<ReceivedMail[]> {
    while (this.mails.length < count) await new Promise<void>((resolve) => this.waiting.push(resolve));
    return this.mails;
  }

  async stop(): Promise<void> {
    closeAll(this.server);
    await new Promise<void>((resolve) => this.server.close(() => resolve()));
  }
}

function closeAll(server: SMTPServer): void {
  for (const connection of server.connections as Iterable<{ _socket?: { destroy(): void } }>)
    connection._socket?.destroy();
}

function refusal(code: number, text: string): Error {
  return Object.assign(new Error(text), { responseCode: code });
}

function refusalAt(fault: MailFault | undefined, at: 'greeting' | 'sender' | 'recipient' | 'data'): Error | undefined {
  return typeof fault === 'object' && 'at' in fault && fault.at === at ? refusal(fault.code, fault.text) : undefined;
}
