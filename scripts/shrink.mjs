// Makes what browsers load out of what wasm-bindgen made (with `--target bundler --keep-debug`): one WebAssembly file and
// one JavaScript file, without what a page never uses. Fails when they are over the budget.
//
//   node scripts/shrink.mjs <folder with wasm-bindgen's output> <folder for the result>
//
// Left out is what compilers and bundlers must keep, but no page comes to:
//
// - What only the message of a panic needs: a release stops at the panic itself, with the same trap and stack. That is the
//   functions that make panics, `Debug` and all formatting (that nothing else formats is checked), and names of files.
// - Classes that the crate wasm-streams exports, which comes with Leptos's server functions, and what they call.
// - Bindings that are not imported any more, and long names between the two files.
//
// (Builds by cargo-leptos go without this.)
import { execFileSync } from "node:child_process";
import { readFileSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { brotliCompressSync } from "node:zlib";
import binaryen from "binaryen";
import { buildSync } from "esbuild";
import { BASELINE } from "../client/build.mjs";

const BUDGET = 40_960;

const [input, output] = process.argv.slice(2);
const tools = join(
  dirname(fileURLToPath(import.meta.url)),
  "node_modules/.bin",
);
/** What all browsers understand that Leptos runs in; no more. */
const features = [
  "bulk-memory",
  "nontrapping-float-to-int",
  "sign-ext",
  "mutable-globals",
  "reference-types",
  "multivalue",
].map((name) => `--enable-${name}`);
const either = (...patterns) =>
  new RegExp(patterns.map(({ source }) => source).join("|"));

/** What is never called but for a panic, by name. Some compilers write `core[0f3a…]::` for `core::`. */
const PANIC = either(
  /core(\[\w+\])?::(panicking::|cell::panic_|(option|result)::(unwrap|expect)_failed)/,
  /core(\[\w+\])?::(slice|str)::.*_fail\b/,
  /alloc(\[\w+\])?::(raw_vec::(capacity_overflow|handle_error)|alloc::handle_alloc_error)/,
  /std(\[\w+\])?::(panicking::(panic_with_hook|panic_handler|rust_panic|begin_panic)|alloc::rust_oom)/,
  /^(__rustc(\[\w+\])?::)?(rust_panic|rust_begin_unwind|__rust_alloc_error_handler)/,
);
const FORMAT = either(
  / as core(\[\w+\])?::fmt::(Debug|Display)>::fmt/,
  /core(\[\w+\])?::fmt::(write\b|Formatter|builders|Write>?::write_fmt)|alloc(\[\w+\])?::fmt::format/,
  /<char>::escape_debug/,
);
const STREAMS = either(/js_sys::futures::future_to_promise|wasm_streams::/);
/** Sources of Rust, of crates and of ours, as panics name them. */
const SOURCE = /(\/|src\/)[\w./-]+\.rs/g;
/** Exports that are called: the entry point, the islands, which end in a hash, and what bindings need. */
const CALLED =
  /^(memory|hydrate|__wbindgen_\w+|__externref_\w+|wasm_bindgen__\w+|\w+_\d{10,})$/;

function withoutUnused(wasm) {
  binaryen.setDebugInfo(true);
  const module = binaryen.readBinary(wasm);
  const unused = new Set();
  for (let i = 0; i < module.getNumFunctions(); i += 1) {
    const reference = module.getFunctionByIndex(i);
    const { name, module: imported } = binaryen.getFunctionInfo(reference);
    if (
      !imported &&
      [PANIC, FORMAT, STREAMS].some((pattern) => pattern.test(name))
    ) {
      binaryen.Function.setBody(reference, module.unreachable());
      unused.add(name);
    }
  }
  if (unused.size < 50)
    throw new Error(
      `only ${unused.size} functions found unused: have names changed?`,
    );
  for (let i = module.getNumExports() - 1; i >= 0; i -= 1) {
    const { name } = binaryen.getExportInfo(module.getExportByIndex(i));
    if (!CALLED.test(name)) module.removeExport(name);
  }
  checkNothingFormats(module.emitText());
  const named = Buffer.from(module.emitBinary()).toString("latin1");
  return Buffer.from(
    named.replace(SOURCE, (path) => "\0".repeat(path.length)),
    "latin1",
  );
}

/** Fails if a function that is used calls one that formats. */
function checkNothingFormats(text) {
  let caller = "";
  for (const line of text.split("\n")) {
    caller = /^ \(func \$("[^"]*"|\S+)/.exec(line)?.[1] ?? caller;
    const [, called] = /\(call \$("[^"]*"|\S+)/.exec(line) ?? [];
    if (called && FORMAT.test(called) && !FORMAT.test(caller)) {
      throw new Error(
        `${caller} formats (${called}): join strings instead, formatting is left out`,
      );
    }
  }
}

/** Shortens the names between the files; returns what they were, and the bindings with the new ones. */
function withShortNames(wasm, bindings) {
  const names = JSON.parse(
    run(
      "wasm-opt",
      ...features,
      "--minify-imports-and-exports-and-modules",
      wasm,
      "-o",
      wasm,
    ),
  );
  const exports = new Map(names.exports.map(([old, short]) => [old, short]));
  const renamed = bindings.replace(/\bwasm\.(\w+)/g, (all, name) =>
    exports.has(name) ? `wasm.${exports.get(name)}` : all,
  );
  return { imports: names.imports, exports, bindings: renamed };
}

/** The JavaScript that readies the WebAssembly and has its islands, as the pages of Leptos ask for it. */
function entry({ imports, exports }) {
  const islands = [...exports.keys()].filter(
    (name) => name === "hydrate" || /_\d{10,}$/.test(name),
  );
  const bound = imports.map(([module, name, short]) => ({
    module,
    name,
    short: `i_${short}`,
    key: short,
  }));
  return `
    ${bound.map(({ module, name, short }) => `import { ${name} as ${short} } from "${module}";`).join("\n")}
    import { __wbg_set_wasm } from "./aforo_bg.js";
    export { ${islands} } from "./aforo_bg.js";
    const imports = { a: { ${bound.map(({ key, short }) => `${key}: ${short}`)} } };
    export default async ({ module_or_path }) => {
      const fetched = await fetch(module_or_path);
      const { instance } = await WebAssembly.instantiate(await fetched.arrayBuffer(), imports);
      __wbg_set_wasm(instance.exports);
      instance.exports.${exports.get("__wbindgen_start")}();
    };`;
}

const run = (tool, ...args) =>
  execFileSync(join(tools, tool), args, { maxBuffer: 1 << 26 }).toString();

const [shrunk, wasm] = [join(input, "shrunk.wasm"), join(output, "aforo.wasm")];
writeFileSync(
  shrunk,
  withoutUnused(readFileSync(join(input, "aforo_bg.wasm"))),
);
const strip = ["debug", "producers", "target-features"].map(
  (what) => `--strip-${what}`,
);
run("wasm-opt", "-Oz", "--converge", ...strip, ...features, shrunk, "-o", wasm);

// Bindings that set up what is not used: a bundler may not assume that they do nothing else, so it is told.
const made = readFileSync(join(input, "aforo_bg.js"), "utf8")
  .replace(/^if \(Symbol\.dispose\) .*$/gm, "")
  .replace(
    /^const (\w+Finalization) = ([^;]*);/gm,
    "const $1 = /* @__PURE__ */ (() => $2)();",
  );
const short = withShortNames(wasm, made);
writeFileSync(join(input, "aforo_bg.js"), short.bindings);
writeFileSync(join(input, "entry.js"), entry(short));
buildSync({
  entryPoints: [join(input, "entry.js")],
  outfile: join(output, "aforo.js"),
  bundle: true,
  minify: true,
  format: "esm",
  target: BASELINE,
  logLevel: "warning",
});

if (!WebAssembly.validate(readFileSync(wasm)))
  throw new Error("what came out is no WebAssembly");
const size = ["aforo.wasm", "aforo.js"]
  .map((file) => brotliCompressSync(readFileSync(join(output, file))).length)
  .reduce((sum, bytes) => sum + bytes);
console.log(`the browser half: ${size} of ${BUDGET} bytes`);
if (size > BUDGET) throw new Error("the browser half is over its budget");
