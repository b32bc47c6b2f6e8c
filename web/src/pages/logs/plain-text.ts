/** What a program printed as text that does nothing to the page. Pure. */

// Terminals' own commands (ECMA-48): colours, cursor movements, titles, links.

const ESCAPES = /\x1b(?:\[[0-?]*[ -/]*[@-~]|[\]PX^_].*?(?:\x07|\x1b\\|$)|[ -/]*[0-~]?)/gs;

const CONTROLS = /[\x00-\x08\x0a-\x1f\x7f]/g;
/** They make text read otherwise than it is stored. */
const REORDERINGS = /[\u202a-\u202e\u2066-\u2069]/g;

/** Without commands for terminals; what cannot be seen has its picture (U+2400 and on) in its place. */
export function plainText(text: string): string {
  return text
    .replace(ESCAPES, "")
    .replace(CONTROLS, (sign) => (sign === "\x7f" ? "\u2421" : String.fromCharCode(0x2400 + sign.charCodeAt(0))))
    .replace(REORDERINGS, "\ufffd");
}
