// Ports for the servers that scripts start.
import { once } from "node:events";
import { createServer } from "node:net";

/** A free port of this machine: `preferred`, or any. */
export async function freePort(preferred = 0) {
  const server = createServer();
  try {
    server.listen(preferred, "127.0.0.1");
    await once(server, "listening");
  } catch (error) {
    if (preferred === 0) throw error;
    return freePort();
  }
  const { port } = server.address();
  server.close();
  await once(server, "close");
  return port;
}
