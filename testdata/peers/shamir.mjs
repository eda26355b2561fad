// Runs the npm package shamir-secret-sharing for the tests of package shamir.
//
// stdin:  {"combine": [[share, ...], ...], "split": [{"secret", "k", "n"}, ...]}
// stdout: {"secrets": [secret, ...], "shares": [[share, ...], ...]}
//
// Secrets and shares are hexadecimal.
import { readFileSync } from "node:fs";
import { combine, split } from "shamir-secret-sharing";

const fromHex = (s) => new Uint8Array(Buffer.from(s, "hex"));
const toHex = (b) => Buffer.from(b).toString("hex");

const request = JSON.parse(readFileSync(0, "utf8"));
const answer = { secrets: [], shares: [] };
for (const shares of request.combine) {
  answer.secrets.push(toHex(await combine(shares.map(fromHex))));
}
for (const { secret, k, n } of request.split) {
  answer.shares.push((await split(fromHex(secret), n, k)).map(toHex));
}
process.stdout.write(JSON.stringify(answer));
