// Holds what browsers load to the browsers that .browserslistrc names: the syntax and the functions of scripts, and the
// properties and selectors of the style sheet. `make test` runs it on target/site. (Methods that are newer than ES2022 are
// found by the types of client/tsconfig.json.)
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

/** Features of CSS that some of the browsers don't know, or know in part, and where that does no harm. */
const HARMLESS_CSS = {
  // Without it, a stale badge is explained by its title only, and a frame is not see-through.
  "css-has": /:has\(/,
  // The basic shapes are known to all of them. It is taken for a mask, too.
  "css-clip-path": /clip-path:\s*inset/,
  "css-masks": /clip-path:\s*inset/,
  // `monospace` follows.
  "extended-system-fonts": /ui-monospace,\s*monospace/,
};

/** What scripts use only where it is there. */
const TRIED = ["document.prerendering", "navigator.share"];

const files = readdirSync(site, { recursive: true }).map((name) => join(site, name));
const scripts = files.filter((file) => extname(file) === ".js");
const sheets = files.filter((file) => extname(file) === ".css");
if (scripts.length < 3 || sheets.length < 1) throw new Error(`${site} is not the site: make site builds it`);
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
      settings: { targets: browsers, polyfills: TRIED },
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
