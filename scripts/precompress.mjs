// Compresses a folder: writes a .br and a .gz file beside every file that gets smaller. The server sends these files to
// browsers that accept the encoding.
//
//   node scripts/precompress.mjs <folder>
import { readFileSync, readdirSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { brotliCompressSync, constants, gzipSync } from "node:zlib";

const folder = process.argv[2];
for (const name of readdirSync(folder, { recursive: true })) {
  const path = join(folder, name);
  if (!statSync(path).isFile()) continue;
  const plain = readFileSync(path);
  const brotli = brotliCompressSync(plain, {
    params: { [constants.BROTLI_PARAM_QUALITY]: 11, [constants.BROTLI_PARAM_SIZE_HINT]: plain.length },
  });
  if (brotli.length >= plain.length) continue;
  writeFileSync(`${path}.br`, brotli);
  writeFileSync(`${path}.gz`, gzipSync(plain, { level: 9 }));
  console.log(`${String(plain.length).padStart(8)} → ${String(brotli.length).padStart(7)} (brotli)  ${path}`);
}
