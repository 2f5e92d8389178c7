/** Names whose values are secrets, normalised: lower case, letters and digits only. */
const exactNames = new Set(
  `auth authorization proxyauthorization cookie cookies setcookie jwt bearer pin cvv cvc otp pwd pass dsn
  credential credentials secrets passwords privatekeypem connectionstring sessioncookie ssn sig xcsrftoken`.split(
    /\s+/,
  ),
);
/** A name that ends in one of these: `db_password`, `X-Api-Key`, `AWS_SECRET_ACCESS_KEY`, `githubToken`. */
const endings = `password passwd passphrase passcode secret secretkey apikey apisecret accesskey privatekey signingkey
  encryptionkey masterkey sharedkey accountkey clientsecret token credential credentials secretvalue
  connectionstring authkey authorization`.split(/\s+/);
/** Positions in lists and the like are called tokens, too. */
const harmless = new Set(
  `pagetoken nextpagetoken nexttoken prevpagetoken previouspagetoken progresstoken continuationtoken synctoken
  cursortoken nextsynctoken pagingtoken`.split(/\s+/),
);
/** Distinct names met in a process are few; names made by data are forgotten at this number. */
const maxRemembered = 4096;
/** A longer name is no name. */
const maxNameLength = 128;

export class SecretNames {
  readonly #operators: ReadonlySet<string>;
  readonly #builtIn: boolean;
  readonly #remembered = new Map<string, boolean>();

  constructor(operatorNames: readonly string[], builtIn: boolean) {
    this.#operators = new Set(operatorNames.map(normalise).filter((name) => name !== ''));
    this.#builtIn = builtIn;
  }

  /** Whether the value under this name is a secret, whatever the case and the separators of the name. */
  has(name: string): boolean {
    if (name.length > maxNameLength) return false;
    let known = this.#remembered.get(name);
    if (known === undefined) {
      known = this.#classify(normalise(name));
      if (this.#remembered.size >= maxRemembered) this.#remembered.clear();
      this.#remembered.set(name, known);
    }
    return known;
  }

  #classify(name: string): boolean {
    if (this.#operators.has(name)) return true;
    if (!this.#builtIn || harmless.has(name)) return false;
    return exactNames.has(name) || endings.some((ending) => name.endsWith(ending));
  }
}

function normalise(name: string): string {
  return name.toLowerCase().replace(/[^\p{L}\p{N}]/gu, '');
}
