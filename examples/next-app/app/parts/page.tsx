import { Parts } from "../../components/parts";
import { counterUrl } from "../../counter";

export const dynamic = "force-dynamic";

/** The parts of the package, one by one. */
export default function Page() {
  return <Parts baseUrl={counterUrl()} />;
}
