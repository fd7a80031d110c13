// Checks a list of components against the JSON schema of CycloneDX 1.5, in its strict form: nothing unknown in it.
//
//   node tests/cyclonedx/validate.mjs <list>
import { readFileSync } from "node:fs";
import { Spec, Validation } from "@cyclonedx/cyclonedx-library";

const file = process.argv[2];
const text = readFileSync(file, "utf8");
const { specVersion } = JSON.parse(text);
if (specVersion !== Spec.Version.v1dot5) throw new Error(`${file} is of CycloneDX ${specVersion}`);
const faults = await new Validation.JsonStrictValidator(Spec.Version.v1dot5).validate(text);
if (faults !== null) throw new Error(`${file} is not valid: ${JSON.stringify(faults, null, 2)}`);
