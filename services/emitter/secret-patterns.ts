/**
 * Secrets that are known by their form. Every pattern takes linear time: it begins with a literal, and nothing is
 * required after an unbounded part, so a match never fails after running far (what else must hold is checked on the
 * match). `hints` are literals of which one is in every match, also in its JSON text: most texts hold none.
 */
export interface SecretPattern {
  readonly kind: string;
  readonly hints: readonly string[];
  readonly pattern: RegExp;
  /** What to put in the place of a match; undefined keeps it. Default: the marker. */
  readonly replace?: (match: string, marker: string) => string | undefined;
}

/** Secrets that are marked by themselves. They may seem to hold one another: what begins first is what it is. */
export const tokenPatterns: readonly SecretPattern[] = [
  {
    kind: 'private_key',
    hints: ['-----BEGIN'],
    // Without its end line it was cut, and what is there is still a key.
    pattern:
      /-----BEGIN [A-Z0-9 ]{0,40}PRIVATE KEY(?: BLOCK)?-----(?:(?!-----END)[\s\S])*(?:-----END [A-Z0-9 ]{0,60}-----)?/g,
  },
  {
    kind: 'jwt',
    hints: ['eyJ'],
    pattern: /eyJ[\w-]{8,}(?:\.[\w-]*){0,4}/g,
    replace: (match, marker) => (match.includes('.') ? marker : undefined),
  },
  {
    kind: 'aws_key',
    hints: ['AKIA', 'ASIA', 'ABIA', 'ACCA'],
    pattern: /A(?:KIA|SIA|BIA|CCA)[A-Z0-9]{16}/g,
  },
  { kind: 'gcp_key', hints: ['AIza'], pattern: /AIza[\w-]{35}/g },
  { kind: 'gcp_key', hints: ['GOCSPX-', 'ya29.'], pattern: /(?:GOCSPX-|ya29\.)[\w-]{20,}/g },
  { kind: 'azure_key', hints: ['8Q~'], pattern: /[\w.~-]{3}8Q~[\w.~-]{31,34}/g },
  {
    kind: 'azure_key',
    hints: ['AccountKey=', 'SharedAccessKey='],
    pattern: /(?:AccountKey|SharedAccessKey)=[A-Za-z0-9+/=]{20,}/g,
    replace: (match, marker) => `${match.slice(0, match.indexOf('=') + 1)}${marker}`,
  },
  { kind: 'github_token', hints: ['ghp_', 'gho_', 'ghu_', 'ghs_', 'ghr_'], pattern: /gh[pousr]_[A-Za-z0-9]{30,}/g },
  { kind: 'github_token', hints: ['github_pat_'], pattern: /github_pat_\w{20,}/g },
  {
    kind: 'gitlab_token',
    hints: ['glpat-', 'gldt-', 'glrt-', 'glcbt-', 'glptt-', 'glft-', 'glagent-', 'glsoat-', 'gloas-'],
    pattern: /gl(?:pat|dt|rt|cbt|ptt|ft|agent|soat|oas)-[\w-]{16,}/g,
  },
  { kind: 'slack_token', hints: ['xox', 'xapp-'], pattern: /(?:xox[a-z]|xapp)-[A-Za-z0-9-]{10,}/g },
  {
    kind: 'slack_webhook',
    hints: ['hooks.slack.com/'],
    pattern: /hooks\.slack\.com\/(?:services|workflows|triggers)\/[\w/-]{10,}/g,
  },
  {
    kind: 'stripe_key',
    hints: ['_live_', '_test_', 'whsec_'],
    pattern: /(?:[sr]k_(?:live|test)_|whsec_)[A-Za-z0-9]{10,}/g,
  },
  { kind: 'anthropic_key', hints: ['sk-ant-'], pattern: /sk-ant-[\w-]{16,}/g },
  {
    kind: 'openai_key',
    hints: ['sk-'],
    pattern: /sk-[\w-]{20,}/g,
    // Words joined by hyphens (`task-list-of-the-day`) have no digit or no capital.
    replace: (match, marker) => (/\d/.test(match) && /[A-Za-z]/.test(match.slice(3)) ? marker : undefined),
  },
  { kind: 'npm_token', hints: ['npm_'], pattern: /npm_[A-Za-z0-9]{30,}/g },
  { kind: 'pypi_token', hints: ['pypi-'], pattern: /pypi-[\w-]{40,}/g },
  { kind: 'huggingface_token', hints: ['hf_'], pattern: /hf_[A-Za-z0-9]{30,}/g },
  { kind: 'sendgrid_key', hints: ['SG.'], pattern: /SG\.[\w-]{16,32}\.[\w-]{16,}/g },
  { kind: 'vault_token', hints: ['hvs.', 'hvb.'], pattern: /hv[sb]\.[\w-]{20,}/g },
  { kind: 'digitalocean_token', hints: ['dop_v1_', 'doo_v1_', 'dor_v1_'], pattern: /do[por]_v1_[a-f0-9]{32,}/g },
  { kind: 'shopify_token', hints: ['shpat_', 'shpss_', 'shpca_'], pattern: /shp(?:at|ss|ca)_[A-Fa-f0-9]{30,}/g },
];

/** Secrets that are known by what stands around them. */
export const placePatterns: readonly SecretPattern[] = [
  {
    kind: 'url_password',
    hints: ['@'],
    // Neither part holds a slash, so matches at two schemes never run over the same characters.
    pattern: /:\/\/[^\s/?#@:"'<>]{0,256}:[^\s/"'<>]{1,512}@/g,
    replace: (match, marker) => `${match.slice(0, match.indexOf(':', 3) + 1)}${marker}@`,
  },
  {
    kind: 'bearer',
    hints: ['earer', 'EARER'],
    pattern: /bearer[ \t]{1,8}[\w.~+/=-]{8,}/gi,
    // "Bearer authentication" is prose.
    replace: (match, marker) => (/\d/.test(match) || match.length > 31 ? `${match.slice(0, 6)} ${marker}` : undefined),
  },
  {
    kind: 'basic_auth',
    hints: ['asic ', 'ASIC '],
    pattern: /basic[ \t]{1,8}[A-Za-z0-9+/]{8,}={0,2}/gi,
    replace: (match, marker) => {
      const decoded = Buffer.from(match.slice(5).trim(), 'base64').toString('latin1');
      return /^[\x20-\x7e]*:[\x20-\x7e]*$/.test(decoded) ? `${match.slice(0, 5)} ${marker}` : undefined;
    },
  },
];

const cardPattern = /\d(?:[ -]?\d){12,}/g;

/** Card numbers: 15 or 16 digits, groups of a card network, and Luhn's check digit (ISO/IEC 7812-1). */
export const cardNumbers: SecretPattern = {
  kind: 'card_number',
  hints: [],
  pattern: cardPattern,
  replace: (match, marker) => (isCardNumber(match.replace(/[ -]/g, '')) ? marker : undefined),
};

export function isCardNumber(digits: string): boolean {
  if (!/^(?:4\d{15}|5[1-5]\d{14}|2[2-7]\d{14}|3[47]\d{13}|6(?:011|5\d\d)\d{12}|35\d{14})$/.test(digits)) return false;
  let sum = 0;
  for (let at = 0; at < digits.length; at++) {
    const digit = digits.charCodeAt(digits.length - 1 - at) - 48;
    sum += at % 2 === 0 ? digit : digit > 4 ? digit * 2 - 9 : digit * 2;
  }
  return sum % 10 === 0;
}
