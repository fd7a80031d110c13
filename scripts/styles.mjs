// Makes the style sheet that browsers load: small, and with fallbacks for what the oldest of them don't know.
//
//   node scripts/styles.mjs <source> <result>
import { readFileSync, writeFileSync } from "node:fs";
import { browserslistToTargets, transform } from "lightningcss";
import { browsers } from "./baseline.mjs";

const [source, result] = process.argv.slice(2);
const { code, warnings } = transform({
  filename: source,
  code: readFileSync(source),
  minify: true,
  targets: browserslistToTargets(browsers),
});
for (const { message, loc } of warnings)
  console.warn(`${source}:${loc.line}: ${message}`);
writeFileSync(result, code);
