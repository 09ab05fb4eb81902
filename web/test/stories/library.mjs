// The library's client (`campanile-client`, its example `meet`) in one meeting with the unmodified SDK: each hears and sees
// the other, camera and shared screen, in each codec. What Chromium sees is read from its tiles: the clips have their
// sender's number and the frame's drawn into them (`clips/make.py`). Needs `cargo build -p campanile-client --example meet`.
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { createInterface } from 'node:readline';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { DEADLINE_MS, Gathering, RED, shared, YELLOW } from '../harness.mjs';

const at = path => fileURLToPath(new URL(path, import.meta.url));
const MEET = join(dirname(process.env.CAMPANILE_BIN ?? at('../../../target/debug/campanile')), 'examples/meet');
const [ANN_HZ, ROBOT_HZ] = [440, 1130];
/** Longer than any story: the robot is sent home by then. */
const ROBOT_SECONDS = 240;

/** The robot's process, and the last thing that it said it hears and sees. */
class Robot {
  static async start(meeting, clip) {
    assert.ok(existsSync(MEET), `${MEET} is missing: cargo build -p campanile-client --example meet`);
    const robot = new Robot();
    robot.folder = mkdtempSync(join(tmpdir(), 'campanile-robot-'));
    robot.invitation = await shared.server.invite(meeting.name, 'robot');
    const invitation = join(robot.folder, 'robot.json');
    writeFileSync(invitation, JSON.stringify(robot.invitation));
    const path = at(`../../../crates/campanile-client/clips/${clip}.ivf`);
    const options = [String(ROBOT_HZ), String(ROBOT_SECONDS), invitation, path, 'share'];
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
      assert.ok(Date.now() < deadline, `the robot never ${what}; last ${JSON.stringify(this.last)}`);
      await new Promise(resolve => setTimeout(resolve, 100));
    }
  }

  end() {
    this.child.kill();
    rmSync(this.folder, { recursive: true, force: true });
  }
}

/** In the page: the numbers of the frame and of its sender, from the two rows of squares on top of the tile; null without. */
function picture(attendeeId) {
  const tile = [...lab.tiles.values()].find(one => one.state.boundAttendeeId === attendeeId);
  if (!tile?.element?.videoWidth) return null;
  const [width, height] = [160, 90];
  const pen = new OffscreenCanvas(width, height).getContext('2d');
  pen.drawImage(tile.element, 0, 0, width, height);
  const row = y => {
    let bits = 0;
    for (let column = 0; column < 10; column++) {
      bits = (bits << 1) | (pen.getImageData(column * 16 + 8, y, 1, 1).data[1] > 128 ? 1 : 0);
    }
    return bits;
  };
  const [number, sender] = [row(8), row(24)];
  return number >> 9 === 1 && (number & 1) === 0 && sender >> 9 === 0 && (sender & 1) === 1
    ? { number: (number >> 1) & 255, sender: (sender >> 1) & 255 }
    : null;
}

// Clip, and the sender's number in it.
for (const [clip, sender] of [['mid.vp8', 1], ['mid.h264', 2], ['l1t3.vp9', 3], ['l3t3.vp9', 4], ['l1t3.av1', 5]]) {
  test(`the library's client and a browser hear and see each other: ${clip}`, async t => {
    const meeting = new Gathering(t);
    const ann = await meeting.join('ann', { tone: ANN_HZ });
    const robot = await Robot.start(meeting, clip);
    t.after(() => robot.end());
    await ann.hearsOnly(ROBOT_HZ, ANN_HZ);
    for (const id of [robot.id, `${robot.id}#content`]) {
      const numbers = new Set();
      while (numbers.size < 5) {
        const seen = await ann.until(`a picture of ${id}`, picture, id);
        assert.equal(seen.sender, sender, 'the picture is the robot\'s');
        numbers.add(seen.number);
      }
      t.diagnostic(`${id}: frames ${[...numbers].join(' ')}, ${JSON.stringify(await ann.sees(id))}`);
    }
    // And the other way: of each stream the robot counts frames, keyframes, and frames with a hole before them.
    await robot.until('hears ann', ({ heard: [hz] }) => hz === ANN_HZ);
    await ann.ask(face => lab.cameraOn(face), { colour: RED });
    await ann.ask(face => lab.shareOn(face), { colour: YELLOW, width: 320, height: 180 });
    const flows = ([frames, keyframes, holes]) => frames > 30 && keyframes > 0 && holes === 0;
    await robot.until('sees ann and her screen', ({ seen }) => Object.values(seen).filter(flows).length === 2);
    t.diagnostic(`the robot: ${JSON.stringify(robot.last)}`);
  });
}
