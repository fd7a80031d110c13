// The supported browsers (.browserslistrc) in esbuild's format. Run as a program, it prints the esbuild targets.
import { fileURLToPath } from "node:url";
import browserslist from "browserslist";

const NAMES = { ios_saf: "ios" };

/** Every supported version, as `chrome 111`. */
export const browsers = browserslist(null, { path: import.meta.dirname });

/** The oldest supported version of each browser, as `chrome111`. */
export const targets = Object.values(
  Object.fromEntries(
    browsers.map((browser) => {
      const [name, version] = browser.split(" ");
      return [name, `${NAMES[name] ?? name}${version.split("-")[0]}`];
    }),
  ),
);

if (process.argv[1] === fileURLToPath(import.meta.url))
  console.log(targets.join());
