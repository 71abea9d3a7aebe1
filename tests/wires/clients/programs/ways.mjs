// What all programs have in common: cases in, results out, one line each.
import { createInterface } from "node:readline";

export { Message } from "./message.mjs";

// Results only; what a package prints goes where complaints go.
console.log = console.info = console.error;
const MAX_MS = 80_000;

export function serve(run) {
  createInterface({ input: process.stdin }).on("line", async (line) => {
    const asked = JSON.parse(line);
    let result;
    try {
      result = await Promise.race([run(asked), tooLate()]);
    } catch (error) {
      result = { error: error?.name ?? String(error), notes: { message: String(error?.message).slice(0, 500) } };
    }
    process.stdout.write(JSON.stringify({ case: asked.case, ...result }) + "\n");
  });
}

function tooLate() {
  return new Promise((resolve) => setTimeout(() => resolve({ error: "too late" }), MAX_MS).unref?.());
}
