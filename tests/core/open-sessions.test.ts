import { mkdtempSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, expect, test } from "vitest";
import { createOpenSessions } from "../../core/open-sessions.ts";
import { createSessions } from "../../core/session.ts";

const dir = mkdtempSync(join(tmpdir(), "open-sessions-"));
afterEach(() => rmSync(dir, { recursive: true, force: true }));

const locks = () => readdirSync(dir, { recursive: true, encoding: "utf8" }).filter((name) => /lock\./.test(name)).length;

test("prompts without end do not leave a lock and an open file each; an older session is read again", async () => {
  const sessions = createSessions({ dir, on: () => {} });
  const open = createOpenSessions(sessions, dir);
  const ids = [];
  for (let n = 0; n < 20; n++) {
    const { session, release } = await open.openSession({ message: "" }, {});
    session.append({ id: `msg_${n}`, at: 0, message: { role: "user", content: [{ type: "text", text: `${n}` }] } });
    await session.commit();
    ids.push(session.id);
    release();
  }
  await expect.poll(locks, { timeout: 30_000 }).toBeLessThanOrEqual(8);
  const { session, release } = await open.openSession({ message: "", session: ids[0] as string }, {});
  expect(session.entries().map(({ id }) => id)).toEqual(["msg_0"]);
  release();
  await open.close();
  await sessions.close();
  expect(locks()).toBe(0);
});
