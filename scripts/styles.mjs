// Builds the style sheet: minified, with fallbacks for the oldest supported browsers.
//
//   node scripts/styles.mjs <source> <output>
import { readFileSync, writeFileSync } from "node:fs";
import { browserslistToTargets, transform } from "lightningcss";
import { browsers } from "./baseline.mjs";

const [source, output] = process.argv.slice(2);
const { code, warnings } = transform({
  filename: source,
  code: readFileSync(source),
  minify: true,
  targets: browserslistToTargets(browsers),
});
for (const { message, loc } of warnings)
  console.warn(`${source}:${loc.line}: ${message}`);
writeFileSync(output, code);
