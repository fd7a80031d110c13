// Checks that all browsers in .browserslistrc support the syntax and globals of the scripts, and the properties and
// selectors of the style sheets. `make test` runs it on target/site. (The type check with client/tsconfig.json finds
// methods that are newer than ES2022.)
//
//   node baseline.mjs [<site>]
import { readFileSync, readdirSync } from "node:fs";
import { extname, join, relative } from "node:path";

import browserslist from "browserslist";
import doiuse from "doiuse";
import { ESLint } from "eslint";
import compat from "eslint-plugin-compat";
import postcss from "postcss";

const site = process.argv[2] ?? join(import.meta.dirname, "../target/site");
const root = join(import.meta.dirname, "..");
const browsers = browserslist(null, { path: root });

/** CSS features that some of the browsers don't support completely, with the usages where that is harmless. */
const HARMLESS_CSS = {
  // Without :has(), only the badge's title explains a stale count, and transparent frames are opaque.
  "css-has": /:has\(/,
  // All of the browsers support basic shapes. doiuse also takes clip-path for a mask.
  "css-clip-path": /clip-path:\s*inset/,
  "css-masks": /clip-path:\s*inset/,
  // Where pages are printed, not columns.
  multicolumn: /break-inside:\s*avoid/,
  // Safari supports this value since version 13. doiuse asks for all values.
  "css-touch-action": /touch-action:\s*pan-y/,
  // `monospace` is the fallback.
  "extended-system-fonts": /ui-monospace,\s*monospace/,
};

/** APIs that the scripts use only if the browser has them. */
const OPTIONAL = ["document.prerendering", "navigator.share"];

const files = readdirSync(site, { recursive: true }).map((name) => join(site, name));
const scripts = files.filter((file) => extname(file) === ".js");
const sheets = files.filter((file) => extname(file) === ".css");
// Part of the overlay's HTML.
sheets.push(join(root, "style/overlay.css"));
if (scripts.length < 3 || sheets.length < 2) throw new Error(`${site} is not a built site; run: make site`);
const faults = [];

const eslint = new ESLint({
  cwd: site,
  overrideConfigFile: true,
  allowInlineConfig: false,
  overrideConfig: [
    {
      files: ["**/*.js"],
      plugins: { compat },
      languageOptions: {
        ecmaVersion: 2022,
        sourceType: "module",
      },
      rules: { "compat/compat": "error" },
      settings: { targets: browsers, polyfills: OPTIONAL },
    },
  ],
});
for (const { filePath, messages } of await eslint.lintFiles(scripts.map((file) => relative(site, file)))) {
  for (const { message, line, column } of messages) {
    faults.push(`${relative(site, filePath)}:${line}:${column}: ${message}`);
  }
}

for (const file of sheets) {
  const onFeatureUsage = ({ feature, message, usage }) => {
    if (!HARMLESS_CSS[feature]?.test(String(usage))) faults.push(`${relative(site, file)}: ${message}`);
  };
  await postcss([doiuse({ browsers, onFeatureUsage })]).process(readFileSync(file, "utf8"), { from: file });
}

for (const fault of faults) console.error(fault);
console.log(
  `${scripts.length} scripts and ${sheets.length} style sheets for ${browsers.length} browsers: ${faults.length} faults`,
);
process.exit(faults.length ? 1 : 0);
