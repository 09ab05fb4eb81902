// The library's client (`campanile-client`, its example `meet`) as a guest in stories: somebody with a tone and a clip, in a
// process of their own. Needs `cargo build -p campanile-client --example meet`.
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { DEADLINE_MS, shared } from './harness.mjs';

const at = path => fileURLToPath(new URL(path, import.meta.url));
const MEET = join(dirname(process.env.CAMPANILE_BIN ?? at('../../target/debug/campanile')), 'examples/meet');
/** Longer than any story: whoever is still there is sent home by then. */
const SECONDS = 240;

/** The guest's process, and the last thing that it said it hears and sees. */
export class Robot {
  /** Joins with a clip of `campanile-client`; `words` are `share`, to share the clip as well, and `blind`, to watch nobody. */
  static async join(meeting, name, clip, { hz, words = [] }) {
    assert.ok(existsSync(MEET), `${MEET} is missing: cargo build -p campanile-client --example meet`);
    const robot = Object.assign(new Robot(), { name, folder: mkdtempSync(join(tmpdir(), 'campanile-robot-')) });
    meeting.t.after(() => robot.end());
    robot.invitation = await shared.server.invite(meeting.name, name);
    const invitation = join(robot.folder, 'invitation.json');
    writeFileSync(invitation, JSON.stringify(robot.invitation));
    const path = at(`../../crates/campanile-client/clips/${clip}.ivf`);
    const options = [String(hz), String(SECONDS), invitation, path, ...words];
    robot.child = spawn(MEET, options, { stdio: ['ignore', 'pipe', 'inherit'] });
    createInterface({ input: robot.child.stdout }).on('line', line => {
      if (line.startsWith('{')) robot.last = JSON.parse(line);
    });
    return robot;
  }

  get id() { return this.invitation.Attendee.AttendeeId; }

  async until(what, wanted) {
    const deadline = Date.now() + DEADLINE_MS;
    while (!(this.last && wanted(this.last))) {
      assert.ok(Date.now() < deadline, `${this.name} never ${what}; last ${JSON.stringify(this.last)}`);
      await new Promise(resolve => setTimeout(resolve, 100));
    }
  }

  end() {
    this.child?.kill();
    rmSync(this.folder, { recursive: true, force: true });
  }
}
