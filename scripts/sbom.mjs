// Completes the list of components that cargo-cyclonedx has written: the paths of this machine are removed, and what the
// page scripts contain from npm is added.
//
//   node scripts/sbom.mjs <list> <output>
import { readFileSync, writeFileSync } from "node:fs";

const [, , source, output] = process.argv;
const list = JSON.parse(readFileSync(source, "utf8"));

/** The packages that client/build.mjs bundles into the page scripts. */
const BUNDLED = ["hls.js"];

// A path dependency is named by its folder, as in `path+file:///home/…/aforo#0.1.0`.
const root = list.metadata.component;
const here = root["bom-ref"].replace(/#.*$/, "");
const text = JSON.stringify(list).replaceAll(here, `pkg:cargo/${root.name}`).replace(/\?download_url=file:[^"#]*/g, "");
const complete = JSON.parse(text);

const packages = JSON.parse(readFileSync("client/package-lock.json", "utf8")).packages;
const self = complete.metadata.component["bom-ref"];
for (const name of BUNDLED) {
  const { version, license, integrity } = packages[`node_modules/${name}`];
  const purl = `pkg:npm/${name}@${version}`;
  const [algorithm, digest] = integrity.split("-");
  const alg = { sha512: "SHA-512", sha256: "SHA-256" }[algorithm];
  const hashes = [{ alg, content: Buffer.from(digest, "base64").toString("hex") }];
  const licenses = [{ license: { id: license } }];
  complete.components.push({ type: "library", "bom-ref": purl, name, version, scope: "required", hashes, licenses, purl });
  complete.dependencies.find((entry) => entry.ref === self).dependsOn.push(purl);
  complete.dependencies.push({ ref: purl });
}
if (JSON.stringify(complete).includes("file:/")) throw new Error("the list contains paths of this machine");
writeFileSync(output, `${JSON.stringify(complete, null, 2)}\n`);
console.log(`${complete.components.length} components`);
