// Drives a server with Upstash's own client: `node check.mjs URL TOKEN`. Ends with an error if anything is answered
// otherwise than Upstash answers it.
import assert from "node:assert/strict";
import { Redis } from "@upstash/redis";

const [url, token] = process.argv.slice(2);
const redis = new Redis({ url, token, automaticDeserialization: false, retry: false });

assert.equal(await redis.set("text", "Añil \u0000 «»"), "OK");
assert.equal(await redis.get("text"), "Añil \u0000 «»");
assert.equal(await redis.get("nothing"), null);
assert.equal(await redis.zadd("scores", { score: 1, member: "a" }, { score: 2.5, member: "b" }), 2);
assert.equal(await redis.zcount("scores", "(1", "+inf"), 1);
assert.deepEqual(await redis.zrange("scores", 0, -1), ["a", "b"]);

const script = "return { redis.call('TIME')[1], ARGV[1], { KEYS[1], 7, false } }";
const [time, argument, nested] = await redis.eval(script, ["key"], ["value"]);
assert.ok(Number(time) > 1_700_000_000);
assert.equal(argument, "value");
assert.deepEqual(nested, ["key", 7, null]);
await assert.rejects(redis.evalsha("0".repeat(40), [], []), /NOSCRIPT/);
const hash = await redis.scriptLoad("return ARGV[1]");
assert.equal(await redis.evalsha(hash, [], ["again"]), "again");
await assert.rejects(redis.eval("return redis.call('NOSUCHCOMMAND')", [], []), /unknown|Unknown/i);

const pipeline = redis.pipeline();
pipeline.set("one", "1");
pipeline.incr("one");
pipeline.get("one");
assert.deepEqual((await pipeline.exec()).map(String), ["OK", "2", "2"]);

await assert.rejects(new Redis({ url, token: "wrong", retry: false }).get("text"), /WRONGPASS|nauthorized/);
console.log("answers as Upstash does");
